"""Turn a RunSpec into what will be run, before anything heavy starts (no torch)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from xbench import registry
from xbench.data.audio import readable_sha256
from xbench.data.datasets import utterances_for
from xbench.data.manifest import Manifest
from xbench.description import MethodDescription
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout, on_encoder_grid
from xbench.metrics.sanity import gates_named
from xbench.models.loading import Location, locate
from xbench.runner.local_file import (
    from_file,
    is_in_file,
    with_local_metric,
    with_local_reference,
)
from xbench.runner.own import check_model, described
from xbench.spec import LOCAL, Call, RunSpec, Scoring, Selection, TaskSpec
from xbench.tasks import in_order, resolve_tasks

if TYPE_CHECKING:
    from xbench.fitting import Fitted


@dataclass(frozen=True)
class TaskPlan:
    """One resolved task, its utterances, and those to select on where it has a dev split."""

    task: TaskSpec
    manifest: Manifest
    dev: Manifest | None = None


@dataclass(frozen=True)
class Method:
    """A method with complete parameters, its description, and what it learned where it does.

    distribution: the package that registers it; `local` for a function of the session; empty for maps that were
        made elsewhere.
    """

    description: MethodDescription
    call: Call
    distribution: str
    fitted: Fitted | None = None

    @property
    def ours(self) -> bool:
        """Say whether it is a method of xbench itself; others run isolated (`methods.isolation`)."""
        return self.distribution == registry.OURS

    @classmethod
    def registered(cls, call: Call) -> Method:
        """Return the registered method that a call names; raises UsageError for a name or a parameter."""
        description, complete = registry.methods.resolve(call)
        return cls(description, complete, registry.methods.entry(call.name).distribution)

    @classmethod
    def of(cls, given: Any) -> Method:
        """Return the method that a call, a text, a function or a description stands for; raises UsageError."""
        call = Call.parse(given) if isinstance(given, str) else given
        if isinstance(call, Call) and not is_in_file(call.name):
            return cls.registered(call)
        params = call.params if isinstance(call, Call) else ()
        description = described(from_file(call.name) if isinstance(call, Call) else call)
        return cls(description, description.resolve(Call(description.name, params)), LOCAL)

    def on_grid(
        self, values: Float[np.ndarray, "token *cells"], layout: Layout, scoring: Scoring
    ) -> GridMap:
        """Bring a map of this method onto the encoder grid; a map with negative values by its magnitudes.

        Of what the description declares, only `signed` is read, and a map that is not negative is the same with it
        and without (a map with negative values that does not declare it is refused).
        """
        return on_encoder_grid(values, layout, scoring, signed=self.description.signed)


@dataclass(frozen=True)
class Plan:
    """A run before anything heavy starts: all that its spec names was found and checked.

    It is made once and handed on, since making it reads every clip to hash it. spec: with names in the place of a
    loaded model and of functions. model: where the checkpoint lies, or the loaded model. methods: sweeps (`layer=*`)
    are in it as they were written, since only the loaded model says how many layers there are.
    """

    spec: RunSpec
    model: Location | Any
    methods: tuple[Method, ...]
    tasks: tuple[TaskPlan, ...]


def prepare(spec: RunSpec) -> Plan:
    """Check model name, methods, tasks and manifests without loading anything heavy; raises UsageError."""
    if isinstance(spec.model, str):
        model, name = locate(spec.model), spec.model
    else:
        model = check_model(spec.model)
        name = model.info.name
    gates_named(spec.gates)
    spec = replace(spec, references=tuple(map(with_local_reference, spec.references)))
    methods = plan_methods(spec)
    calls = tuple(
        given if isinstance(given, Call) and method.distribution != LOCAL else method.call
        for given, method in zip(spec.methods, methods, strict=True)
    )
    fit = any(method.description.fit for method in methods)
    tasks = plan_tasks(spec, fit=fit)
    return Plan(replace(spec, model=name, methods=calls), model, methods, tasks)


def plan_tasks(spec: RunSpec, *, fit: bool = False) -> tuple[TaskPlan, ...]:
    """Resolve every task with the run's overrides and read the manifests; raises UsageError."""
    plans = []
    hashed = cache(readable_sha256)  # tasks may share clips
    for task in resolve_tasks(spec.tasks, spec.preset):
        changed = with_overrides(task, spec)
        manifest = utterances_for(changed, spec.data, spec.selection, changed.dataset.split, hashed)
        dev_split = changed.dataset.dev_split
        dev = None
        if fit and dev_split and spec.data is None:
            dev = utterances_for(changed, None, Selection(), dev_split, hashed)
        plans.append(TaskPlan(changed, manifest, dev))
    return tuple(plans)


