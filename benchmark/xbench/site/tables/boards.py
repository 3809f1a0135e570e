"""Scores as rows, and rows as boards with ranks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xbench.results import column_name
from xbench.site.ranking import RankedPair, Ranking, Values, rank
from xbench.site.side_by_side import in_shares
from xbench.site.tables.entries import Config, ListedRun, Metric, Model, Task
from xbench.site.tables.naming import natural

Number = float | None
# Why a score of an older definition of its metric has no rank: it cannot be compared with the others of its board.
OLDER_METRIC = "older-metric-version"
_TOGETHER = 16  # boards for which a further process pays


@dataclass(frozen=True)
class Row:
    """One score. rank_reason: why it has no rank; skill_reason: why it has no skill.

    weighted: the score with each token weighted by its effect; weighted_floor to weighted_skill: what belongs to it.
    metric_version: None in older files.
    """

    run: ListedRun
    metric: str
    reference: str | None
    value: Number
    reason: str | None
    low: Number
    high: Number
    ci_reason: str | None
    n: int
    n_clusters: int
    clusters_assumed: bool
    undefined: Mapping[str, int]
    floor: Number
    ceiling: Number
    ceiling_reason: str | None
    skill: Number
    skill_low: Number
    skill_high: Number
    skill_reason: str | None
    disattenuated: Number
    weighted: Number = None
    weighted_floor: Number = None
    weighted_ceiling: Number = None
    weighted_skill: Number = None
    metric_version: str | None = None
    rank: int | None = None
    rank_low: int | None = None
    rank_high: int | None = None
    best: bool = False
    rank_reason: str | None = None

    @property
    def config(self) -> Config:
        """The configured method that was scored."""
        return self.run.config

    @property
    def outdated(self) -> tuple[str, ...]:
        """What has changed since it was made."""
        return self.run.outdated

    @property
    def name(self) -> str:
        """Its permanent name, `<run id>/<metric>@<reference>`."""
        return f"{self.run.id}/{column_name(self.metric, self.reference)}"


@dataclass(frozen=True)
class Board:
    """All rows of one task, model, metric and reference, best first, missing values last."""

    task: Task
    model: Model
    metric: str
    reference: str | None
    rows: tuple[Row, ...]
    pairs: tuple[RankedPair, ...]
    reason: str | None
    resolution: float | None


def _rows(run: ListedRun, metrics: Mapping[str, Metric]) -> list[Row]:
    if not run.data["scores"]:
        reason = run.data["reason"] or run.data["status"]
        return [_missing(run, reason)]
    return [_row(run, score, metrics[score["metric"]]) for score in run.data["scores"]]


_OPTIONAL = (
    *("value", "low", "high", "ci_reason", "floor", "ceiling", "ceiling_reason"),
    *("skill", "skill_low", "skill_high", "skill_reason", "disattenuated"),
)


def _missing(run: ListedRun, reason: str) -> Row:
    metric, reference = run.task.headline
    nothing = dict.fromkeys(_OPTIONAL)
    return Row(
        run=run,
        metric=metric,
        reference=reference,
        reason=reason,
        n=0,
        n_clusters=0,
        clusters_assumed=False,
        undefined={},
        rank_reason="no-value",
        **nothing,  # type: ignore[arg-type]  # all of them may be None
    )


def _row(run: ListedRun, score: Mapping[str, Any], metric: Metric) -> Row:
    """Return a score as a row; its interval ends where values of the metric do."""
    low, high = map(metric.within, _interval(score["ci"]))
    skill = score["skill"]
    skill_low, skill_high = _interval(skill["ci"])
    return Row(
        run=run,
        metric=score["metric"],
        reference=score["reference"],
        value=rounded(score["value"]),
        reason=score["reason"],
        low=low,
        high=high,
        ci_reason=score["ci_reason"],
        n=score["n"],
        n_clusters=score["n_clusters"],
        clusters_assumed=score["clusters_assumed"],
        undefined=score["undefined"],
        floor=rounded(score["floor"]["value"]),
        ceiling=rounded(score["ceiling"]["value"]),
        ceiling_reason=score["ceiling"]["reason"],
        skill=rounded(skill["value"]),
        skill_low=skill_low,
        skill_high=skill_high,
        skill_reason=skill["reason"],
        disattenuated=rounded(score["disattenuated"]["value"]),
        weighted=_of_weighted(score, "weighted"),
        weighted_floor=_of_weighted(score, "weighted_floor"),
        weighted_ceiling=_of_weighted(score, "weighted_ceiling"),
        weighted_skill=_of_weighted(score, "weighted_skill"),
        metric_version=score.get("metric_version"),
    )


def _of_weighted(score: Mapping[str, Any], part: str) -> Number:
    return rounded((score.get(part) or {}).get("value"))  # older files have none


def rounded(value: Number) -> Number:
    """Round to four decimals, once, so that pages and data files say the same."""
    return None if value is None else round(float(value), 4) + 0.0


def _interval(ci: Sequence[float] | None) -> tuple[Number, Number]:
    return (rounded(ci[0]), rounded(ci[1])) if ci else (None, None)


def boards_of(runs: Iterable[ListedRun], metrics: Mapping[str, Metric]) -> tuple[Board, ...]:
    """Return the boards of all runs: by task, model, what the task is ranked by, then other scores."""
    groups: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for run in runs:
        for row in _rows(run, metrics):
            key = (run.task.slug, run.model.slug, row.metric, row.reference or "")
            groups[key].append(row)
    ordered = sorted(groups.values(), key=_board_order)
    contests = [_Contest.of(group, metrics[group[0].metric].higher) for group in ordered]
    rankings = in_shares(_rankings, contests, _TOGETHER)
    return tuple(map(_Contest.board, contests, rankings))


def _rankings(contests: Sequence[_Contest]) -> list[Ranking]:
    return [contest.ranking() for contest in contests]


def _board_order(group: Sequence[Row]) -> tuple[Any, ...]:
    """Sort key of boards: task, model, what the task is ranked by, then the other scores."""
    first = group[0]
    score = (first.metric, first.reference or "")
    return (
        *(natural(first.run.task.title), first.run.task.slug),
        *(natural(first.run.model.title), first.run.model.slug),
        *((first.metric, first.reference) != first.run.task.headline, score),
    )


def board_of(group: Sequence[Row], higher: bool) -> Board:
    """Return rows of one task, model, metric and reference with their ranks, best first."""
    contest = _Contest.of(group, higher)
    return contest.board(contest.ranking())


@dataclass(frozen=True)
class _Contest:
    """The rows of one board before they are ranked: contenders by their slug, and the rows that cannot be ranked."""

    contenders: Mapping[str, Row]
    unranked: Sequence[Row]
    higher: bool

    @classmethod
    def of(cls, group: Sequence[Row], higher: bool) -> _Contest:
        """Say of each row whether it can be ranked."""
        unranked, contenders = [], {}
        newest: dict[str, Row] = {}
        for row in sorted(group, key=lambda r: (r.run.data["provenance"]["finished"], r.run.id)):
            newest[row.config.slug] = row
        version = max((_order_of(row) for row in group), default=[])
        for row in group:
            why = _unranked(row, newest[row.config.slug] is row)
            if why is None and _order_of(row) != version:
                why = OLDER_METRIC
            if why is None:
                contenders[row.config.slug] = row
            else:
                unranked.append(replace(row, rank_reason=why))
        return cls(contenders, unranked, higher)

    def ranking(self) -> Ranking:
        """Compare the contenders."""
        return rank(
            {
                slug: utterance_values(row.run, row.metric, row.reference)
                for slug, row in self.contenders.items()
            },
            self.higher,
            {slug for slug, row in self.contenders.items() if row.config.control},
        )

    def board(self, ranking: Ranking) -> Board:
        """Return the rows with their places."""
        rows = [*self.unranked]
        for slug, row in self.contenders.items():
            place = ranking.places.get(slug)
            rows.append(
                replace(row, rank_reason=ranking.reason or "control")
                if place is None
                else replace(
                    row, rank=place.rank, rank_low=place.low, rank_high=place.high, best=place.best
                )
            )
        ordered = sorted(rows, key=lambda row: _order(row, self.higher))
        first = ordered[0]
        return Board(
            first.run.task,
            first.run.model,
            first.metric,
            first.reference,
            tuple(ordered),
            ranking.pairs,
            ranking.reason,
            ranking.resolution,
        )


def _order_of(row: Row) -> list[tuple[int, str]]:
    """Sort key of the version of a row's metric; files that do not state one come before all others."""
    return natural(row.metric_version or "")


