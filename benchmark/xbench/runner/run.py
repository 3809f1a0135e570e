"""A run in one process: decode, refer, explain and score every utterance of every task, then write the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from xbench.errors import UsageError, UtteranceError
from xbench.methods.watch import again_if_disturbed
from xbench.metrics.sanity import gates_named
from xbench.models.optional import WritesEncoded, offers
from xbench.models.protocol import SpeechModel
from xbench.results import GateRecord, RunResult
from xbench.runner import compare, hearing, intervene, record, stages
from xbench.runner.assemble import assemble
from xbench.runner.bench import Bench
from xbench.runner.fit import decode_and_refer, fit_methods
from xbench.runner.keys import Job, Spoken
from xbench.runner.lineup import unsupported_by, with_floor
from xbench.runner.outcome import (
    NOTHING,
    Known,
    Outcome,
    TaskOutcome,
    first_reasons,
    peak_memory_bytes,
)
from xbench.runner.partners import with_partners
from xbench.runner.plan import Method, Plan, TaskPlan, expand
from xbench.runner.progress import SILENT, Reporter
from xbench.runner.walk import Walk
from xbench.spec import Call, RunSpec


def results_of(
    plan: Plan,
    bench: Bench,
    output: Path,
    reporter: Reporter,
    known: Known = NOTHING,
) -> list[RunResult]:
    """Take all utterances of all tasks through all stages; write one result file per method and return them.

    known: what other processes have found out; who failed there is not tried again.
    """
    spec, info = plan.spec, bench.info
    methods = expand(plan.methods, info.decoder_layers, info.heads)
    results = []
    for of_task in plan.tasks:
        outcome = run_task(of_task, methods, bench, spec.seed, reporter, known)
        record.keep(bench.store, of_task, info, spec)
        for method in methods:
            gates = _gates(outcome, method, bench, spec, reporter)
            result = replace(assemble(outcome, method, info, spec), gates=gates)
            result.write(output)
            results.append(result)
    return results


def _gates(
    outcome: TaskOutcome,
    method: Method,
    bench: Bench,
    spec: RunSpec,
    reporter: Reporter,
) -> list[GateRecord]:
    """Judge the gates that were asked for, one step of the progress bar each."""
    wanted = () if method.call in outcome.unsupported else gates_named(spec.gates)
    if not wanted:
        return []
    from xbench.runner.gates import judge_gates  # and with it captum, which takes 0.4 s to import

    task = outcome.plan.task
    spoken = [Spoken(Job(task, o.utterance, spec.seed), o.decoded) for o in outcome.outcomes]
    learned = replace(method, fitted=outcome.fitted.get(method.call))
    records = []
    with reporter.stage(f"{task.name}: gates of {method.call}", len(wanted)) as progress:
        for gate in wanted:
            records += judge_gates(bench, [gate], spoken, learned)
            progress(1)
    return records


def run_task(
    plan: TaskPlan,
    methods: Sequence[Method],
    bench: Bench,
    seed: int,
    reporter: Reporter,
    known: Known = NOTHING,
) -> TaskOutcome:
    """Take every utterance of one task through all stages; what is known already is not found out again."""
    model = bench.model
    task, started = plan.task, datetime.now(UTC)
    floor, wanted = Method.registered(task.floor), with_floor(methods, task)
    jobs = [Job(task, utterance, seed) for utterance in plan.manifest.utterances]
    if (cannot := beyond(model, jobs)) is not None:
        reporter.note(f"{task.name}: unsupported: {cannot}")
        return TaskOutcome(
            plan=plan,
            outcomes=[],
            failures=[],
            unsupported={m.call: cannot for m in wanted},
            fitted={},
            floor=floor,
            started=started,
            peak_memory_bytes=None,
        )
    walk = Walk(reporter, dict(known.failures.get(task.name, {})))

    spoken = decode_and_refer(walk, task.name, jobs, bench)
    beyond_model = unsupported_by(wanted, model.info)
    fitted, unfit = fit_methods(
        bench, [m for m in wanted if m.call not in beyond_model], plan, seed, reporter
    )
    able = [m for m in fitted if m.call not in unfit]
    if any("partner" in m.description.needs for m in able):
        spoken = with_partners(spoken)
    remaining = [each.job for each in spoken.values()]
    found = walk.each(
        f"{task.name}: score",
        remaining,
        lambda job, _: explain_and_score(
            bench, spoken[job.utterance.id], able, reporter, known.of(task.name, job.utterance.id)
        ),
    )
    outcomes = [found[j.utterance.id] for j in jobs if j.utterance.id in found]
    bench.watch.settle()
    unsupported = {**bench.barred(wanted), **beyond_model, **unfit, **first_reasons(outcomes)}
    for call, reason in unsupported.items():
        reporter.note(f"{call}: unsupported: {reason}")
    if floor.call in unsupported:
        raise UsageError(f"task '{task.name}': its floor '{floor.call}' is unsupported")
    for failure in walk.failures.values():
        reporter.note(f"{failure.id}: {failure.reason}: {failure.message}")
    return TaskOutcome(
        plan=plan,
        outcomes=outcomes,
        failures=[walk.failures[j.utterance.id] for j in jobs if j.utterance.id in walk.failures],
        unsupported=unsupported,
        fitted={m.call: m.fitted for m in fitted if m.fitted},
        floor=floor,
        started=started,
        peak_memory_bytes=peak_memory_bytes(model.info.device),
    )


@again_if_disturbed
def explain_and_measure(
    bench: Bench,
    spoken: Spoken,
    methods: Sequence[Method],
    reporter: Reporter = SILENT,
    known: Mapping[Call, str] | None = None,
) -> dict[Call, str]:
    """Explain one utterance by every method and measure what its metrics need; return who is unsupported, and why.

    known: methods of which that was found out before.
    """
    unsupported = {m.call: known[m.call] for m in methods if known and m.call in known}
    able = [m for m in methods if m.call not in unsupported]
    if not spoken.decoded.unexplained:
        unsupported |= stages.explain(bench, spoken, able, reporter)
    hearing.measure(bench, spoken, [m for m in able if m.call not in unsupported])
    return unsupported


def explain_and_score(
    bench: Bench,
    spoken: Spoken,
    methods: Sequence[Method],
    reporter: Reporter = SILENT,
    known: Mapping[Call, str] | None = None,
) -> Outcome:
    """Explain one utterance by every method and score those that can, whatever befell other utterances."""
    unsupported = explain_and_measure(bench, spoken, methods, reporter, known)
    able = [m for m in methods if m.call not in unsupported]
    scored = intervene.with_interventions(
        compare.score(bench.shelf, spoken, able),
        bench.shelf,
        spoken,
        able,
        absent="not-measured" if offers(bench.model, WritesEncoded) else "unsupported",
    )
    return Outcome(spoken.job.utterance, spoken.decoded, scored, unsupported)


def beyond(model: SpeechModel, jobs: Sequence[Job]) -> str | None:
    """Return why the model cannot do a task at all: it refuses the languages of every utterance."""
    reasons: dict[str, None] = {}
    for job in jobs:
        try:
            model.check_language(job.utterance.language, job.task.target_language)
        except UtteranceError as problem:
            reasons[str(problem)] = None
        else:
            return None
    return "; ".join(reasons) if reasons else None
