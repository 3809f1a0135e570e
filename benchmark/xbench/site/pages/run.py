"""The page of a submission: where its results came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xbench.site.pages.failures import Failure, failures
from xbench.site.pages.local import Local, local_of
from xbench.site.pages.page import Page
from xbench.site.pages.references import ReferenceLines, reference_lines
from xbench.site.shared import Quality, Shared, shared, shared_quality
from xbench.site.tables.entries import ListedRun, Model, Submission, Task

# Of tables of methods, as far as they can be foreseen; a page has 150 kB.
PAGE_BYTES = 128_000
_RUN_BYTES, _EFFECT_BYTES, _GATE_BYTES = 700, 540, 360  # of a row


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
    """`runs/<submission>.html`; left_out: how many rows of each table are in the data file alone."""

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
    left_out: Mapping[str, int]


def run_page(submission: Submission) -> RunPage:
    """Return the page of a submission."""
    runs = sorted(submission.runs, key=lambda run: (run.config.label, run.id))
    by_effect = sorted(_by_effect(submission.runs), key=_is_beside_the_headline)
    gates = [(run, gate) for run in submission.runs for gate in run.gates]
    sizes = ((len(runs), _RUN_BYTES), (len(by_effect), _EFFECT_BYTES), (len(gates), _GATE_BYTES))
    most_runs, most_by_effect, most_gates = rows_with_room(sizes, PAGE_BYTES)
    return RunPage(
        path=f"runs/{submission.id}.html",
        submission=submission,
        task=submission.task,
        model=submission.model,
        origin=_origin([run.data["provenance"] for run in submission.runs]),
        references=reference_lines(submission.runs),
        quality=shared_quality(run.data for run in submission.runs),
        runs=runs[:most_runs],
        by_effect=by_effect[:most_by_effect],
        gates=gates[:most_gates],
        failures=failures(submission.runs),
        local=local_of(submission.runs),
        unchecked=tuple(dict.fromkeys(text for run in submission.runs for text in run.unchecked)),
        left_out={
            "runs": len(runs) - most_runs,
            "by_effect": len(by_effect) - most_by_effect,
            "gates": len(gates) - most_gates,
        },
    )


def rows_with_room(tables: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Return how many rows each table may have, the first ones first; tables: (rows, bytes of a row)."""
    kept = []
    for rows, size in tables:
        kept.append(min(rows, max(room, 0) // size))
        room -= kept[-1] * size
    return kept


Scored = tuple[ListedRun, Mapping[str, Any]]


def _by_effect(runs: Sequence[ListedRun]) -> list[Scored]:
    """Return the scores of the headline's metric that weigh tokens by their effect."""
    return [
        (run, score)
        for run in runs
        for score in run.data["scores"]
        if score["metric"] == run.data["task"]["headline"]["metric"]
        and (score.get("weighted") or {}).get("value") is not None
    ]


def _is_beside_the_headline(scored: Scored) -> bool:
    run, score = scored
    return bool(score["reference"] != run.data["task"]["headline"]["reference"])


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
