"""The scores of a result held against what its utterance columns give, and bounded by what their metrics can be."""

from __future__ import annotations

from collections.abc import Iterator

from xbench import registry, stats
from xbench.claims.compared import (
    as_now,
    differing,
    differing_estimate,
    nothing_stated,
    outside,
    unordered,
)
from xbench.claims.here import registered
from xbench.claims.recomputed import Parts, Scores
from xbench.description import MetricDescription
from xbench.errors import XbenchError
from xbench.results import Interval, RunResult, ScoreRecord, column_name
from xbench.spec import Call

_WEIGHTED = (
    *("weighted", "weighted_floor", "weighted_ceiling"),
    *("weighted_skill", "weighted_disattenuated"),
)
_SIDES = ("tokens", "frames")
ROWS_SHOWN = 3
"""Cells of a column that are named before the rest is counted."""


def score_problems(result: RunResult, recomputed: Scores) -> list[str]:
    """Return what is wrong with the scores, as "place: message"; recomputed: what their columns give (`recompute`)."""
    found = []
    names = [(score.metric, score.reference) for score in result.scores]
    references = {reference.name for reference in result.references}
    metrics = {name: registered(registry.metrics, name) for name, _ in names}
    for index, score in enumerate(result.scores):
        if names.index(names[index]) < index:
            found.append(f"scores[{index}]: {column_name(*names[index])} stands twice")
        elif score.reference is not None and score.reference not in references:
            found.append(f"scores[{index}].reference: '{score.reference}' is not among references")
        else:
            metric = metrics[score.metric]
            lines = _one(result, score, metric, recomputed[names[index]])
            found += [f"scores[{index}].{line}" for line in lines]
            found += _beyond_range(result, score, metric) if metric else []
    return found


def floor_problems(result: RunResult) -> Iterator[str]:
    """Yield where the method that is the task's floor has other scores than the floor.

    Both are computed of the same maps against the same references.
    """
    if not _is_the_floor(result):
        return
    for score in result.scores:
        name = column_name(score.metric, score.reference)
        own, floor = (result.utterances.get(f"{part}{name}") for part in ("", "floor:"))
        for row, (value, expected) in enumerate(zip(own or (), floor or (), strict=False)):
            if [*differing("", value, expected)]:
                yield (
                    f"utterances.{name}[{row}]: {value}, but {result.method.name} is the floor of this task, and its "
                    f"score there is {expected}"
                )
                return


def map_problems(result: RunResult) -> Iterator[str]:
    """Yield the first utterance that has a score but no hash of its map; one that was not explained has neither."""
    hashes = result.utterances.get("map_hash", [])
    for score in result.scores:
        name = column_name(score.metric, score.reference)
        values = result.utterances.get(name, [])
        for row, (hash_, value) in enumerate(zip(hashes, values, strict=False)):
            if hash_ is None and value is not None:
                yield f"utterances.map_hash[{row}]: null, but utterances.{name}[{row}] is the score of a map"
                return


def repeated_map_problems(result: RunResult) -> Iterator[str]:
    """Yield the first map that is said to be that of another utterance, which has other tokens or other frames.

    A constant map of 4 tokens by 6 frames has the bytes of one of 6 by 4, so one of the two numbers must be the same;
    and a text that was cut off has one row less per content token, that of its end.
    """
    columns = [result.utterances.get(name, []) for name in ("map_hash", "truncated", *_SIDES)]
    first: dict[tuple[object, ...], tuple[int, int]] = {}
    for row, (hash_, truncated, *sides) in enumerate(zip(*columns, strict=True)):
        if hash_ is None:
            continue
        for name, same, other in zip(_SIDES, sides, sides[::-1], strict=True):
            known, length = first.setdefault((hash_, truncated, name, same), (row, other))
            if length != other:
                differing_side = _SIDES[1 - _SIDES.index(name)]
                yield (
                    f"utterances.map_hash[{row}]: that of row {known}, but utterances.{differing_side} is {length} "
                    f"there and {other} here"
                )
                return


def _is_the_floor(result: RunResult) -> bool:
    try:
        floor = Call.parse(result.task.floor)
        method = registry.methods.get(floor.name)
        complete = method.resolve(floor).given
    except XbenchError:  # a stranger's task may have a floor that nobody registers here
        return False
    said = result.method
    return (said.name, said.version, said.params) == (method.name, method.version, complete)


