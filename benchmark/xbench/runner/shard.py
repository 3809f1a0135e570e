"""One part of a run in a process that knows of no other: `--shard 2/8`, for job arrays and anything else.

Such processes share nothing but the store. Each takes every eighth utterance through all stages; the same command
without `--shard`, once all are done, finds everything in the store, does what needs all utterances, and writes the
results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xbench.data.manifest import Manifest
from xbench.results import Failure
from xbench.runner.bench import bench_of
from xbench.runner.desk import Stage, Work
from xbench.runner.estimate import within_reach
from xbench.runner.plan import Plan, TaskPlan
from xbench.runner.progress import Reporter
from xbench.runner.worker import Worker
from xbench.spec import ExecutionOptions, Shard


@dataclass(frozen=True)
class Done:
    """What a shard has done: how many utterances it took through its stages, and those that failed."""

    utterances: int
    failures: Sequence[Failure]


def run_shard(plan: Plan, options: ExecutionOptions, shard: Shard, reporter: Reporter) -> Done:
    """Take one part of the utterances of every task through all stages; what they make lies in the store."""
    bench = bench_of(plan, options)
    plan = within_reach(plan, bench, reporter)
    worker = Worker(plan, bench, Path(options.output), reporter, partners=False)
    count, failures = 0, list[Failure]()
    for of_task in plan.tasks:
        failed = _task(worker, of_task, shard, reporter)
        failures += failed
        count += len(_own(shard, of_task.manifest))
    for failure in failures:
        reporter.note(f"{failure.id}: {failure.reason}: {failure.message}")
    return Done(count, failures)


def _task(worker: Worker, of_task: TaskPlan, shard: Shard, reporter: Reporter) -> list[Failure]:
    learns = any(method.description.fit for method in worker.plan.methods)
    parts = [(False, _own(shard, of_task.manifest))]
    if learns and of_task.dev:
        parts.append((True, _own(shard, of_task.dev)))
    failures: dict[tuple[bool, str], Failure] = {}
    stages: tuple[Stage, ...] = ("decode", "reference", "explain")
    for stage in stages:
        for dev, ids in parts:
            works = [
                Work(stage, of_task.task.name, id_, dev)
                for id_ in ids
                if (dev, id_) not in failures and not (dev and stage == "explain")
            ]
            if not works:
                continue
            with reporter.stage(works[0].title, len(works)) as progress:
                for work in works:
                    failure = worker.do(work).failure
                    if failure is not None:
                        failures[dev, work.id] = failure
                    progress(1)
    return [failure for (dev, _), failure in failures.items() if not dev]


def _own(shard: Shard, manifest: Manifest) -> list[str]:
    return [utterance.id for utterance in shard.part(manifest.utterances)]
