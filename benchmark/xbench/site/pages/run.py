"""The page of a submission: where its results came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xbench.site.pages.failures import Failure, failures
from xbench.site.pages.local import Local, local_of
from xbench.site.pages.page import Page
from xbench.site.pages.references import ReferenceLines, reference_lines
from xbench.site.shared import Quality, Shared, shared, shared_quality
from xbench.site.tables.entries import ListedRun, Model, Submission, Task


@dataclass(frozen=True)
class Origin:
    """What results were made with; git: (commit, with local changes) or None outside of a checkout."""

    command: str
    xbench: str
    git: Shared[tuple[str, bool] | None]
    python: Shared[str]
    packages: Shared[tuple[str, ...]]
    seed: Shared[str]


@dataclass(frozen=True)
class RunPage(Page):
    """`runs/<submission>.html`."""

    template = "run.html"

    submission: Submission
    task: Task
    model: Model
    origin: Origin
    references: list[ReferenceLines]
    quality: Shared[Quality]
    runs: list[ListedRun]
    by_effect: list[tuple[ListedRun, Mapping[str, Any]]]
    gates: list[tuple[ListedRun, Mapping[str, Any]]]
    failures: tuple[Failure, ...]
    unchecked: tuple[str, ...]
    local: Local


def run_page(submission: Submission) -> RunPage:
    """Return the page of a submission."""
    return RunPage(
        path=f"runs/{submission.id}.html",
        submission=submission,
        task=submission.task,
        model=submission.model,
        origin=_origin([run.data["provenance"] for run in submission.runs]),
        references=reference_lines(submission.runs),
        quality=shared_quality(run.data for run in submission.runs),
        runs=sorted(submission.runs, key=lambda run: (run.config.label, run.id)),
        by_effect=[
            (run, score)
            for run in submission.runs
            for score in run.data["scores"]
            if score["metric"] == run.data["task"]["headline"]["metric"]
            and (score.get("weighted") or {}).get("value") is not None
        ],
        gates=[(run, gate) for run in submission.runs for gate in run.gates],
        failures=failures(submission.runs),
        local=local_of(submission.runs),
        unchecked=tuple(dict.fromkeys(text for run in submission.runs for text in run.unchecked)),
    )


def _origin(found: list[Mapping[str, Any]]) -> Origin:
    return Origin(
        command=" ".join(found[0]["command"]),  # with the version what makes them one submission
        xbench=found[0]["xbench"],
        git=shared(_commit(made["git"]) for made in found),
        python=shared(made["python"] for made in found),
        packages=shared(
            tuple(f"{name} {version}" for name, version in sorted(made["packages"].items()))
            for made in found
        ),
        seed=shared(str(made["seed"]) for made in found),
    )


def _commit(git: Mapping[str, Any] | None) -> tuple[str, bool] | None:
    return (str(git["commit"]), bool(git["dirty"])) if git else None
