"""The page of all rows, to sort and filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xbench.site.pages.page import Page
from xbench.site.tables.boards import Row
from xbench.site.tables.tabulate import Tables

FIRST_ROWS = 50  # that stand in the page itself; the script adds the rest of its first 100


@dataclass(frozen=True)
class Column:
    """A column of the explorer. hint: what it says, on pointing at it; first: shown before anybody chooses."""

    name: str
    label: str
    hint: str | None = None
    number: bool = False
    first: bool = True


COLUMNS = (
    Column("config", "Method", "With the parameters that differ from its defaults"),
    Column("value", "Score", number=True),
    Column("rank", "Rank", number=True),
    Column("skill", "Skill", number=True),
    Column("weighted", "By effect", "Each token counts as much as hiding audio changes it", True),
    Column("model", "Model"),
    Column("task", "Task"),
    Column("metric", "Metric"),
    Column("reference", "Reference", "The map that agreement is measured against"),
    Column("position", "Position", "Place in this view, no rank", number=True),
    Column("floor", "Floor", number=True),
    Column("ceiling", "Ceiling", number=True),
    Column("n", "n", "Utterances with a score", number=True),
    Column("seconds", "Cost", "Seconds per second of audio, on the device of the run", number=True),
    Column("date", "Date"),
    Column("family", "Family", first=False),
    Column("dataset", "Dataset", first=False),
    Column(
        "clusters", "Clusters", "Speakers or talks behind the interval", number=True, first=False
    ),
    Column("disattenuated", "Disattenuated", "Mean score / mean ceiling", number=True, first=False),
    Column(
        "passes", "Passes", "Forward and backward passes per utterance", number=True, first=False
    ),
    Column("memory", "Memory, MB", number=True, first=False),
    Column("device", "Device", first=False),
    Column("status", "Status", first=False),
    Column("checked", "Checked", "How others checked it", first=False),
    Column("reason", "Why missing", first=False),
    Column("row", "Row", first=False),
)


@dataclass(frozen=True)
class ResultsPage(Page):
    """`results.html`; the other fields are what the filters offer."""

    template = "results.html"

    rows: Sequence[Row]
    total: int
    columns: Sequence[Column]
    references: list[str]
    families: list[str]
    statuses: list[str]


def results_page(tables: Tables) -> ResultsPage:
    """Return the page of all rows."""
    return ResultsPage(
        path="results.html",
        rows=tables.rows[:FIRST_ROWS],
        total=len(tables.rows),
        columns=COLUMNS,
        references=sorted({row.reference for row in tables.rows if row.reference}),
        families=sorted({c.family for c in tables.configs}),
        statuses=sorted({run.data["status"] for run in tables.runs}),
    )
