"""Let methods learn from the dev split: decode, refer and trace it, and show it to their fit functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast

from xbench import registry
from xbench.data.manifest import Manifest
from xbench.errors import Unsupported
from xbench.fitting import FitCase, FitSplit, Fitted, Learned
from xbench.maps import GridMap, on_encoder_grid
from xbench.methods.isolation import unshared
from xbench.methods.watch import again_if_disturbed
from xbench.metrics import Score
from xbench.runner import compare, stages
from xbench.runner.bench import Bench, Shelf
from xbench.runner.keys import Job, Spoken, fit_key, reference_key
from xbench.runner.plan import Method, TaskPlan
from xbench.runner.progress import Reporter
from xbench.runner.walk import Walk, fault
from xbench.spec import Call, TaskSpec
from xbench.store import Artefact


def decode_and_refer(
    walk: Walk, title: str, jobs: Sequence[Job], bench: Bench
) -> dict[str, Spoken]:
    """Take utterances through the first two stages; return the decoded ones that have not failed."""
    decoded = walk.each(f"{title}: decode", jobs, lambda job, _: stages.decode(bench, job))
    spoken = {
        job.utterance.id: Spoken(job, decoded[job.utterance.id])
        for job in jobs
        if job.utterance.id in decoded
    }
    references = jobs[0].task.references if jobs else ()
    walk.each(
        f"{title}: reference",
        [each.job for each in spoken.values() if not each.decoded.unexplained],
        lambda job, progress: stages.refer(bench, spoken[job.utterance.id], progress),
        steps=sum(stages.steps_of(call) for call in references),
    )
    return {id_: each for id_, each in spoken.items() if id_ not in walk.failures}


@again_if_disturbed
def fit_methods(
    bench: Bench,
    methods: Sequence[Method],
    plan: TaskPlan,
    seed: int,
    reporter: Reporter,
) -> tuple[tuple[Method, ...], dict[Call, str]]:
    """Return the methods, those that learn with what they learned, and who cannot with the reason."""
    if not any(m.description.fit for m in methods):
        return tuple(methods), {}
    kind: Literal["dev", "oracle"] = "dev" if plan.dev else "oracle"
    manifest = plan.dev or plan.manifest
    split: FitSplit | None = None
    fitted, unsupported = [], {}
    for method in methods:
        if method.description.fit is None:
            fitted.append(method)
            continue
        key = fit_key(bench.info, plan.task, manifest, method, seed)
        stored = bench.made(key)
        why = compare.unsupported_reference(bench.info, plan.task.headline.reference)
        if stored is None and why:
            unsupported[method.call] = f"it learns from the headline reference: {why}"
            fitted.append(method)
            continue
        if stored is None:
            split = split or _split(plan.task, manifest, bench, seed, reporter)
            try:
                with reporter.at_work(f"method '{method.call}', learning"):
                    learned = _learn(method, split, bench)
            except Unsupported as problem:
                unsupported[method.call] = str(problem)
                fitted.append(method)
                continue
            except BaseException as problem:  # noqa: BLE001  # a fit function may fail in any way
                unsupported[method.call] = f"its fit failed: {fault(problem, method.ours)}"
                fitted.append(method)
                continue
            bench.put(key, learned.arrays, {"learned": dict(learned.facts), "n": len(split.cases)})
            stored = bench.store.get(key)
            assert stored is not None
        fitted.append(_with(method, stored, kind))
    return tuple(fitted), unsupported


def with_stored_fit(method: Method, plan: TaskPlan, shelf: Shelf, seed: int) -> Method | None:
    """Return a method with what it learned before; None where it learns and that is not stored."""
    if method.description.fit is None:
        return method
    stored = shelf.store.get(
        fit_key(shelf.info, plan.task, plan.dev or plan.manifest, method, seed)
    )
    return None if stored is None else _with(method, stored, "dev" if plan.dev else "oracle")


def _with(method: Method, stored: Artefact, kind: Literal["dev", "oracle"]) -> Method:
    learned = Learned(stored.facts["learned"], stored.arrays)
    return replace(method, fitted=Fitted(learned, kind, stored.facts["n"]))


def _learn(method: Method, split: FitSplit, bench: Bench) -> Learned:
    learn, limit = method.description.load_fit, bench.limit.of(method.call, "to learn")
    if method.ours:
        with limit:
            return cast(Learned, learn()(split, **method.call.given))
    with bench.watch.over(f"method '{method.call}'", bench.model, limit):
        own = replace(split, cases=unshared(split.cases))
        return cast(Learned, learn()(own, **method.call.given))


def _split(
    task: TaskSpec,
    manifest: Manifest,
    bench: Bench,
    seed: int,
    reporter: Reporter,
) -> FitSplit:
    walk = Walk(reporter)
    jobs = [Job(task, utterance, seed) for utterance in manifest.utterances]
    title = f"{task.name}: to select on"
    spoken = decode_and_refer(walk, title, jobs, bench)
    call = next(c for c in task.references if c.name == task.headline.reference)
    metric_call = next(c for c in task.metrics if c.name == task.headline.metric)
    if registry.metrics.get(metric_call.name).takes != "reference":
        raise Unsupported(
            f"it selects by the headline metric, but '{metric_call}' has no reference"
        )
    compute = registry.metrics.get(metric_call.name).load()

    def case(one: Spoken) -> FitCase:
        traced = stages.traced(bench.model, one, ())
        assert traced.trace is not None
        stored = bench.shelf.artefact(reference_key(bench.info, one, call))
        mean = compare.read_reference(call, stored).mean()
        return FitCase(traced.trace, on_encoder_grid(mean, one.decoded.layout, task.scoring))

    def score(grid: GridMap, case: FitCase) -> Score:
        value: Score = compute(
            grid, case.reference, case.trace.layout, task.scoring, **metric_call.given
        )
        return value

    speaking = [one.job for one in spoken.values() if not one.decoded.unexplained]
    cases = walk.each(f"{title}: trace", speaking, lambda job, _: case(spoken[job.utterance.id]))
    for failure in walk.failures.values():
        reporter.note(f"not selected on: {failure.id}: {failure.reason}: {failure.message}")
    return FitSplit(tuple(cases.values()), score)
