"""Does a faithful map serve better? Rank correlation between what judges faithfulness and what a map is used for.

`decisions.tables` says what judges and uses are. The correlation is Kendall's tau-b between the order that a judge
gives and the order that a use gives,

    methods   over means of all methods that judge or are judged: no controls, no single heads, no second estimate of
              the reference
    heads     over means of all single heads (`raw-attention`)
    layers    over means of the heads of each layer
    clips     over clips, within each method, then the mean over methods: does a map that is more faithful on one clip
              than on another also serve better there?
    models    over the means of each model over the methods that all of them share, whatever clips each was run on; of
              transcription and of translation apart; needs three models

Intervals: `stats.rank_agreement` over clusters; for clips by the jackknife over clusters, for models over models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau
from scipy.stats import t as student

from xbench import stats
from xbench.audit.stored_maps import scored
from xbench.decisions.tables import RunTables, Table, mean_known, run_tables
from xbench.results import RunResult
from xbench.runner.rescore import grouped
from xbench.store import Store

_FEWEST_MODELS = 3
Over = Literal["methods", "heads", "layers", "clips", "models"]


@dataclass(frozen=True)
class Correlation:
    """How far a judge and a use order alike.

    data: the name of the clips; empty over models, whose clips differ. units: how many are ordered (methods, heads,
    layers, clips or models).
    """

    model: str
    task: str
    data: str
    over: Over
    judge: str
    use: str
    units: int
    tau: stats.Estimate


@dataclass(frozen=True)
class Usefulness:
    """All correlations, and the means that they are made of.

    means: per run and method what every judge and use says, for pictures. absent: uses that a run does not have,
    and why.
    """

    rows: tuple[Correlation, ...]
    means: tuple[Means, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class Means:
    """The means of one method over the clips of one run, by judge and use; None where there is none."""

    model: str
    task: str
    data: str
    method: str
    kind: str
    values: Mapping[str, float | None]


def usefulness(results: Sequence[RunResult], *, store: Store) -> Usefulness:
    """Return how far every judge foresees every use, in each run and over all of them; loads no model.

    Raises UsageError where none of the results has scores, or the store does not know their runs.
    """
    usable = scored(results)
    runs, absent = [], []
    for indices in grouped(usable):
        tables, missing = run_tables([usable[index] for index in indices], store)
        runs.append(tables)
        absent += missing
    rows = [row for run in runs for row in correlations(run)]
    return Usefulness(
        (*rows, *over_models(runs)),
        tuple(mean for run in runs for mean in _means(run)),
        tuple(absent),
    )


def correlations(run: RunTables) -> list[Correlation]:
    """Return the correlations of one run: over methods, heads, layers and clips."""
    rows = []
    name = (run.model, run.task, run.data)
    for judge, first in run.judges.items():
        for use, second in run.uses.items():
            for over, (one, other) in _units(run, first, second).items():
                tau = stats.rank_agreement(
                    list(one.values()), list(other.values()), run.clusters, seed=run.seed
                )
                rows.append(Correlation(*name, over, judge, use, len(one), tau))
            chosen = [label for label, kind in run.kinds.items() if kind == "method"]
            tau = within_methods(
                [first[label] for label in chosen],
                [second[label] for label in chosen],
                run.clusters,
            )
            rows.append(Correlation(*name, "clips", judge, use, tau.n, tau))
    return rows


def _units(run: RunTables, first: Table, second: Table) -> dict[Over, tuple[Table, Table]]:
    """Return what is ordered by means over clips: methods, heads, and the heads of each layer together."""

    def of(kind: str) -> tuple[Table, Table]:
        labels = [label for label, own in run.kinds.items() if own == kind]
        return {k: first[k] for k in labels}, {k: second[k] for k in labels}

    heads = of("head")
    layers = sorted({layer for layer, _ in run.heads.values()})
    found: dict[Over, tuple[Table, Table]] = {"methods": of("method"), "heads": heads}
    one, other = (
        {
            str(layer): _mean_of([part[k] for k, own in run.heads.items() if own[0] == layer])
            for layer in layers
        }
        for part in heads
    )
    found["layers"] = (one, other)
    return {over: pair for over, pair in found.items() if pair[0]}


def _mean_of(rows: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Return the mean over rows of each clip; None where one row has no value."""
    means: list[float | None] = []
    for values in zip(*rows, strict=True):
        known = [value for value in values if value is not None]
        means.append(float(np.mean(known)) if len(known) == len(values) else None)
    return means


