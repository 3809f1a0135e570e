"""Evaluate a RunSpec: plan it, then find its results finished or carry it out."""

from __future__ import annotations

from xbench.results import RunResult
from xbench.runner.finished import finished
from xbench.runner.plan import Plan, prepare
from xbench.runner.progress import SILENT, Reporter
from xbench.runner.rankable import unranked
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
    results = finished(plan, options, reporter)
    if results is not None:
        return results
    # What computes takes seconds to import; a run that is finished does not wait for it.
    from xbench.runner.execute import execute

    return execute(plan, options, reporter)
