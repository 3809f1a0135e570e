"""Methods over several tasks and models at once, where they can be compared without a hole.

Averages over different tasks for different methods would rank luck. So methods are compared on the
largest block of method x (task, model) in which every score exists; what lies outside of it is
listed, with what is missing, and not ranked.

Each pair of task and model weighs the same, however many clips it has: M = mean over pairs of the mean over clips. A
pair whose clips are all among those of another one of the same task and model is left out.
Intervals and comparisons are those of the values M + w (x - M), w = N / (K n) for K pairs, N clips in all and n in
the pair of x: their plain mean is M, and their spread that of a weighted mean (its linearisation).
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import numpy as np

from xbench import registry, stats
from xbench.site.costs import pooled_cost
from xbench.site.ranking import SEED, RankedPair, Values, rank
from xbench.site.shared import Shared, shared
from xbench.site.speech import speech_of
from xbench.site.tables.boards import (
    OLDER_METRIC,
    Board,
    Number,
    Row,
    rounded,
    utterance_values,
)
from xbench.site.tables.entries import Config, Metric, Model, ScoreKey, Task
from xbench.site.tables.tabulate import Tables

# The task whose clips have word times, and the metric that reads them.
WORD_TIMES, WORD_STARTS = "word-times", "onset-error"

Cell = tuple[str, str]


@dataclass(frozen=True)
class Standing:
    """One configured method over all cells of the block; devices: where its seconds were measured.

    weighted: the score with each token weighted by its effect; None where a run of the block does not have it.
    seconds_range: the least and the most that a single run took, where several were timed. outdated: what has changed
    since they were made.
    """

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
    weighted: Number
    seconds: Number
    seconds_range: tuple[float, float] | None
    passes: Number
    devices: tuple[str, ...]
    rank: int | None
    rank_low: int | None
    rank_high: int | None
    best: bool
    outdated: tuple[str, ...]


@dataclass(frozen=True)
class Holes:
    """A configured method that lacks scores of the block: in how many cells, and why in how many."""

    config: Config
    cells: int
    reasons: Shared[str]


@dataclass(frozen=True)
class Weighting:
    """What becomes of the order if every clip weighs the same, not every pair of task and model.

    leader: who would come first. turned: of how many pairs of ranked methods (of) the order turns round.
    """

    leader: Config
    turned: int
    of: int


@dataclass(frozen=True)
class Overall:
    """Standings on one metric and reference, best first; `missing`: methods with holes in the block."""

    metric: str
    reference: str | None
    higher: bool
    cells: tuple[tuple[Task, Model], ...]
    standings: tuple[Standing, ...]
    weighting: Weighting | None
    missing: tuple[Holes, ...]
    pairs: tuple[RankedPair, ...]
    reason: str | None
    resolution: float | None

    @property
    def best(self) -> tuple[Standing, ...]:
        """The group not distinguished from the best."""
        return tuple(s for s in self.standings if s.best)


def overall(
    tables: Tables,
    metric: str,
    reference: str | None,
    wanted: Callable[[Config], bool] = lambda config: True,
    apart: frozenset[str] = frozenset(),
    **boards: Task | Model,
) -> Overall:
    """Compare all rankable methods that `wanted` accepts, on one task or model or on all but the tasks `apart`."""
    higher = tables.metrics[metric].higher
    rows: dict[Config, dict[Cell, Row]] = defaultdict(dict)
    without: dict[Config, dict[Cell, str]] = defaultdict(dict)
    places: dict[Cell, tuple[Task, Model]] = {}
    by_slug = {config.slug: config for config in tables.configs}
    for board in _once(
        [
            board
            for board in tables.select(metric=metric, reference=reference, **boards)
            if board.task.slug not in apart
        ]
    ):
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
    by_clip = {config.slug: _values(found) for config, found in inside.items()}
    scores = {c.slug: balanced(by_clip[c.slug], _pairs(found)) for c, found in inside.items()}
    # Against its own reference an estimator would lead by being the same thing twice.
    own = {config.slug for config in inside if config.repeats(reference)}
    controls = {config.slug for config in inside if config.control}
    ranking = rank({slug: v for slug, v in scores.items() if slug not in own}, higher, controls)
    standings = []
    for config, found in inside.items():
        place = ranking.places.get(config.slug)
        standings.append(
            _standing(
                config,
                found,
                scores[config.slug],
                by_clip[config.slug],
                tables.metrics[metric],
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
        _weighting([s for s in standings if s.rank is not None], by_clip, higher),
        tuple(sorted(missing, key=lambda holes: holes.config.label)),
        ranking.pairs,
        ranking.reason,
        ranking.resolution,
    )


def over_all(
    tables: Tables,
    metric: str,
    reference: str | None,
    wanted: Callable[[Config], bool] = lambda config: True,
) -> Overall:
    """Compare methods over all tasks and models; where recorded speech is there, over recorded speech alone.

    Clips of the task `word-times` are chosen for their word times: of word starts they answer alone, and of all else
    the other tasks do, where there are others.
    """
    scored = [board.task for board in tables.select(metric=metric, reference=reference)]
    kept = _if_any(scored, lambda task: speech_of(task) == "recorded")
    kept = _if_any(kept, lambda task: (task.name == WORD_TIMES) is (metric == WORD_STARTS))
    names = {task.slug for task in kept}
    apart = frozenset(task.slug for task in scored if task.slug not in names)
    return overall(tables, metric, reference, wanted, apart)


def _once(boards: Sequence[Board]) -> list[Board]:
    """Return the boards without those whose clips are all among those of another one, of the same task and model.

    A few clips on which one more reference was estimated say nothing new against the reference that all clips have.
    """
    spoken = [(board.task.name, board.model, _spoken(board)) for board in boards]

    def held(task: str, model: Model, own: frozenset[tuple[str, str]]) -> bool:
        others = (clips for name, same, clips in spoken if (name, same) == (task, model))
        return bool(own) and any(own < clips for clips in others)

    return [board for board, each in zip(boards, spoken, strict=True) if not held(*each)]


def _spoken(board: Board) -> frozenset[tuple[str, str]]:
    """Return the clips of a board's largest result with what the model wrote; none where no result states it."""
    columns = [row.run.data["utterances"] for row in board.rows]
    stated = [(each["id"], each["hypothesis"]) for each in columns if "hypothesis" in each]
    ids, texts = max(stated, key=lambda each: len(each[0]), default=((), ()))
    return frozenset(zip(ids, texts, strict=True))


