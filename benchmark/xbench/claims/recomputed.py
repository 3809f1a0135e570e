"""What the utterance columns of results give of their scores: every number with its interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from xbench import registry, stats
from xbench.claims.compared import mean_of
from xbench.claims.here import registered
from xbench.description import MetricDescription, load_object
from xbench.results import RunResult, ScoreRecord, column_name
from xbench.results.corpus import STATISTICS, corpus_estimate
from xbench.spec import Quality
from xbench.stats import Column

Key = tuple[str, str | None]  # metric and reference
Parts = Mapping[str, stats.Estimate]  # by the names of a score's parts
Scores = Mapping[Key, Parts]

Columns = TypeVar("Columns")


@dataclass(frozen=True)
class _Asked(Generic[Columns]):
    """One number that is to be computed: from which columns, and where it goes under which name."""

    columns: Columns
    into: dict[str, stats.Estimate]
    part: str


@dataclass(frozen=True)
class _Together:
    """What is asked for on the same clips."""

    means: list[_Asked[Column]] = field(default_factory=list)
    skills: list[_Asked[tuple[Column, Column, Column]]] = field(default_factory=list)
    ratios: list[_Asked[tuple[Column, Column]]] = field(default_factory=list)


def recompute(results: Sequence[RunResult]) -> list[Scores]:
    """Return what the columns of each result give of its scores.

    Results on the same clips are computed together, in a fraction of the time.
    """
    same: dict[tuple[int, tuple[str, ...]], _Together] = defaultdict(_Together)
    found: list[Scores] = []
    for result in results:
        asked = same[result.provenance.seed, tuple(result.utterances.get("cluster", ()))]
        found.append({(s.metric, s.reference): _ask(result, s, asked) for s in result.scores})
    for (seed, clusters), asked in same.items():
        computed = stats.estimates(
            clusters,
            seed=seed,
            means=[each.columns for each in asked.means],
            skills=[each.columns for each in asked.skills],
            disattenuated=[each.columns for each in asked.ratios],
        )
        _put(asked.means, computed.means)
        _put(asked.skills, computed.skills)
        _put(asked.ratios, computed.disattenuated)
    return found


def _put(asked: Sequence[_Asked[Columns]], estimates: Sequence[stats.Estimate]) -> None:
    for each, estimate in zip(asked, estimates, strict=True):
        each.into[each.part] = estimate


def _ask(result: RunResult, score: ScoreRecord, asked: _Together) -> Parts:
    """Return the parts of a score, of which some are computed only when all is asked for."""
    columns, seed = result.utterances, result.provenance.seed
    clusters, name = columns.get("cluster", []), column_name(score.metric, score.reference)
    metric = registered(registry.metrics, score.metric)
    parts: dict[str, stats.Estimate] = {}

    def ask(prefix: str, own: Column | None, low: Column | None, high: Column | None) -> None:
        if high is None:
            return
        parts[f"{prefix}ceiling"] = mean_of(high, clusters, seed)
        if own is not None:
            asked.ratios.append(_Asked((own, high), parts, f"{prefix}disattenuated"))
            if low is not None:
                asked.skills.append(_Asked((own, low, high), parts, f"{prefix}skill"))

    own, floors = columns.get(name, []), columns.get(f"floor:{name}", [])
    if score.reference is None and f"{score.metric}:{STATISTICS}" in columns:
        if (value := _of_sums(result, score, metric)) is not None:
            parts["value"] = value
    else:
        asked.means.append(_Asked(own, parts, "value"))
    if metric is None or metric.corpus is None:
        parts["floor"] = mean_of(floors, clusters, seed)
    ask("", own, floors, columns.get(f"ceiling:{name}"))
    # Older files have some or none of these.
    weighted, low, high = (
        columns.get(f"{part}:{name}") for part in ("weighted", "weighted-floor", "weighted-ceiling")
    )
    if weighted is not None:
        asked.means.append(_Asked(weighted, parts, "weighted"))
    if low is not None:
        parts["weighted_floor"] = mean_of(low, clusters, seed)
    ask("weighted_", weighted, low, high)
    return parts


def _of_sums(
    result: RunResult, score: ScoreRecord, metric: MetricDescription | None
) -> stats.Estimate | None:
    """Return the value that the sums give; None where only the metric's own package could say."""
    if metric is None or metric.corpus is None:
        return None
    columns, seed = result.utterances, result.provenance.seed
    quality = Quality(result.quality.metric, result.quality.poor_threshold)  # type: ignore[arg-type]  # the schema allows no other
    own = columns.get(score.metric, [])
    summed = [
        s if v is not None else None
        for s, v in zip(columns[f"{score.metric}:{STATISTICS}"], own, strict=True)
    ]
    clusters = columns.get("cluster", [])
    try:
        return corpus_estimate(load_object(metric.corpus), summed, clusters, quality, seed)
    except (ValueError, TypeError, LookupError, ArithmeticError):  # sums of another shape
        return stats.Estimate(None, None, None, 0, 0, "sums-not-usable")
