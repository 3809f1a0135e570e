"""Run a RunSpec: plan, load, then decode, refer, explain and score every utterance of every task."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from xbench.errors import UsageError, UtteranceError
from xbench.metrics.sanity import gates_named
from xbench.models.loading import load_model
from xbench.models.protocol import SpeechModel, WritesEncoded
from xbench.results import GateRecord, RunResult
from xbench.runner import intervene, record, stages
from xbench.runner.assemble import assemble
from xbench.runner.fit import decode_and_refer, fit_methods
from xbench.runner.gates import judge_gates
from xbench.runner.keys import Decoded, Job, Partner
from xbench.runner.outcome import Outcome, TaskOutcome
from xbench.runner.plan import Method, TaskPlan, expand, prepare
from xbench.runner.progress import Reporter, Silent
from xbench.runner.walk import Walk
from xbench.spec import ExecutionOptions, RunSpec, content_hash
from xbench.store import Store, default_folder


def evaluate(
    spec: RunSpec,
    options: ExecutionOptions | None = None,
    reporter: Reporter | None = None,
) -> list[RunResult]:
    """Evaluate every method on every task; write one result file each and return them.

    What is already in the store is not computed again. Raises UsageError before anything heavy
    starts; an utterance that fails is counted in the results and the others go on.
    """
    options = options or ExecutionOptions()
    reporter = reporter or Silent()
    methods, plans = prepare(spec)
    store = Store(Path(options.cache) if options.cache else default_folder())
    model = load_model(
        spec.model,
        device=options.device,
        precision=spec.precision,
        trust_remote_code=spec.trust_remote_code,
    )
    methods = expand(methods, model.info.decoder_layers, model.info.heads)
    results = []
    for plan in plans:
        outcome = run_task(plan, methods, model, store, spec.seed, options.batch_size, reporter)
        record.keep(store, plan, model.info, spec)
        for method in methods:
            gates = _gates(outcome, method, model, store, spec, reporter)
            result = replace(assemble(outcome, method, model.info, spec), gates=gates)
            result.write(Path(options.output))
            results.append(result)
    return results


def _gates(
    outcome: TaskOutcome,
    method: Method,
    model: SpeechModel,
    store: Store,
    spec: RunSpec,
    reporter: Reporter,
) -> list[GateRecord]:
    """Judge the gates that were asked for, one step of the progress bar each."""
    wanted = () if method.call in outcome.unsupported else gates_named(spec.gates)
    if not wanted:
        return []
    task = outcome.plan.task
    jobs = [Job(task, o.utterance, spec.seed) for o in outcome.outcomes]
    decoded = {o.utterance.id: o.decoded for o in outcome.outcomes}
    learned = replace(method, fitted=outcome.fitted.get(method.call))
    records = []
    with reporter.stage(f"{task.name}: gates of {method.call}", len(wanted)) as progress:
        for gate in wanted:
            records += judge_gates([gate], model, store, jobs, decoded, learned)
            progress(1)
    return records


def run_task(
    plan: TaskPlan,
    methods: Sequence[Method],
    model: SpeechModel,
    store: Store,
    seed: int,
    batch_size: int | None,
    reporter: Reporter,
) -> TaskOutcome:
    """Take every utterance of one task through all stages."""
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

    decoded = decode_and_refer(walk, task.name, jobs, model, store, batch_size)
    with_floor, unsupported = fit_methods(
        with_floor, plan, model, store, seed, batch_size, reporter
    )
    partners: dict[str, Partner | None] = {}
    if any("partner" in m.description.needs for m in with_floor):
        partners = {job.utterance.id: choose_partner(job, jobs, decoded) for job in jobs}

    def explain_and_score(job: Job, _: Callable[[int], None]) -> Outcome:
        of_job, partner = decoded[job.utterance.id], partners.get(job.utterance.id)
        if not of_job.empty:
            supported = [m for m in with_floor if m.call not in unsupported]
            unsupported.update(stages.explain(model, store, job, of_job, supported, partner))
        usable = [m for m in with_floor if m.call not in unsupported]
        intervene.measure(model, store, job, of_job, usable, partner, batch_size)
        scored = intervene.with_interventions(
            stages.score(model.info, store, job, of_job, usable, partner),
            model.info,
            store,
            job,
            of_job,
            usable,
            partner,
            absent="not-measured" if isinstance(model, WritesEncoded) else "unsupported",
        )
        return Outcome(job.utterance, of_job, scored)

    remaining = [job for job in jobs if job.utterance.id in decoded]
    outcomes = walk.each(f"{task.name}: score", remaining, explain_and_score)
    for call, reason in unsupported.items():
        reporter.note(f"{call}: unsupported: {reason}")
    if floor.call in unsupported:
        raise UsageError(f"task '{task.name}': its floor '{floor.call}' is unsupported")
    for failure in walk.failures.values():
        reporter.note(f"{failure.id}: {failure.reason}: {failure.message}")
    return TaskOutcome(
        plan=plan,
        outcomes=[outcomes[j.utterance.id] for j in jobs if j.utterance.id in outcomes],
        failures=[walk.failures[j.utterance.id] for j in jobs if j.utterance.id in walk.failures],
        unsupported=unsupported,
        fitted={m.call: m.fitted for m in with_floor if m.fitted},
        floor=floor,
        started=started,
        peak_memory_bytes=peak_memory_bytes(model.info.device),
    )


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


def choose_partner(own: Job, jobs: Sequence[Job], decoded: Mapping[str, Decoded]) -> Partner | None:
    """Choose another utterance of another cluster and another hypothesis, by the seed; None if there is none."""
    if own.utterance.id not in decoded:
        return None
    tokens = decoded[own.utterance.id].hypothesis.tokens
    others = [
        Partner(job, decoded[job.utterance.id])
        for job in jobs
        if job.utterance.id in decoded
        and not decoded[job.utterance.id].empty
        and job.utterance.cluster != own.utterance.cluster
        and decoded[job.utterance.id].hypothesis.tokens != tokens
    ]
    return min(
        others,
        key=lambda p: content_hash(
            [own.seed, own.utterance.audio_sha256, p.job.utterance.audio_sha256]
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