def times_key(tables: Tables, main: ScoreKey) -> ScoreKey | None:
    """Return the score of word times, that beside the main reference where there are several."""
    found = [(b.metric, b.reference) for b in tables.boards if b.metric == WORD_STARTS]
    return next((key for key in found if key[1] == main[1]), next(iter(found), None))


def _if_any(tasks: Sequence[Task], wanted: Callable[[Task], bool]) -> Sequence[Task]:
    """Return the tasks that are wanted; all where none is."""
    return [task for task in tasks if wanted(task)] or tasks


def _largest_block(covered: Mapping[str, frozenset[Cell]]) -> frozenset[Cell]:
    """Return the cells that some method has, for which methods x cells is largest."""

    def size(cells: frozenset[Cell]) -> tuple[int, int, list[Cell]]:
        methods = sum(cells <= other for other in covered.values())
        return methods * len(cells), len(cells), sorted(cells)

    return max(set(covered.values()), key=size, default=frozenset())


def _weighting(
    ranked: Sequence[Standing], by_clip: Mapping[str, Values], higher: bool
) -> Weighting | None:
    """Return how the order, best first, changes with the other weighting; None for fewer than two methods."""
    if len(ranked) < 2:
        return None
    sign = -1 if higher else 1
    # A method that is ranked has values.
    plain = [sign * (_mean(by_clip[s.config.slug]) or 0.0) for s in ranked]
    pairs = list(combinations(plain, 2))
    turned = sum(first > second for first, second in pairs)
    return Weighting(ranked[plain.index(min(plain))].config, turned, len(pairs))


def _mean(values: Values) -> float | None:
    known = values.numbers[~np.isnan(values.numbers)]
    return float(known.mean()) if len(known) else None


