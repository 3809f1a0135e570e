"""Run a RunSpec: plan, load, then decode, refer, explain and score every utterance of every task."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from xbench.errors import Unsupported, UsageError, UtteranceError
from xbench.methods.compute import check_supported
from xbench.metrics.sanity import gates_named
from xbench.models.optional import WritesEncoded, offers
from xbench.models.protocol import ModelInfo, SpeechModel
from xbench.results import GateRecord, RunResult
from xbench.runner import compare, hearing, intervene, record, stages
from xbench.runner.assemble import assemble
from xbench.runner.bench import Bench, bench_of
from xbench.runner.estimate import within_reach
from xbench.runner.fit import decode_and_refer, fit_methods
from xbench.runner.gates import judge_gates
from xbench.runner.keys import Job, Spoken
from xbench.runner.outcome import Outcome, TaskOutcome, first_reasons
from xbench.runner.plan import Method, Plan, TaskPlan, expand, prepare
from xbench.runner.progress import SILENT, Reporter
from xbench.runner.rankable import unranked
from xbench.runner.walk import Walk
from xbench.spec import Call, ExecutionOptions, RunSpec, content_hash


def evaluate(
    spec: RunSpec,
    options: ExecutionOptions | None = None,
    reporter: Reporter | None = None,
) -> list[RunResult]:
    """Evaluate every method on every task; write one result file each and return them.

    What is already in the store is not computed again. Raises UsageError before anything heavy
    starts; an utterance that fails is counted in the results and the others go on.
    """
    return carry_out(prepare(spec), options, reporter)


def carry_out(
    plan: Plan,
    options: ExecutionOptions | None = None,
    reporter: Reporter | None = None,
) -> list[RunResult]:
    """Do what `evaluate` does, for a run whose plan is already made."""
    options = options or ExecutionOptions()
    reporter = reporter or SILENT
    if why := unranked(plan):
        reporter.note(
            f"not ranked on a leaderboard (submissions/README.md says why): {'; '.join(why)}"
        )
    bench = bench_of(plan, options)
    plan = within_reach(plan, bench, reporter)
    spec = plan.spec
    info = bench.info
    methods = expand(plan.methods, info.decoder_layers, info.heads)
    results = []
    for of_task in plan.tasks:
        outcome = run_task(of_task, methods, bench, spec.seed, reporter)
        record.keep(bench.store, of_task, info, spec)
        for method in methods:
            gates = _gates(outcome, method, bench, spec, reporter)
            result = replace(assemble(outcome, method, info, spec), gates=gates)
            result.write(Path(options.output))
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
    task = outcome.plan.task
    spoken = [Spoken(Job(task, o.utterance, spec.seed), o.decoded) for o in outcome.outcomes]
    learned = replace(method, fitted=outcome.fitted.get(method.call))
    records = []
    with reporter.stage(f"{task.name}: gates of {method.call}", len(wanted)) as progress:
        for gate in wanted:
            records += judge_gates([gate], bench, spoken, learned)
            progress(1)
    return records


def run_task(
    plan: TaskPlan,
    methods: Sequence[Method],
    bench: Bench,
    seed: int,
    reporter: Reporter,
) -> TaskOutcome:
    """Take every utterance of one task through all stages."""
    model = bench.model
    task, started = plan.task, datetime.now(UTC)
    floor = Method.registered(task.floor)
    with_floor = tuple({m.call: m for m in (*methods, floor)}.values())
    jobs = [Job(task, utterance, seed) for utterance in plan.manifest.utterances]
    if (cannot := beyond(model, jobs)) is not None:
        reporter.note(f"{task.name}: unsupported: {cannot}")
        return TaskOutcome(
            plan=plan,
            outcomes=[],
            failures=[],
            unsupported={m.call: cannot for m in with_floor},
            fitted={},
            floor=floor,
            started=started,
            peak_memory_bytes=None,
        )
    walk = Walk(reporter)

    spoken = decode_and_refer(walk, task.name, jobs, bench)
    beyond_model = unsupported_by(with_floor, model.info)
    fitted, unfit = fit_methods(
        [m for m in with_floor if m.call not in beyond_model], plan, bench, seed, reporter
    )
    able = [m for m in fitted if m.call not in unfit]
    if any("partner" in m.description.needs for m in able):
        spoken = with_partners(spoken)
    remaining = [each.job for each in spoken.values()]
    found = walk.each(
        f"{task.name}: score",
        remaining,
        lambda job, _: explain_and_score(bench, spoken[job.utterance.id], able, reporter),
    )
    outcomes = [found[j.utterance.id] for j in jobs if j.utterance.id in found]
    unsupported = {**beyond_model, **unfit, **first_reasons(outcomes)}
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


def explain_and_score(
    bench: Bench, spoken: Spoken, methods: Sequence[Method], reporter: Reporter = SILENT
) -> Outcome:
    """Explain one utterance by every method and score those that can, whatever befell other utterances."""
    unexplained = spoken.decoded.unexplained
    unsupported = {} if unexplained else stages.explain(bench, spoken, methods, reporter)
    able = [m for m in methods if m.call not in unsupported]
    hearing.measure(bench, spoken, able)
    scored = intervene.with_interventions(
        compare.score(bench.shelf, spoken, able),
        bench.shelf,
        spoken,
        able,
        absent="not-measured" if offers(bench.model, WritesEncoded) else "unsupported",
    )
    return Outcome(spoken.job.utterance, spoken.decoded, scored, unsupported)


def unsupported_by(methods: Sequence[Method], info: ModelInfo) -> dict[Call, str]:
    """Return the methods that ask for what a model does not have, with the reason."""
    found = {}
    for method in methods:
        try:
            check_supported(method.description, info)
        except Unsupported as problem:
            found[method.call] = str(problem)
    return found


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


def with_partners(spoken: Mapping[str, Spoken]) -> dict[str, Spoken]:
    """Give every utterance a partner, where there is one."""
    return {
        id_: replace(own, partner=choose_partner(own, spoken.values()))
        for id_, own in spoken.items()
    }


def choose_partner(own: Spoken, all_spoken: Iterable[Spoken]) -> Spoken | None:
    """Choose another utterance of another cluster and another hypothesis, by the seed; None if there is none."""
    others = [
        other
        for other in all_spoken
        if not other.decoded.unexplained
        and other.job.utterance.cluster != own.job.utterance.cluster
        and other.decoded.hypothesis.tokens != own.decoded.hypothesis.tokens
    ]
    audio = own.job.utterance.audio_sha256
    return min(
        others,
        # The id decides between two utterances of the same audio, so that the order of clips never does.
        key=lambda other: (
            content_hash([own.job.seed, audio, other.job.utterance.audio_sha256]),
            other.job.utterance.id,
        ),
        default=None,
    )


def peak_memory_bytes(device: str) -> int:
    """Return the peak memory of the accelerator, or of this process since it started."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
