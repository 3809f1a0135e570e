"""Methods over several tasks and models at once, where they can be compared without a hole.

Averages over different tasks for different methods would rank luck. So methods are compared on the
largest block of method x (task, model) in which every score exists; what lies outside of it is
listed, with what is missing, and not ranked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xbench import stats
from xbench.site.costs import pooled_cost
from xbench.site.ranking import SEED, RankedPair, Values, rank
from xbench.site.shared import Shared, shared
from xbench.site.tables.boards import OLDER_METRIC, Number, Row, rounded, utterance_values
from xbench.site.tables.entries import Config, Model, Task
from xbench.site.tables.tabulate import Tables

Cell = tuple[str, str]


@dataclass(frozen=True)
class Standing:
    """One configured method over all cells of the block; devices: where its seconds were measured."""

    config: Config
    value: float
    low: Number
    high: Number
    n: int
    n_clusters: int
    floor: Number
    ceiling: Number
    skill: Number
    skill_low: Number
    skill_high: Number
    seconds: Number
    passes: Number
    devices: tuple[str, ...]
    rank: int | None
    rank_low: int | None
    rank_high: int | None
    best: bool


@dataclass(frozen=True)
class Holes:
    """A configured method that lacks scores of the block: in how many cells, and why in how many."""

    config: Config
    cells: int
    reasons: Shared[str]


@dataclass(frozen=True)
class Overall:
    """Standings on one metric and reference, best first; `missing`: methods with holes in the block."""

    metric: str
    reference: str | None
    higher: bool
    cells: tuple[tuple[Task, Model], ...]
    standings: tuple[Standing, ...]
    missing: tuple[Holes, ...]
    pairs: tuple[RankedPair, ...]
    reason: str | None

    @property
    def best(self) -> tuple[Standing, ...]:
        """The group not distinguished from the best."""
        return tuple(s for s in self.standings if s.best)


def overall(
    tables: Tables,
    metric: str,
    reference: str | None,
    wanted: Callable[[Config], bool] = lambda config: True,
    **boards: Task | Model,
) -> Overall:
    """Compare all rankable methods that `wanted` accepts, on one task or model or on all."""
    higher = tables.metrics[metric].higher
    rows: dict[Config, dict[Cell, Row]] = defaultdict(dict)
    without: dict[Config, dict[Cell, str]] = defaultdict(dict)
    places: dict[Cell, tuple[Task, Model]] = {}
    by_slug = {config.slug: config for config in tables.configs}
    for board in tables.select(metric=metric, reference=reference, **boards):
        cell = (board.task.slug, board.model.slug)
        for row in board.rows:
            config = by_slug[row.config.slug]
            if not config.ranked or not wanted(config):
                continue
            if row.rank_reason in ("superseded", OLDER_METRIC):
                continue
            if row.value is None:
                without[config][cell] = row.reason or "not recorded"
            elif row.rank_reason == "no-values-per-utterance":
                without[config][cell] = row.rank_reason
            else:
                rows[config][cell] = row
                places[cell] = (board.task, board.model)
    block = _largest_block({config.slug: frozenset(found) for config, found in rows.items()})
    inside = {
        c: [found[x] for x in sorted(block)] for c, found in rows.items() if block <= set(found)
    }
    scores = {config.slug: _values(found) for config, found in inside.items()}
    # Against its own reference an estimator would lead by being the same thing twice.
    own = {config.slug for config in inside if config.repeats(reference)}
    ranking = rank({slug: v for slug, v in scores.items() if slug not in own}, higher)
    standings = []
    for config, found in inside.items():
        place = ranking.places.get(config.slug)
        standings.append(
            _standing(
                config,
                found,
                scores[config.slug],
                (place.rank, place.low, place.high, place.best)
                if place
                else (None, None, None, False),
            )
        )
    standings.sort(key=lambda s: (-s.value if higher else s.value, s.rank or 0, s.config.label))
    missing = []
    for config in {**dict.fromkeys(rows), **dict.fromkeys(without)}:
        holes = block - set(rows.get(config, ()))
        if holes:
            why = shared(without.get(config, {}).get(cell, "not run") for cell in holes)
            missing.append(Holes(config, len(holes), why))
    return Overall(
        metric,
        reference,
        higher,
        tuple(places[cell] for cell in sorted(block)),
        tuple(standings),
        tuple(sorted(missing, key=lambda holes: holes.config.label)),
        ranking.pairs,
        ranking.reason,
    )


def _largest_block(covered: Mapping[str, frozenset[Cell]]) -> frozenset[Cell]:
    """Return the cells that some method has, for which methods x cells is largest."""

    def size(cells: frozenset[Cell]) -> tuple[int, int, list[Cell]]:
        methods = sum(cells <= other for other in covered.values())
        return methods * len(cells), len(cells), sorted(cells)

    return max(set(covered.values()), key=size, default=frozenset())


def _values(rows: Sequence[Row], prefix: str = "") -> Values:
    """Return the values of all cells; one speaker is one cluster in every task of a dataset."""
    values = {}
    for row in rows:
        run = row.run
        where = f"{run.task.slug}\0{run.model.slug}"
        dataset = run.task.facts["dataset"]["name"]
        found = utterance_values(run, row.metric, row.reference, prefix)
        for utterance, (value, cluster) in found.items():
            values[f"{where}\0{utterance}"] = (value, f"{dataset}\0{cluster}")
    return values


def _standing(
    config: Config,
    rows: Sequence[Row],
    scores: Values,
    place: tuple[int | None, int | None, int | None, bool],
) -> Standing:
    names = sorted(scores)
    clusters = [scores[name][1] for name in names]
    column = [scores[name][0] for name in names]
    mean = stats.mean_estimate(column, clusters, seed=SEED)
    assert mean.value is not None  # rows without a value per utterance stay outside of the block
    bounds = {}
    for kind in ("floor", "ceiling"):
        found = _values(rows, f"{kind}:")
        bounds[kind] = [found[name][0] if name in found else None for name in names]
    floor, ceiling = (
        stats.mean_estimate(bounds[kind], clusters, seed=SEED).value
        for kind in ("floor", "ceiling")
    )
    skill = stats.skill(column, bounds["floor"], bounds["ceiling"], clusters, seed=SEED)
    seconds, passes = pooled_cost([(row.run.cost, row.run.utterances) for row in rows])
    rank_at, low, high, best = place
    return Standing(
        config=config,
        value=round(mean.value, 4) + 0.0,
        low=rounded(mean.low),
        high=rounded(mean.high),
        n=mean.n,
        n_clusters=mean.n_clusters,
        floor=rounded(floor),
        ceiling=rounded(ceiling),
        skill=rounded(skill.value),
        skill_low=rounded(skill.low),
        skill_high=rounded(skill.high),
        seconds=seconds,
        passes=passes,
        devices=tuple(sorted({row.run.cost["device"] for row in rows})),
        rank=rank_at,
        rank_low=low,
        rank_high=high,
        best=best,
    )
