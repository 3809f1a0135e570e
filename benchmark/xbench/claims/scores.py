"""The scores of a result recomputed from its utterance columns, and bounded by what their metrics can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xbench import registry, stats
from xbench.claims.compared import (
    as_now,
    differing,
    differing_estimate,
    mean_of,
    nothing_stated,
    outside,
    unordered,
)
from xbench.claims.here import registered
from xbench.description import MetricDescription, load_object
from xbench.errors import XbenchError
from xbench.results import Interval, RunResult, ScoreRecord, column_name
from xbench.results.corpus import STATISTICS, corpus_estimate
from xbench.spec import Call, Quality

_WEIGHTED = (
    *("weighted", "weighted_floor", "weighted_ceiling"),
    *("weighted_skill", "weighted_disattenuated"),
)
ROWS_SHOWN = 3
"""Cells of a column that are named before the rest is counted."""


def score_problems(result: RunResult) -> list[str]:
    """Return what is wrong with the scores, as "place: message"."""
    found = []
    names = [(score.metric, score.reference) for score in result.scores]
    references = {reference.name for reference in result.references}
    for index, score in enumerate(result.scores):
        if names.index(names[index]) < index:
            found.append(f"scores[{index}]: {column_name(*names[index])} stands twice")
        elif score.reference is not None and score.reference not in references:
            found.append(f"scores[{index}].reference: '{score.reference}' is not among references")
        else:
            found += [f"scores[{index}].{line}" for line in _one(result, score)]
            found += _beyond_range(result, score)
    return found


def unchecked_scores(result: RunResult) -> Iterator[str]:
    """Yield what of the scores no column shows."""
    for score in result.scores:
        metric = registered(registry.metrics, score.metric)
        if metric is None:
            yield f"metric '{score.metric}' is not registered here: its range and direction are as stated"
        elif metric.corpus is not None:
            yield f"the floor of {score.metric} is as stated: its sums are not in the file"


def _one(result: RunResult, score: ScoreRecord) -> Iterator[str]:
    metric = registered(registry.metrics, score.metric)
    yield from _value(result, score, metric)
    yield from _floor_and_ceiling(result, score, metric)
    yield from _weighted(result, score)
    yield from _assumed(result, score)
    yield from _left_out(result, score)
    if metric is not None:
        yield from _as_described(score, metric)


def _value(
    result: RunResult, score: ScoreRecord, metric: MetricDescription | None
) -> Iterator[str]:
    name = column_name(score.metric, score.reference)
    own = result.utterances.get(name, [])
    undefined, missing = sum(score.undefined.values()), own.count(None)
    if undefined != missing:
        yield f"undefined: counts {undefined} values, utterances.{name} misses {missing}"
    estimate = _estimate(result, score, metric, own)
    if estimate is None:
        return
    yield from differing_estimate("", score, estimate, list(score.undefined), now=as_now(result))
    yield from differing("n", score.n, estimate.n)
    yield from differing("n_clusters", score.n_clusters, estimate.n_clusters)


def _floor_and_ceiling(
    result: RunResult, score: ScoreRecord, metric: MetricDescription | None
) -> Iterator[str]:
    name = column_name(score.metric, score.reference)
    columns, clusters, seed = result.utterances, _clusters(result), result.provenance.seed
    own, floors = columns.get(name, []), columns.get(f"floor:{name}", [])
    ceilings = columns.get(f"ceiling:{name}")
    if metric is not None and metric.corpus is not None:
        yield from unordered("floor.ci", score.floor.ci, score.floor.value)
    else:
        floor = mean_of(floors, clusters, seed)
        yield from differing_estimate("floor.", score.floor, floor, now=as_now(result))
    if ceilings is None:
        for part in ("ceiling", "skill", "disattenuated"):
            yield from nothing_stated(f"{part}.", getattr(score, part))
        return
    # Why a metric has no ceiling, only the metric knows.
    own_reasons = [score.ceiling.reason] if score.ceiling.reason else []
    ceiling = mean_of(ceilings, clusters, seed)
    yield from differing_estimate(
        "ceiling.", score.ceiling, ceiling, own_reasons, now=as_now(result)
    )
    skill = stats.skill(own, floors, ceilings, clusters, seed=seed)
    yield from differing_estimate("skill.", score.skill, skill, now=as_now(result))
    ratio = stats.disattenuated(own, ceilings, clusters, seed=seed)
    yield from differing_estimate("disattenuated.", score.disattenuated, ratio, now=as_now(result))


def _weighted(result: RunResult, score: ScoreRecord) -> Iterator[str]:
    """Yield what the score with weighted tokens claims beyond its columns; older files have some or none of them."""
    name = column_name(score.metric, score.reference)
    clusters, seed = _clusters(result), result.provenance.seed
    own, floors, ceilings = (
        result.utterances.get(f"{part}:{name}")
        for part in ("weighted", "weighted-floor", "weighted-ceiling")
    )
    expected: dict[str, stats.Estimate] = {}
    if own is not None:
        expected["weighted"] = mean_of(own, clusters, seed)
    if floors is not None:
        expected["weighted_floor"] = mean_of(floors, clusters, seed)
    if ceilings is not None:
        expected["weighted_ceiling"] = mean_of(ceilings, clusters, seed)
    if own is not None and ceilings is not None:
        expected["weighted_disattenuated"] = stats.disattenuated(own, ceilings, clusters, seed=seed)
        if floors is not None:
            expected["weighted_skill"] = stats.skill(own, floors, ceilings, clusters, seed=seed)
    for part in _WEIGHTED:
        stated: Interval | None = getattr(score, part)
        if stated is None:
            continue
        if part not in expected:
            yield from nothing_stated(f"{part}.", stated)
            continue
        # Why a metric has no ceiling, only the metric knows.
        reasons = [stated.reason] if part == "weighted_ceiling" and stated.reason else []
        yield from differing_estimate(
            f"{part}.", stated, expected[part], reasons, now=as_now(result)
        )


def _clusters(result: RunResult) -> list[str]:
    return result.utterances.get("cluster", [])


def _estimate(
    result: RunResult, score: ScoreRecord, metric: MetricDescription | None, own: Sequence[Any]
) -> stats.Estimate | None:
    """Return the value that the columns give; None where only the metric's own package could say."""
    clusters, seed = _clusters(result), result.provenance.seed
    statistics = result.utterances.get(f"{score.metric}:{STATISTICS}")
    if score.reference is None and statistics is not None:
        if metric is None or metric.corpus is None:
            return None
        quality = Quality(result.quality.metric, result.quality.poor_threshold)  # type: ignore[arg-type]  # the schema allows no other
        summed = [s if v is not None else None for s, v in zip(statistics, own, strict=True)]
        try:
            return corpus_estimate(load_object(metric.corpus), summed, clusters, quality, seed)
        except (ValueError, TypeError, LookupError, ArithmeticError):  # sums of another shape
            return stats.Estimate(None, None, None, 0, 0, "sums-not-usable")
    return stats.mean_estimate(own, clusters, seed=seed)


