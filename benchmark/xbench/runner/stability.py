"""Does the ranking of methods survive another reference, another pooling, another metric?

Every way of scoring (a *view*) ranks the methods; each view is compared with the headline's:

    a metric and reference that the results hold     pearson@spes-input
    other scoring options                             pearson@spes-input [pool_time=mean]
    the map of a method in the place of a reference   pearson@map:integrated-gradients-encoder

The latter two are scored from the store. A map is not an estimate from masks: it has no halves, hence no reliability
and no ceiling, and the method it comes from is left out of that comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xbench import registry, stats
from xbench.errors import UsageError, nearest
from xbench.results import RunResult, column_name
from xbench.runner.keys import map_key
from xbench.runner.rescore import Change, change_from, rescore, stored_run
from xbench.spec import Call
from xbench.store import Store

# one value per utterance of each method, None where there is none
Rows = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class View:
    """One way of scoring: what it is called, and the values of each method on each utterance."""

    name: str
    rows: Rows
    higher_is_better: bool


@dataclass(frozen=True)
class Stability:
    """How well the order of methods under one view agrees with the order under the headline."""

    view: str
    headline: str
    methods: int
    tau: stats.Estimate


def compare_references(
    results: Sequence[RunResult],
    *,
    metrics: Sequence[str] = (),
    scoring: Sequence[str] = (),
    maps: Sequence[str] = (),
    store: Store,
) -> list[Stability]:
    """Return Kendall's tau-b of every other view's ranking of methods with the headline's.

    metrics: only these (default: all). scoring: `key=value` options, each a view of its own.
    maps: methods among the results whose maps stand for a reference. Raises UsageError when
    the results are not of one model, task and set of utterances, or the store lacks the maps.
    """
    usable = _one_run(results)
    names = [_name(result) for result in usable]
    columns = _columns(usable[0], metrics)
    headline = _headline(usable[0])
    views = {column_name(*c): _view(names, usable, c) for c in {headline: None, **columns}}
    for option in scoring:
        change = change_from((), [option])
        again = rescore(usable, store, change)
        for column in columns:
            label = f"{column_name(*column)} [{option}]"
            views[label] = replace(_view(names, again, column), name=label)
    for method in maps:
        views |= _map_views(method, names, usable, [metric for metric, _ in columns], store)
    first = views.pop(column_name(*headline))
    clusters, seed = usable[0].utterances["cluster"], usable[0].provenance.seed
    return [_stability(view, first, clusters, seed) for view in views.values()]


def _one_run(results: Sequence[RunResult]) -> list[RunResult]:
    usable = [r for r in results if r.status in ("complete", "partial")]
    if not usable:
        raise UsageError("none of the results has scores; give results of `xbench eval`")
    runs = {
        (r.task.hash, r.model.name, r.model.revision, tuple(r.utterances["id"])): r for r in usable
    }
    if len(runs) > 1:
        shown = ", ".join(sorted({f"{r.task.name} of {r.model.name}" for r in runs.values()}))
        raise UsageError(
            f"the results come from {len(runs)} runs ({shown}); give methods of one model on one task and "
            "the same utterances"
        )
    names = [_name(result) for result in usable]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"method {name} is given twice")
    return usable


def _name(result: RunResult) -> str:
    return str(Call.make(result.method.name, result.method.params))


def _headline(result: RunResult) -> tuple[str, str | None]:
    return result.task.headline["metric"], result.task.headline["reference"]


def _columns(result: RunResult, metrics: Sequence[str]) -> dict[tuple[str, str | None], None]:
    have = {score.metric: None for score in result.scores}
    for metric in metrics:
        if metric not in have:
            raise UsageError(
                f"the results have no metric '{metric}'{nearest(metric, have)}; they have {', '.join(have)}"
            )
    return {(s.metric, s.reference): None for s in result.scores if s.metric in (metrics or have)}


def _view(
    names: Sequence[str], results: Sequence[RunResult], column: tuple[str, str | None]
) -> View:
    name = column_name(*column)
    rows = {m: r.utterances[name] for m, r in zip(names, results, strict=True)}
    return View(name, rows, results[0].score(*column).direction == "higher")


def _map_views(
    method: str,
    names: Sequence[str],
    results: Sequence[RunResult],
    metrics: Sequence[str],
    store: Store,
) -> dict[str, View]:
    """Score the maps of all other methods against the maps of one of them."""
    call = str(registry.methods.resolve(Call.parse(method))[1])
    if call not in names:
        raise UsageError(
            f"--map {method}: {call} is not among the results{nearest(call, names)}; evaluate it too"
        )
    stored = stored_run(results, store, Change())
    grids: dict[str, dict[str, Any]] = {name: {} for name in names}
    for job in stored.jobs:
        id_ = job.utterance.id
        spoken = stored.spoken.get(id_)
        if spoken is None or spoken.decoded.unexplained:
            continue
        for position, name in enumerate(names):
            one = stored.methods[position]
            key = map_key(stored.record.info, spoken, one)
            values = stored.shelf.artefact(key).arrays["values"]
            grids[name][id_] = one.on_grid(values, spoken.decoded.layout, job.task.scoring)
    ids = results[0].utterances["id"]
    scoring = stored.record.task.scoring
    params = {c.name: c.given for c in stored.record.task.metrics}
    views = {}
    for metric in dict.fromkeys(metrics):
        description = registry.metrics.get(metric)
        if description.family != "agreement":
            continue
        compute = description.load()
        rows = {
            name: [
                compute(
                    grids[name][i],
                    grids[call][i],
                    stored.spoken[i].decoded.layout,
                    scoring,
                    **params[metric],
                ).value
                if i in grids[name]
                else None
                for i in ids
            ]
            for name in names
            if name != call
        }
        label = f"{metric}@map:{call}"
        views[label] = View(label, rows, description.higher_is_better)
    return views


def _stability(view: View, headline: View, clusters: Sequence[str], seed: int) -> Stability:
    """Compare two orders over the methods that have any value under both."""

    def known(rows: Rows) -> set[str]:
        return {name for name, row in rows.items() if any(value is not None for value in row)}

    shared = [n for n in headline.rows if n in known(headline.rows) & known(view.rows)]
    tau = stats.rank_agreement(
        [_upward(headline, name) for name in shared],
        [_upward(view, name) for name in shared],
        clusters,
        seed=seed,
    )
    return Stability(view.name, headline.name, len(shared), tau)


def _upward(view: View, name: str) -> list[float | None]:
    sign = 1 if view.higher_is_better else -1
    return [None if value is None else sign * value for value in view.rows[name]]