def _order(row: Row, higher: bool) -> tuple[bool, float, int, str, str]:
    """Sort key of rows: best first, missing values last."""
    value = row.value or 0.0
    label, id = row.config.label, row.run.id
    return row.value is None, -value if higher else value, row.rank or 0, label, id


def _unranked(row: Row, newest: bool) -> str | None:
    if not newest:
        return "superseded"  # first of all: where rows are shown once per method, it is the newest
    if row.value is None:
        return "no-value"
    if row.config.head is not None:
        return "single-head"
    if row.config.oracle:
        return "oracle"
    if row.config.repeats(row.reference):
        return "the-reference-drawn-again"
    values = row.run.data["utterances"].get(column_name(row.metric, row.reference), ())
    if not any(isinstance(value, int | float) for value in values):
        return "no-values-per-utterance"
    return None


def utterance_values(
    run: ListedRun, metric: str, reference: str | None, prefix: str = ""
) -> Values:
    """Return the value of every utterance; a column that is not there gives none."""
    columns = run.data["utterances"]
    names, clusters = tuple(columns["id"]), tuple(columns["cluster"])
    values = columns.get(prefix + column_name(metric, reference), [None] * len(names))
    numbers = [value if isinstance(value, int | float) else math.nan for value in values]
    return Values(names, clusters, np.array(numbers, dtype=np.float64))
