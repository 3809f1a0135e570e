"""A run carried out by the executor that its options name."""

from __future__ import annotations

from pathlib import Path

from xbench.results import RunResult
from xbench.runner.crew import Crew
from xbench.runner.desk import order_for
from xbench.runner.plan import Plan
from xbench.runner.processes import processes
from xbench.runner.progress import Reporter
from xbench.runner.ray_actors import actors
from xbench.spec import ExecutionOptions


def execute(plan: Plan, options: ExecutionOptions, reporter: Reporter) -> list[RunResult]:
    """Take the utterances of a run through all stages; write the results and return them."""
    if options.alone:
        # What computes takes seconds to import; who lets other processes compute does not need it.
        from xbench.runner.bench import bench_of
        from xbench.runner.estimate import within_reach
        from xbench.runner.run import results_of

        bench = bench_of(plan, options)
        plan = within_reach(plan, bench, reporter)
        return results_of(plan, bench, Path(options.output), reporter)
    order = order_for(plan, options)
    with actors(order) if options.executor == "ray" else processes(order) as hands:
        return Crew(hands, reporter).run(plan)
