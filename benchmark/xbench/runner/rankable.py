"""Can the results of a run be ranked beside those of others? Asked before it starts, told once, and no hindrance."""

from __future__ import annotations

from collections.abc import Iterator

from xbench import registry
from xbench.claims.here import task_here
from xbench.claims.standing import headline_obstacles, local_obstacles, unregistered
from xbench.models.loading import Location
from xbench.runner.plan import Plan
from xbench.spec import LOCAL, Call, TaskSpec


def unranked(plan: Plan) -> tuple[str, ...]:
    """Return why results of this run will not be ranked, each reason once; empty where they can be."""
    return tuple(dict.fromkeys(_reasons(plan)))


def _reasons(plan: Plan) -> Iterator[str]:
    if plan.spec.selection.partial:
        yield "a selection of utterances (--ids or --limit)"
    for each in plan.tasks:
        task, here = each.task, task_here(each.task.name, each.task.preset)
        own = unregistered(_plugins(plan, task), task.headline.metric)
        dataset = "" if plan.spec.data else each.manifest.name  # a manifest may bear any name
        for obstacle in local_obstacles(own, dataset, here is not None, _model(plan)):
            yield obstacle.what
        if here is not None:
            yield from (
                f"{o.what}, where {o.rule}" for o in headline_obstacles(task.headline, here)
            )
            yield from _other_references(task, here)


def _plugins(plan: Plan, task: TaskSpec) -> Iterator[dict[str, str]]:
    """Yield what no package registers, as results state it."""
    named: list[tuple[str, str]] = []
    info = None if isinstance(plan.model, Location) else plan.model.info
    if info is not None and info.family not in registry.models.names():
        named.append(("model", info.name))
    named += [("method", m.call.name) for m in plan.methods if m.distribution == LOCAL]
    named += [("metric", c.name) for c in task.metrics if _is_local(registry.metrics, c)]
    named += [("reference", c.name) for c in task.references if _is_local(registry.references, c)]
    yield from ({"kind": kind, "name": name, "distribution": LOCAL} for kind, name in named)


def _is_local(kind: registry.Registry, call: Call) -> bool:
    return kind.entry(call.name).distribution == LOCAL


def _model(plan: Plan) -> tuple[str, str]:
    known = plan.model if isinstance(plan.model, Location) else plan.model.info
    return known.name, known.source


def _other_references(task: TaskSpec, here: TaskSpec) -> Iterator[str]:
    wanted = {call.name: call.given for call in here.references}
    for call in task.references:
        own = wanted.get(call.name, call.given)
        differing = sorted(key for key in call.given if call.given[key] != own.get(key))
        if differing:
            yield f"{call.name} with another {', '.join(differing)} than the task"
