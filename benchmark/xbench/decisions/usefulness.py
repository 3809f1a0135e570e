"""Does a faithful map serve better? Rank correlation between what judges faithfulness and what a map is used for.

`decisions.tables` says what judges and uses are. The correlation is Kendall's tau-b between the order that a judge
gives and the order that a use gives,

    methods   over means of all methods that judge or are judged: no controls, no single heads, no second estimate of
              the reference
    heads     over means of all single heads (`raw-attention`)
    layers    over means of the heads of each layer
    clips     over clips, within each method, then the mean over methods: does a map that is more faithful on one clip
              than on another also serve better there?
    models    over the means of each model over the methods that all of them share; needs three models

Intervals: `stats.rank_agreement` over clusters (for models over methods); for clips by the jackknife over clusters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

Over = Literal["methods", "heads", "layers", "clips", "models"]


@dataclass(frozen=True)
class Correlation:
    """How far a judge and a use order alike; units: how many are ordered (methods, heads, layers, clips or models)."""

    model: str
    task: str
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
    for judge, first in run.judges.items():
        for use, second in run.uses.items():
            for over, (one, other) in _units(run, first, second).items():
                tau = stats.rank_agreement(
                    list(one.values()), list(other.values()), run.clusters, seed=run.seed
                )
                rows.append(Correlation(run.model, run.task, over, judge, use, len(one), tau))
            chosen = [label for label, kind in run.kinds.items() if kind == "method"]
            tau = within_methods(
                [first[label] for label in chosen],
                [second[label] for label in chosen],
                run.clusters,
            )
            rows.append(Correlation(run.model, run.task, "clips", judge, use, tau.n, tau))
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
    `fewer-than-3-clips`, `all-tied`; of the interval `fewer-than-5-clusters`.
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
    left = np.array([_mean_tau(one[:, names != c], other[:, names != c]) for c in unique])
    count = len(unique)
    error = math.sqrt((count - 1) / count * float(((left - left.mean()) ** 2).sum()))
    reach = float(student.ppf(0.975, count - 1)) * error
    return stats.Estimate(value, max(value - reach, -1.0), min(value + reach, 1.0), n, len(unique))


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
    """Return the correlations over models: means over the methods that all runs of one task share."""
    rows = []
    for task in dict.fromkeys(run.task for run in runs):
        own = [run for run in runs if run.task == task]
        if len(own) < 2:
            continue
        methods = [
            label
            for label, kind in own[0].kinds.items()
            if kind == "method" and all(label in run.kinds for run in own)
        ]
        for judge in own[0].judges:
            for use in own[0].uses:
                if methods and all(judge in run.judges and use in run.uses for run in own):
                    one = [
                        [mean_known(run.judges[judge][label]) for label in methods] for run in own
                    ]
                    other = [[mean_known(run.uses[use][label]) for label in methods] for run in own]
                    tau = stats.rank_agreement(one, other, methods, seed=own[0].seed)
                    rows.append(
                        Correlation("all models", task, "models", judge, use, len(own), tau)
                    )
    return rows


def _means(run: RunTables) -> list[Means]:
    tables = {**run.judges, **run.uses}
    return [
        Means(
            run.model,
            run.task,
            label,
            kind,
            {name: mean_known(table[label]) for name, table in tables.items()},
        )
        for label, kind in run.kinds.items()
    ]
