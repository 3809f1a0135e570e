"""What a result says of its references and of its hypotheses, recomputed from the utterance columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import Any

from xbench import stats
from xbench.claims.compared import as_now, differing, differing_estimate, mean_of, outside
from xbench.results import (
    RELIABLE_ROW,
    ReferenceRecord,
    RunResult,
    UnreliableRows,
    column_name,
    rival_column,
)

_SHARE = (0.0, 1.0)
_RELIABILITY = (-1.0, 1.0)
_CORRELATION = (-1.0, 1.0)
_PERCENT = (0.0, 100.0)


def reference_problems(result: RunResult) -> list[str]:
    """Return what is wrong with the references, as "place: message"."""
    found = []
    names = [reference.name for reference in result.references]
    for index, reference in enumerate(result.references):
        if names.index(reference.name) < index:
            found.append(f"references[{index}]: '{reference.name}' stands twice")
        else:
            found += [f"references[{index}].{line}" for line in _one(result, reference)]
    return found


def _one(result: RunResult, reference: ReferenceRecord) -> Iterator[str]:
    columns, seed = result.utterances, result.provenance.seed
    clusters = columns.get("cluster", [])
    reliabilities = columns.get(f"reliability@{reference.name}", [])
    mean = mean_of(reliabilities, clusters, seed)
    yield from differing_estimate("reliability.", reference.reliability, mean, now=as_now(result))
    for row, value in enumerate(reliabilities):
        yield from outside(
            f"reliability: utterances.reliability@{reference.name}[{row}]", value, _RELIABILITY
        )
    for metric, ceiling in reference.ceiling.items():
        column = columns.get(f"ceiling:{column_name(metric, reference.name)}")
        if column is not None:
            own = [ceiling.reason] if ceiling.reason else []
            expected = mean_of(column, clusters, seed)
            yield from differing_estimate(
                f"ceiling.{metric}.", ceiling, expected, own, now=as_now(result)
            )
        elif ceiling.value is not None and clusters:
            yield f"ceiling.{metric}: there is no column to compute it from"
    yield from _masks(reference, columns)
    yield from _rows(reference, columns)
    if as_now(result):  # older ceilings were those of other versions
        yield from _ceilings(reference, columns)
    yield from _converged(reference, reliabilities)
    yield from _rivals(result, reference)
    for place, share in (("kept", reference.kept), ("converged_share", reference.converged_share)):
        yield from outside(place, share, _SHARE)
    share = reference.converged_share
    if share is not None and reference.converged != (share == 1):
        yield f"converged: {reference.converged}, but converged_share is {share:g}"


def _masks(reference: ReferenceRecord, columns: dict[str, list[Any]]) -> Iterator[str]:
    """Yield counts of masks that are not those of the column (both halves of each utterance)."""
    taken = [masks for masks in columns.get(f"masks@{reference.name}", []) if masks]
    yield from differing(
        "masks: in both halves", float(sum(reference.masks)), float(max(taken, default=0))
    )
    most = reference.params.get("masks")
    if isinstance(most, int) and max(taken, default=0) > most:
        yield f"masks: {max(taken)} of an utterance, but the parameters allow {most}"
    counts = reference.masks_per_utterance
    if counts is None or not taken:
        if counts is not None:
            yield "masks_per_utterance: there is no utterance with masks"
        return
    yield from differing("masks_per_utterance.min", counts.min, min(taken))
    yield from differing("masks_per_utterance.median", counts.median, float(median(taken)))
    yield from differing("masks_per_utterance.max", counts.max, max(taken))


def _rows(reference: ReferenceRecord, columns: dict[str, list[Any]]) -> Iterator[str]:
    """Yield reliabilities of utterances, and counts of unreliable tokens, that are not those of their rows."""
    rows = columns.get(f"row_reliability@{reference.name}", [])
    reliabilities = columns.get(f"reliability@{reference.name}", [])
    tokens = columns.get("tokens", [])
    for number, (own, whole) in enumerate(zip(rows, reliabilities, strict=True)):
        defined = [value for value in own or () if value is not None]
        place = f"reliability: utterances.reliability@{reference.name}[{number}]"
        mean = math.fsum(defined) / len(defined) if defined else None
        yield from differing(place, whole, mean)
        for extreme in sorted({min(defined), max(defined)}) if defined else ():
            yield from outside(
                f"reliability: utterances.row_reliability@{reference.name}[{number}]",
                extreme,
                _RELIABILITY,
            )
        if own is not None and tokens and len(own) != tokens[number]:
            yield (
                f"reliability: utterances.row_reliability@{reference.name}[{number}] has {len(own)} rows, but "
                f"utterances.tokens[{number}] is {tokens[number]}"
            )
    stated = reference.unreliable_rows
    flat = [value for own in rows for value in own or ()]
    if stated is None:
        return
    if stated.bound != RELIABLE_ROW:
        yield f"unreliable_rows.bound: {stated.bound:g}, but a row counts as reliable from {RELIABLE_ROW:g} on"
    below = sum(value < stated.bound for value in flat if value is not None)
    computed = UnreliableRows(stated.bound, below, flat.count(None), len(flat))
    if computed != stated:
        yield (
            f"unreliable_rows: {stated.below} below, {stated.undefined} undefined of {stated.n}, but the utterance "
            f"columns give {below}, {computed.undefined} of {len(flat)}"
        )


def _ceilings(reference: ReferenceRecord, columns: dict[str, list[Any]]) -> Iterator[str]:
    """Yield ceilings of utterances that the reliability of their rows does not allow."""
    rows = columns.get(f"row_reliability@{reference.name}")
    name = f"ceiling:{column_name('pearson', reference.name)}"
    own = columns.get(name)
    if rows is None or own is None:
        return
    for number, (row, stated) in enumerate(zip(rows, own, strict=True)):
        expected = None if row is None else stats.noise_free(row)
        yield from differing(f"ceiling.pearson: utterances.{name}[{number}]", stated, expected)
    paper = columns.get(f"ceiling:{column_name('pearson-paper', reference.name)}", [])
    for number, (limited, free) in enumerate(zip(paper, own, strict=False)):
        if limited is not None and free is not None and limited > free + 1e-9:
            yield f"ceiling.pearson-paper: {limited:g} of utterance {number} lies above that of pearson, {free:g}"


def _converged(reference: ReferenceRecord, reliabilities: list[float | None]) -> Iterator[str]:
    """Yield a share of utterances that reached the reliability asked for, if it is not that of the column."""
    until = reference.params.get("until")
    if not isinstance(until, float) or reference.converged is None or not reliabilities:
        return
    reached = sum(value is not None and value >= until for value in reliabilities)
    yield from differing("converged_share", reference.converged_share, reached / len(reliabilities))


def _rivals(result: RunResult, reference: ReferenceRecord) -> Iterator[str]:
    """Yield scores and second ceilings of rivals that are not those of their columns."""
    columns, seed = result.utterances, result.provenance.seed
    clusters = columns.get("cluster", [])
    others = {other.name for other in result.references} - {reference.name}
    for index, rival in enumerate(reference.rivals):
        place = f"rivals[{index}]."
        if rival.reference not in others:
            yield f"{place}reference: '{rival.reference}' is no other reference of this result"
            continue
        column = rival_column(reference.name, rival.reference)
        scores = columns.get(column, [])
        rows = columns.get(f"row_reliability@{rival.reference}", [])
        noise_free = [None if own is None else stats.noise_free(own) for own in rows]
        for number, score in enumerate(scores):
            yield from outside(f"{place}score: utterances.{column}[{number}]", score, _CORRELATION)
        score = mean_of(scores, clusters, seed)
        ceiling = stats.disattenuated(scores, noise_free, clusters, seed=seed)
        yield from differing_estimate(f"{place}score.", rival.score, score)
        yield from differing_estimate(f"{place}ceiling.", rival.ceiling, ceiling)


def quality_problems(result: RunResult) -> list[str]:
    """Return what is wrong with the quality of the hypotheses, as "place: message".

    The corpus value itself needs the target texts (`claims.hypotheses`); here it is only bounded.
    """
    quality = result.quality
    column = result.utterances.get(quality.metric, [])
    known = [value for value in column if value is not None]
    wer = quality.metric == "wer"
    poor = sum(
        (v >= quality.poor_threshold) if wer else (v <= quality.poor_threshold) for v in known
    )
    found = list(differing("quality.poor", quality.poor, poor))
    for row, value in enumerate(column):
        bounds = (0.0, None) if wer else _PERCENT
        found += outside(f"quality: utterances.{quality.metric}[{row}]", value, bounds)
    if not len(known) <= quality.n <= len(column):
        found.append(
            f"quality.n: {quality.n}, but {len(known)} of {len(column)} utterances have a value"
        )
    if (quality.value is None) != (quality.reason is not None):
        found.append("quality.reason: there must be one where the value is null, and only there")
    if quality.value is not None and not known:
        found.append(f"quality.value: {quality.value:g}, but no utterance has one")
    elif wer and known:
        # A WER of the corpus is a mean of WERs, weighted by the words of each clip.
        found += outside("quality.value", quality.value, (min(known), max(known)))
    elif not wer:
        found += outside("quality.value", quality.value, _PERCENT)
    return found