def _assumed(result: RunResult, score: ScoreRecord) -> Iterator[str]:
    """Yield a claim of assumed clusters that cannot be: an assumed cluster is named after its clip."""
    ids = result.utterances.get("id", [])
    if score.clusters_assumed and ids and not any(map(str.__eq__, ids, _clusters(result))):
        yield "clusters_assumed: true, but no cluster is that of a clip alone"


def _left_out(result: RunResult, score: ScoreRecord) -> Iterator[str]:
    """Yield counts of left-out tokens that are not the sums of their columns, where these are kept."""
    name = column_name(score.metric, score.reference)
    for reason, stated in score.tokens_left_out.items():
        column = result.utterances.get(f"{name}:{reason}")
        if column is None:
            if score.reference is None:
                yield f"tokens_left_out.{reason}: there is no column utterances.{name}:{reason}"
        elif all(type(n) is int for n in column) and sum(column) != stated:
            yield f"tokens_left_out.{reason}: {stated}, but the utterance columns give {sum(column)}"


def _as_described(score: ScoreRecord, metric: MetricDescription) -> Iterator[str]:
    """Yield where a score says something else of its metric than the metric itself does."""
    direction = "higher" if metric.higher_is_better else "lower"
    if score.direction != direction:
        yield f"direction: '{score.direction}', but of {metric.name} {direction} is better"
    if score.metric_params:
        try:
            resolved = metric.resolve(Call.make(metric.name, score.metric_params)).given
        except XbenchError as problem:
            yield f"metric_params: {problem}"
        else:
            if resolved != score.metric_params:
                yield f"metric_params: incomplete; {metric.name} takes {resolved}"


def _beyond_range(result: RunResult, score: ScoreRecord) -> Iterator[str]:
    """Yield cells that the metric can never give."""
    metric, name = (
        registered(registry.metrics, score.metric),
        column_name(score.metric, score.reference),
    )
    if metric is None:
        return
    for prefix in ("", "floor:", "ceiling:", "weighted:", "weighted-floor:", "weighted-ceiling:"):
        column = result.utterances.get(f"{prefix}{name}", [])
        found = [
            line
            for row, value in enumerate(column)
            for line in outside(f"utterances.{prefix}{name}[{row}]", value, metric.range)
        ]
        yield from found[:ROWS_SHOWN]
        if len(found) > ROWS_SHOWN:
            yield f"utterances.{prefix}{name}: {len(found) - ROWS_SHOWN} more values beyond the range of {metric.name}"
    for part in ("lower", "structural"):
        yield from outside(
            f"scores of {name}: ceiling.{part}", getattr(score.ceiling, part), metric.range
        )