def unchecked_scores(result: RunResult) -> Iterator[str]:
    """Yield what of the scores no column shows."""
    for score in result.scores:
        metric = registered(registry.metrics, score.metric)
        if metric is None:
            yield f"metric '{score.metric}' is not registered here: its range and direction are as stated"
        elif metric.corpus is not None:
            yield f"the floor of {score.metric} is as stated: its sums are not in the file"


def _one(
    result: RunResult,
    score: ScoreRecord,
    metric: MetricDescription | None,
    recomputed: Parts,
) -> Iterator[str]:
    yield from _value(result, score, recomputed.get("value"))
    yield from _floor_and_ceiling(result, score, recomputed)
    yield from _weighted(result, score, recomputed)
    yield from _assumed(result, score)
    yield from _left_out(result, score)
    if metric is not None:
        yield from _as_described(score, metric)


def _value(result: RunResult, score: ScoreRecord, estimate: stats.Estimate | None) -> Iterator[str]:
    name = column_name(score.metric, score.reference)
    undefined = sum(score.undefined.values())
    missing = result.utterances.get(name, []).count(None)
    if undefined != missing:
        yield f"undefined: counts {undefined} values, utterances.{name} misses {missing}"
    if estimate is None:
        return
    yield from differing_estimate("", score, estimate, list(score.undefined), now=as_now(result))
    yield from differing("n", score.n, estimate.n)
    yield from differing("n_clusters", score.n_clusters, estimate.n_clusters)


def _floor_and_ceiling(result: RunResult, score: ScoreRecord, recomputed: Parts) -> Iterator[str]:
    if "floor" in recomputed:
        yield from differing_estimate(
            "floor.", score.floor, recomputed["floor"], now=as_now(result)
        )
    else:
        yield from unordered("floor.ci", score.floor.ci, score.floor.value)
    for part in ("ceiling", "skill", "disattenuated"):
        stated = getattr(score, part)
        if part not in recomputed:
            yield from nothing_stated(f"{part}.", stated)
            continue
        # Why a metric has no ceiling, only the metric knows.
        own = [stated.reason] if part == "ceiling" and stated.reason else []
        yield from differing_estimate(f"{part}.", stated, recomputed[part], own, now=as_now(result))


def _weighted(result: RunResult, score: ScoreRecord, recomputed: Parts) -> Iterator[str]:
    """Yield what the score with weighted tokens claims beyond its columns."""
    for part in _WEIGHTED:
        stated: Interval | None = getattr(score, part)
        if stated is None:
            continue
        if part not in recomputed:
            yield from nothing_stated(f"{part}.", stated)
            continue
        # Why a metric has no ceiling, only the metric knows.
        reasons = [stated.reason] if part == "weighted_ceiling" and stated.reason else []
        yield from differing_estimate(
            f"{part}.", stated, recomputed[part], reasons, now=as_now(result)
        )


def _clusters(result: RunResult) -> list[str]:
    return result.utterances.get("cluster", [])


def _assumed(result: RunResult, score: ScoreRecord) -> Iterator[str]:
    """Yield a claim of assumed clusters that cannot be: an assumed cluster is named after its clip."""
    ids = result.utterances.get("id", [])
    if score.clusters_assumed and ids and not any(map(str.__eq__, ids, _clusters(result))):
        yield "clusters_assumed: true, but no cluster is that of a clip alone"


def _left_out(result: RunResult, score: ScoreRecord) -> Iterator[str]:
    """Yield counts of left-out tokens that are not the sums of their columns, where these are kept."""
    name = column_name(score.metric, score.reference)
    tokens = sum(result.utterances.get("tokens", []))
    for reason, stated in score.tokens_left_out.items():
        if not 0 <= stated <= tokens:
            yield f"tokens_left_out.{reason}: {stated} of {tokens} tokens"
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
    if score.metric_params or score.metric_version is not None:  # older files keep neither
        try:
            resolved = metric.resolve(Call.make(metric.name, score.metric_params)).given
        except XbenchError as problem:
            yield f"metric_params: {problem}"
        else:
            if resolved != score.metric_params:
                yield f"metric_params: incomplete; {metric.name} takes {resolved}"


def _beyond_range(
    result: RunResult, score: ScoreRecord, metric: MetricDescription
) -> Iterator[str]:
    """Yield cells that the metric can never give."""
    name = column_name(score.metric, score.reference)
    for prefix in ("", "floor:", "ceiling:", "weighted:", "weighted-floor:", "weighted-ceiling:"):
        column = result.utterances.get(f"{prefix}{name}", [])
        known = [value for value in column if value is not None]
        ends = (min(known), max(known)) if known else ()
        if not any(line for end in ends for line in outside("", end, metric.range)):
            continue
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
