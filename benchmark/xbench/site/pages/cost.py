"""The page of costs: fronts for each score shown, and the peak memory of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xbench.site.costs import peak_memory_mb
from xbench.site.overall import Overall
from xbench.site.pages.fronts import CostFront, cost_fronts
from xbench.site.pages.page import Page
from xbench.site.tables.entries import ListedRun, Submission
from xbench.site.tables.tabulate import Tables

PAGE_BYTES = 120_000  # of charts and their tables; a page has 150 kB
_LINE_BYTES = 760  # of a method in a chart and its table


@dataclass(frozen=True)
class PeakMemory:
    """The peak memory, in MB, of one command on one device, and how many methods share it."""

    submission: Submission
    device: str
    methods: int
    peak: int | None


@dataclass(frozen=True)
class CostPage(Page):
    """`cost.html`."""

    template = "cost.html"

    sections: list[tuple[Overall, list[CostFront]]]
    devices: list[str]
    memory: list[PeakMemory]


def cost_page(tables: Tables, standings: Sequence[Overall]) -> CostPage:
    """Return the page of costs."""
    charts = sum(1 + len({d for s in table.standings for d in s.devices}) for table in standings)
    most = PAGE_BYTES // (_LINE_BYTES * max(1, charts))
    return CostPage(
        path="cost.html",
        sections=[(table, cost_fronts(table, most=most)) for table in standings],
        devices=sorted({run.cost["device"] for run in tables.runs}),
        memory=peak_memory(tables),
    )


def peak_memory(tables: Tables) -> list[PeakMemory]:
    """Return the peak memory of each command on each device, largest first, unknown last.

    It is that of a whole process, so methods that ran together share one figure: no front of methods.
    """
    groups: dict[tuple[str, str], list[ListedRun]] = {}
    by_id = {submission.id: submission for submission in tables.submissions}
    for run in tables.runs:
        groups.setdefault((run.submission, run.cost["device"]), []).append(run)
    lines = []
    for (id, device), runs in groups.items():
        known = [peak for run in runs if (peak := peak_memory_mb(run)) is not None]
        methods = len({run.config.slug for run in runs})
        lines.append(PeakMemory(by_id[id], device, methods, max(known, default=None)))
    return sorted(lines, key=lambda line: (-(line.peak or 0), line.submission.id, line.device))