def balanced(values: Values, pairs: Sequence[int]) -> Values:
    """Return values whose plain mean weighs every pair of task and model equally; where they are equal, the same.

    pairs: how many utterances each pair has, in the order of the values.
    """
    known = ~np.isnan(values.numbers)
    pair = np.repeat(np.arange(len(pairs)), pairs)
    counts = np.bincount(pair[known], minlength=len(pairs))
    there = counts > 0
    if len(set(counts[there].tolist())) < 2:
        return values
    sums = np.bincount(pair[known], values.numbers[known], len(pairs))
    mean = (sums[there] / counts[there]).mean()
    weights = counts[there].mean() / np.maximum(counts, 1)
    return replace(values, numbers=mean + weights[pair] * (values.numbers - mean))


def owner_of(task: Task) -> str:
    """Return the dataset that a task's speakers are of; files of one's own count as one dataset."""
    dataset: str = task.facts["dataset"]["name"]
    return dataset if dataset in registry.datasets.names() else ""


def _values(rows: Sequence[Row], prefix: str = "") -> Values:
    """Return the values of all cells; one speaker is one cluster in every task of a dataset."""
    found = [utterance_values(row.run, row.metric, row.reference, prefix) for row in rows]
    names, clusters = [], []
    for row, values in zip(rows, found, strict=True):
        run = row.run
        names.append(_under(f"{run.task.slug}\0{run.model.slug}", values.names))
        clusters.append(_under(owner_of(run.task), values.clusters))
    return Values(
        tuple(chain.from_iterable(names)),
        tuple(chain.from_iterable(clusters)),
        np.concatenate([values.numbers for values in found]),
    )


@functools.lru_cache(maxsize=256)
def _under(owner: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of one owner so that they are no names of another; all methods of a run ask for the same."""
    return tuple(f"{owner}\0{name}" for name in names)


def _pairs(rows: Sequence[Row]) -> list[int]:
    return [len(row.run.data["utterances"]["id"]) for row in rows]


def _standing(
    config: Config,
    rows: Sequence[Row],
    scores: Values,
    by_clip: Values,
    metric: Metric,
    place: tuple[int | None, int | None, int | None, bool],
) -> Standing:
    clusters, pairs = scores.clusters, _pairs(rows)
    mean = stats.mean_estimate(scores.column, clusters, seed=SEED)
    assert mean.value is not None  # rows without a value per utterance stay outside of the block
    bounds = [_values(rows, f"{kind}:") for kind in ("floor", "ceiling")]
    floor, ceiling = (_mean(balanced(bound, pairs)) for bound in bounds)
    # Means of all three over the same clips.
    sides = (by_clip, *bounds)
    partly = np.isnan([side.numbers for side in sides]).any(axis=0)
    whole = [replace(side, numbers=np.where(partly, np.nan, side.numbers)) for side in sides]
    values, floors, ceilings = (balanced(side, pairs).column for side in whole)
    skill = stats.skill(values, floors, ceilings, clusters, seed=SEED)
    weighted = None
    if all(row.weighted is not None for row in rows):
        weighted = _mean(balanced(_values(rows, "weighted:"), pairs))
    seconds, passes = pooled_cost([(row.run.cost, row.run.utterances) for row in rows])
    rates = [r for row in rows if (r := row.run.cost["seconds_per_audio_second"]) is not None]
    rank_at, low, high, best = place
    return Standing(
        config=config,
        value=round(mean.value, 4) + 0.0,
        low=rounded(metric.within(mean.low)),
        high=rounded(metric.within(mean.high)),
        n=mean.n,
        n_clusters=mean.n_clusters,
        floor=rounded(floor),
        ceiling=rounded(ceiling),
        skill=rounded(skill.value),
        skill_low=rounded(skill.low),
        skill_high=rounded(skill.high),
        weighted=rounded(weighted),
        seconds=seconds,
        seconds_range=(min(rates), max(rates)) if len(rates) > 1 else None,
        passes=passes,
        devices=tuple(sorted({row.run.cost["device"] for row in rows})),
        rank=rank_at,
        rank_low=low,
        rank_high=high,
        best=best,
        outdated=tuple(dict.fromkeys(line for row in rows for line in row.run.outdated)),
    )
