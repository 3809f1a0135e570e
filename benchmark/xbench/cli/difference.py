"""What changed between two results: in what was run, in what came out, and in the scores beyond noise (no torch)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xbench import stats
from xbench.results import RunResult, column_name

_LEFT_OUT = {"utterances", "failures", "scores", "cost", "gates", "quality"}
# Of what was run; not what came out, nor when.
_OUTCOMES = {
    "references": {
        "masks",
        "reliability",
        "ceiling",
        "converged",
        "kept",
        "forward_passes",
        "seconds",
    }
    | {"masks_per_utterance", "converged_share", "unreliable_rows", "computation"},
    "provenance": {"command", "spec_hash", "started", "finished"},
}


@dataclass(frozen=True)
class Change:
    """One fact of a run, or of what came out, that is not the same: `what` is its place in the file, or its name."""

    what: str
    first: Any
    second: Any


@dataclass(frozen=True)
class ScoreChange:
    """One score of both results, on the utterances that both have.

    difference: mean of second minus mean of first, ci: its 95 % interval over clusters, p: that of a difference of 0 by
    sign flips of clusters. verdict: `more than noise`, `within noise`, or `not known: ` and why.
    """

    score: str
    first: float | None
    second: float | None
    difference: float | None
    ci: tuple[float, float] | None
    p: float | None
    n: int
    verdict: str


def changes(first: RunResult, second: RunResult) -> list[Change]:
    """Return what is not the same in what was run, in the order of the file."""
    before, after = (dict(_facts("", asdict(result))) for result in (first, second))
    return [
        Change(what, before.get(what), after.get(what))
        for what in dict.fromkeys((*before, *after))
        if before.get(what) != after.get(what)
    ]


def _facts(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        skipped = _OUTCOMES.get(re.split(r"[. ]", place)[0], set()) if place else _LEFT_OUT
        for key, item in value.items():
            if key not in skipped:
                yield from _facts(f"{place}.{key}".strip("."), item)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for item in value:
            told = {key: given for key, given in item.items() if key not in ("kind", "name")}
            yield from _facts(" ".join(filter(None, (place, item.get("kind"), item["name"]))), told)
    else:
        yield place, value


def outcome_changes(first: RunResult, second: RunResult) -> list[Change]:
    """Return what came out otherwise beside the scores: their bounds, the hypotheses with their quality, the costs."""
    before, after = (dict(_outcomes(result)) for result in (first, second))
    found = [
        Change(what, before[what], after[what])
        for what in before
        if what in after and not _same(before[what], after[what])
    ]
    texts, others = (
        dict(zip(r.utterances["id"], r.utterances.get("hypothesis", ()), strict=False))
        for r in (first, second)
    )
    common = texts.keys() & others.keys()
    if other := sum(texts[id_] != others[id_] for id_ in common):
        found.append(Change(f"hypotheses that differ, of {len(common)} in common", None, other))
    return found


def _outcomes(result: RunResult) -> Iterator[tuple[str, float | None]]:
    for score in result.scores:
        for part in ("floor", "ceiling", "skill"):
            name = f"{part} {column_name(score.metric, score.reference)}"
            yield name, getattr(score, part).value
    yield f"quality {result.quality.metric}", result.quality.value
    for name in ("forward_passes", "backward_passes", "seconds_per_audio_second"):
        yield f"cost {name}", getattr(result.cost, name)


def _same(first: float | None, second: float | None) -> bool:
    """Say whether two numbers are equal but for rounding."""
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-9)


def score_changes(first: RunResult, second: RunResult) -> list[ScoreChange]:
    """Return the scores that both results have, compared utterance by utterance."""
    others = {(s.metric, s.reference): s for s in second.scores}
    return [
        _compared(first, second, score.metric, score.reference, score.direction == "higher")
        for score in first.scores
        if (score.metric, score.reference) in others
    ]


def _compared(
    first: RunResult, second: RunResult, metric: str, reference: str | None, higher: bool
) -> ScoreChange:
    column = column_name(metric, reference)
    rows = {id_: row for row, id_ in enumerate(second.utterances["id"])}
    common = [
        (cluster, value, second.utterances[column][rows[id_]])
        for id_, cluster, value in zip(
            first.utterances["id"],
            first.utterances["cluster"],
            first.utterances[column],
            strict=True,
        )
        if id_ in rows
    ]
    values = [[row[2] for row in common], [row[1] for row in common]]
    found = stats.compare(
        ("second", "first"),
        values,
        [row[0] for row in common],
        higher_is_better=higher,
        seed=first.provenance.seed,
    )
    scores = first.score(metric, reference).value, second.score(metric, reference).value
    pair = found.pairs[0] if found.pairs else None
    if pair is None or pair.difference is None:
        if not common:
            why = "they have no utterance in common"
        else:
            why = "one of them has no value" if None in scores else str(found.reason)
        verdict = f"not known: {why}"
        return ScoreChange(column, *scores, None, None, None, len(common), verdict)
    sign = 1 if pair.first == "second" else -1
    ends = sorted(sign * end for end in (pair.low, pair.high) if end is not None)
    ci = (ends[0], ends[1]) if len(ends) == 2 else None
    if pair.p is None:
        verdict = f"not known: {pair.reason}"
    else:
        verdict = "more than noise" if pair.distinguished else "within noise"
    difference = sign * pair.difference + 0.0
    return ScoreChange(column, *scores, difference, ci, pair.p, pair.n, verdict)
