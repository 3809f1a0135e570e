"""The page of a submission: where its results came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xbench.site.pages.failures import Failure, failures
from xbench.site.pages.page import Page
from xbench.site.pages.references import ReferenceLine, reference_lines
from xbench.site.tables.entries import ListedRun, Model, Submission, Task


@dataclass(frozen=True)
class RunPage(Page):
    """`runs/<submission>.html`."""

    template = "run.html"

    submission: Submission
    task: Task
    model: Model
    provenance: Mapping[str, Any]
    references: list[ReferenceLine]
    quality: Mapping[str, Any]
    runs: list[ListedRun]
    gates: list[tuple[ListedRun, Mapping[str, Any]]]
    failures: tuple[Failure, ...]


def run_page(submission: Submission) -> RunPage:
    """Return the page of a submission."""
    first = submission.runs[0].data
    return RunPage(
        path=f"runs/{submission.id}.html",
        submission=submission,
        task=submission.task,
        model=submission.model,
        provenance=first["provenance"],
        references=reference_lines(submission.runs),
        quality=first["quality"],
        runs=sorted(submission.runs, key=lambda run: (run.config.label, run.id)),
        gates=[(run, gate) for run in submission.runs for gate in run.gates],
        failures=failures(submission.runs),
    )
