"""Evaluate a RunSpec: plan it, then carry it out by the executor that the options name."""

from __future__ import annotations

from pathlib import Path

from xbench.results import RunResult
from xbench.runner.bench import bench_of
from xbench.runner.crew import Crew
from xbench.runner.estimate import within_reach
from xbench.runner.plan import Plan, prepare
from xbench.runner.processes import processes
from xbench.runner.progress import SILENT, Reporter
from xbench.runner.rankable import unranked
from xbench.runner.ray_actors import actors
from xbench.runner.run import results_of
from xbench.runner.worker import order_for
from xbench.spec import ExecutionOptions, RunSpec


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
    options, reporter = options or ExecutionOptions(), reporter or SILENT
    if why := unranked(plan):
        reporter.note(
            f"not ranked on a leaderboard (submissions/README.md says why): {'; '.join(why)}"
        )
    if options.alone:
        bench = bench_of(plan, options)
        plan = within_reach(plan, bench, reporter)
        return results_of(plan, bench, Path(options.output), reporter)
    order = order_for(plan, options)
    with actors(order) if options.executor == "ray" else processes(order) as hands:
        return Crew(hands, reporter).run(plan)