def with_references(plan: Plan, references: Sequence[Call]) -> Plan:
    """Return the plan of the same run, had it been asked for with these references only."""
    spec = replace(plan.spec, references=tuple(references))
    tasks = []
    for each in plan.tasks:
        own = {call.name for call in each.task.references}
        of_task = replace(spec, references=tuple(c for c in references if c.name in own))
        tasks.append(replace(each, task=with_overrides(each.task, of_task)))
    return replace(plan, spec=spec, tasks=tuple(tasks))


def with_overrides(task: TaskSpec, spec: RunSpec) -> TaskSpec:
    """Return a task with the references, masks, precision and metrics that a run asks for; raises UsageError."""
    references = _references(task, spec)
    headline = task.headline
    if headline.reference not in {r.name for r in references}:
        headline = replace(headline, reference=references[0].name)
    return with_metrics(replace(task, references=references, headline=headline), spec.metrics)


def with_metrics(task: TaskSpec, given: Sequence[Call]) -> TaskSpec:
    """Return the task with these metrics instead of its own; those written `+name` join its own.

    A task that loses its headline metric is ranked by the first one that takes a reference. Raises UsageError.
    """
    given = tuple(map(with_local_metric, given))
    added = [Call(c.name.removeprefix("+"), c.params) for c in given if c.name.startswith("+")]
    instead = [registry.metrics.resolve(c)[1] for c in given if not c.name.startswith("+")]
    metrics = instead or list(task.metrics)
    metrics += [c for c in (registry.metrics.resolve(c)[1] for c in added) if c not in metrics]
    once("metric", metrics)
    headline = task.headline
    if headline.metric not in {m.name for m in metrics}:
        compared = [m for m in metrics if registry.metrics.get(m.name).takes == "reference"]
        headline = replace(headline, metric=(compared or metrics)[0].name)
    return replace(task, metrics=in_order(metrics), headline=headline)


def once(kind: str, calls: Sequence[Call]) -> None:
    """Refuse a name that is given twice: results hold one column of each name. Raises UsageError."""
    counts = Counter(call.name for call in calls)
    for name in (name for name, count in counts.items() if count > 1):
        same = " and ".join(f"'{call}'" for call in calls if call.name == name)
        raise UsageError(
            f"{kind} '{name}' is asked for twice, {same}; a result has room for one: make a run of each"
        )


def _references(task: TaskSpec, spec: RunSpec) -> tuple[Call, ...]:
    """Return the task's references, or the run's; parameters not given come from the task."""
    calls = task.references
    if spec.references:
        own = {reference.name: reference for reference in task.references}
        calls = tuple(own.get(c.name, Call(c.name)).with_params(**c.given) for c in spec.references)
    if spec.masks is not None:
        calls = tuple(
            registry.references.get(call.name).bounded(call, spec.masks) for call in calls
        )
    once("reference", calls)
    if spec.precision != "auto":
        said = {c.name for c in spec.references if "precision" in c.given}
        calls = tuple(c if c.name in said else _in_precision(c, spec.precision) for c in calls)
    resolved = tuple(registry.references.resolve(call)[1] for call in calls)
    for call in resolved:
        if task.preset == "paper" and call.given.get("padding") == "frozen":
            raise UsageError(
                f"{call.name}: 'padding=frozen' is an approximation, and the preset `paper` takes none; "
                "leave it out, or use --preset fast"
            )
    return resolved


def _in_precision(call: Call, precision: str) -> Call:
    """Put a reference that has the choice into the precision of the run."""
    parameters = registry.references.get(call.name).parameters
    known = any(parameter.name == "precision" for parameter in parameters)
    return call.with_params(precision=precision) if known else call


def plan_methods(spec: RunSpec) -> tuple[Method, ...]:
    """Check every method and its parameters; sweeps (`layer=*`) stay for `expand`."""
    if not spec.methods:
        raise UsageError("no method is given; use --method NAME, see `xbench list methods`")
    methods = tuple(map(Method.of, spec.methods))
    own = Counter(m.description.name for m in methods if m.distribution == LOCAL)
    for name in (name for name, count in own.items() if count > 1):
        raise UsageError(
            f"two functions are called '{name}'; give one another name: xbench.method(function, name=...)"
        )
    return methods


def expand(methods: tuple[Method, ...], layers: int, heads: int) -> tuple[Method, ...]:
    """Replace every `*` by each layer or head of the model; keep the first of equal methods."""
    sizes = {"layer": layers, "head": heads}
    expanded: dict[Call, Method] = {}
    for method in methods:
        calls = [method.call]
        for parameter in method.description.parameters:
            if parameter.sweep and method.call.given.get(parameter.name) == "*":
                indices = range(sizes[parameter.sweep])
                calls = [c.with_params(**{parameter.name: i}) for c in calls for i in indices]
        expanded |= {call: replace(method, call=call) for call in calls if call not in expanded}
    return tuple(expanded.values())
