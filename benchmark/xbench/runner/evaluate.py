"""Run a RunSpec: plan, load, then decode, refer, explain and score every utterance of every task."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from xbench import registry
from xbench.data.manifest import Utterance
from xbench.errors import EnvironmentProblem, UsageError, UtteranceError
from xbench.models.loading import load_model
from xbench.models.protocol import SpeechModel
from xbench.results import Failure, RunResult
from xbench.runner import stages
from xbench.runner.assemble import Outcome, TaskOutcome, assemble
from xbench.runner.keys import Decoded, Job
from xbench.runner.plan import Method, TaskPlan, expand, prepare
from xbench.runner.progress import Reporter, Silent
from xbench.spec import Call, ExecutionOptions, RunSpec
from xbench.store import Store, default_folder

T = TypeVar("T")


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
        for method in methods:
            result = assemble(outcome, method, model.info, spec)
            result.write(Path(options.output))
            results.append(result)
    return results


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
    floor = Method(*registry.methods.resolve(task.floor))
    with_floor = list({m.call: m for m in (*methods, floor)}.values())
    jobs = [Job(task, utterance, seed) for utterance in plan.manifest.utterances]
    pass_ = _Pass(reporter)

    decoded = pass_.each(
        f"{task.name}: decode", jobs, {}, lambda job, _: stages.decode(model, store, job)
    )
    speaking = [
        job for job in jobs if job.utterance.id in decoded and not decoded[job.utterance.id].empty
    ]
    masks = sum(int(dict(call.params)["masks"]) for call in task.references)
    pass_.each(
        f"{task.name}: reference",
        speaking,
        decoded,
        lambda job, progress: stages.refer(
            model, store, job, decoded[job.utterance.id], batch_size, progress
        ),
        steps=masks,
    )
    unsupported: dict[Call, str] = {}

    def explain_and_score(job: Job, _: Callable[[int], None]) -> Outcome:
        of_job = decoded[job.utterance.id]
        if not of_job.empty:
            unsupported.update(stages.explain(model, store, job, of_job, with_floor))
        usable = [m for m in with_floor if m.call not in unsupported]
        return Outcome(job.utterance, of_job, stages.score(model.info, store, job, of_job, usable))

    remaining = [
        job
        for job in jobs
        if job.utterance.id in decoded and job.utterance.id not in pass_.failures
    ]
    outcomes = pass_.each(f"{task.name}: score", remaining, decoded, explain_and_score)
    for call, reason in unsupported.items():
        reporter.note(f"{call}: unsupported: {reason}")
    if floor.call in unsupported:
        raise UsageError(f"task '{task.name}': its floor '{floor.call}' is unsupported")
    for failure in pass_.failures.values():
        reporter.note(f"{failure.id}: {failure.reason}: {failure.message}")
    return TaskOutcome(
        plan=plan,
        outcomes=[outcomes[j.utterance.id] for j in jobs if j.utterance.id in outcomes],
        failures=[pass_.failures[j.utterance.id] for j in jobs if j.utterance.id in pass_.failures],
        unsupported=unsupported,
        floor=floor,
        started=started,
        peak_memory_bytes=peak_memory_bytes(model.info.device),
    )


@dataclass
class _Pass:
    """Runs stages over utterances and keeps who failed."""

    reporter: Reporter

    def __post_init__(self) -> None:
        self.failures: dict[str, Failure] = {}

    def each(
        self,
        title: str,
        jobs: Sequence[Job],
        decoded: dict[str, Decoded],
        work: Callable[[Job, Callable[[int], None]], T],
        steps: int = 1,
    ) -> dict[str, T]:
        """Apply `work` to every job; an UtteranceError is kept and the next utterance follows."""
        done: dict[str, T] = {}
        with self.reporter.stage(title, steps * len(jobs)) as progress:
            for job in jobs:
                try:
                    done[job.utterance.id] = work(job, progress)
                except UtteranceError as problem:
                    self.failures[job.utterance.id] = _failure(job.utterance, problem)
                except MemoryError:
                    raise EnvironmentProblem(
                        f"{job.utterance.id}: out of memory; use a smaller --batch-size"
                    ) from None
                if steps == 1:
                    progress(1)
        return done


def _failure(utterance: Utterance, problem: UtteranceError) -> Failure:
    # Results are shared: a message may name the file, never the folders of this machine.
    message = str(problem).replace(str(utterance.audio), utterance.audio.name)
    return Failure(utterance.id, problem.reason, message)


def peak_memory_bytes(device: str) -> int:
    """Return the peak memory of the accelerator, or of this process since it started."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