def within_methods(
    first: Sequence[Sequence[float | None]],
    second: Sequence[Sequence[float | None]],
    clusters: Sequence[str],
) -> stats.Estimate:
    """Return the mean over methods of Kendall's tau-b over clips, with a jackknife interval over clusters.

    With tau_(-c) the value without cluster c, C clusters: se^2 = (C - 1) / C sum_c (tau_(-c) - mean of them)^2; the
    interval is value +- t se, t of C - 1 degrees of freedom, cut to [-1, 1].
    Shapes: first, second [method, clip]. `n` counts clips that all methods have both values of. Null:
    `fewer-than-3-clips`, `all-tied`; of the interval `fewer-than-5-clusters`, and
    `unstable-ranking` where nothing is ordered without one of the clusters.
    """
    tables = [
        np.array([[math.nan if v is None else v for v in row] for row in rows], dtype=np.float64)
        for rows in (first, second)
    ]
    kept = ~np.isnan(np.concatenate(tables)).any(axis=0) if first else np.zeros(0, dtype=bool)
    names = np.asarray(clusters, dtype=str)[kept] if first else np.zeros(0, dtype=str)
    one, other = (table[:, kept] if first else table for table in tables)
    n, unique = len(names), sorted(set(names.tolist()))
    if n < 3:
        return stats.Estimate(None, None, None, n, len(unique), "fewer-than-3-clips")
    value = _mean_tau(one, other)
    if math.isnan(value):
        return stats.Estimate(None, None, None, n, len(unique), "all-tied")
    if len(unique) < stats.FEWEST_CLUSTERS:
        return stats.Estimate(value, None, None, n, len(unique), ci_reason="fewer-than-5-clusters")
    left = [_mean_tau(one[:, names != c], other[:, names != c]) for c in unique]
    return _jackknife(value, left, n, len(unique))


def _jackknife(value: float, left: Sequence[float], n: int, count: int) -> stats.Estimate:
    """Return a value with its interval from the values without one of `count` units, where all of these exist."""
    known = np.array(left)
    if np.isnan(known).any():
        return stats.Estimate(value, None, None, n, count, ci_reason="unstable-ranking")
    error = math.sqrt((count - 1) / count * float(((known - known.mean()) ** 2).sum()))
    reach = float(student.ppf(0.975, count - 1)) * error
    return stats.Estimate(value, max(value - reach, -1.0), min(value + reach, 1.0), n, count)


def _mean_tau(
    first: Float[np.ndarray, "method clip"], second: Float[np.ndarray, "method clip"]
) -> float:
    """Return the mean of tau-b over the methods that have one; NaN where none has."""
    taus = [
        float(kendalltau(a, b).statistic)
        for a, b in zip(first, second, strict=True)
        if np.ptp(a) > 0 and np.ptp(b) > 0
    ]
    return float(np.mean(taus)) if taus else math.nan


def over_models(runs: Sequence[RunTables]) -> list[Correlation]:
    """Return the correlations over models, for transcription and for translation, where two models have both columns.

    A model's value is the mean over its runs of the mean over the methods that all runs with this judge and this use
    share.
    """
    rows = []
    for kind in sorted({run.kind for run in runs}):
        own = [run for run in runs if run.kind == kind]
        judges = dict.fromkeys(judge for run in own for judge in run.judges)
        uses = dict.fromkeys(use for run in own for use in run.uses)
        for judge, use in product(judges, uses):
            known = [run for run in own if judge in run.judges and use in run.uses]
            methods = [
                label
                for label in (known[0].kinds if known else ())
                if all(run.kinds.get(label) == "method" for run in known)
            ]
            if len({run.model for run in known}) < 2 or not methods:
                continue
            judged = _means_of_models([(run.model, run.judges[judge]) for run in known], methods)
            used = _means_of_models([(run.model, run.uses[use]) for run in known], methods)
            tau = tau_of_models(judged, used)
            rows.append(Correlation("all models", kind, "", "models", judge, use, tau.n, tau))
    return rows


def _means_of_models(
    tables: Sequence[tuple[str, Table]], methods: Sequence[str]
) -> list[float | None]:
    """Return the mean of every model over its runs and the methods; None where a method of a run has no value."""
    values: dict[str, list[float | None]] = {}
    for model, table in tables:
        values.setdefault(model, []).extend(mean_known(table[label]) for label in methods)
    return [None if None in own else mean_known(own) for own in values.values()]


def tau_of_models(first: Sequence[float | None], second: Sequence[float | None]) -> stats.Estimate:
    """Return Kendall's tau-b between two orders of models, with a jackknife interval over models.

    Fewer than three models have no order, and of fewer than five nobody knows how far another choice of models would
    move it. `n` counts the models that have both values. Null: `fewer-than-3-models`, `all-tied`; of the interval
    `fewer-than-5-models`.
    """
    known = [pair for pair in zip(first, second, strict=True) if None not in pair]
    n = len(known)
    if n < _FEWEST_MODELS:
        return stats.Estimate(None, None, None, n, n, "fewer-than-3-models")
    one, other = np.array(known, dtype=np.float64).T
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return stats.Estimate(None, None, None, n, n, "all-tied")
    value = _mean_tau(one[None], other[None])
    if n < stats.FEWEST_CLUSTERS:
        return stats.Estimate(value, None, None, n, n, ci_reason="fewer-than-5-models")
    left = [_mean_tau(np.delete(one, i)[None], np.delete(other, i)[None]) for i in range(n)]
    return _jackknife(value, left, n, n)


def _means(run: RunTables) -> list[Means]:
    tables = {**run.judges, **run.uses}
    return [
        Means(
            run.model,
            run.task,
            run.data,
            label,
            kind,
            {name: mean_known(table[label]) for name, table in tables.items()},
        )
        for label, kind in run.kinds.items()
    ]
