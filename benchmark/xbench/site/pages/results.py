"""The page of all rows, to sort and filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xbench.site.pages.page import Page
from xbench.site.tables.boards import Row
from xbench.site.tables.tabulate import Tables

FIRST_ROWS = 50  # that stand in the page itself; the script adds the rest of its first 100


@dataclass(frozen=True)
class ResultsPage(Page):
    """`results.html`; the other fields are what the filters offer."""

    template = "results.html"

    rows: Sequence[Row]
    total: int
    references: list[str]
    families: list[str]
    statuses: list[str]


def results_page(tables: Tables) -> ResultsPage:
    """Return the page of all rows."""
    return ResultsPage(
        path="results.html",
        rows=tables.rows[:FIRST_ROWS],
        total=len(tables.rows),
        references=sorted({row.reference for row in tables.rows if row.reference}),
        families=sorted({c.family for c in tables.configs}),
        statuses=sorted({run.data["status"] for run in tables.runs}),
    )
