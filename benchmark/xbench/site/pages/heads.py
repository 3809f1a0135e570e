"""The page of all single heads: a small map for each model and task, on one scale."""

from __future__ import annotations

from dataclasses import dataclass

from xbench.site import charts
from xbench.site.pages.page import Page
from xbench.site.tables.boards import Row
from xbench.site.tables.entries import Model, Task
from xbench.site.tables.heads import head_scores
from xbench.site.tables.tabulate import Tables

PAGE_MAPS = 120  # maps on this page; the others stand on the pages of their models
PAGE_HEADS = 1600  # heads that are drawn here


@dataclass(frozen=True)
class HeadMap:
    """One map: its picture (None beyond the room of the page), and its best head."""

    model: Model
    task: Task
    svg: str | None
    said: str
    row: Row | None
    layers: int
    heads: int


@dataclass(frozen=True)
class HeadsPage(Page):
    """`heads.html`; limits: ends of the common scale; beyond: maps that found no room."""

    template = "heads.html"

    small: list[HeadMap]
    limits: tuple[float, float]
    beyond: int


def heads_page(tables: Tables) -> HeadsPage:
    """Return the page of all single heads."""
    maps = [
        (model, task, found)
        for model in tables.models
        for task in tables.tasks
        if (found := head_scores(tables, model, task, *task.headline)) is not None
    ]
    known = [v for _, _, found in maps for v in found.values.values() if v is not None]
    limits = (min(known), max(known)) if known else (0.0, 1.0)
    small = []
    drawn = 0
    for model, task, found in maps[:PAGE_MAPS]:
        drawn += found.layers * found.heads
        best, row = found.best, found.best_row
        said = (
            f"best: layer {best[0]}, head {best[1]}, {charts.number(row.value, 3)}"
            if best and row
            else "no head has a score"
        )
        title = f"{model.title}, {task.title}"
        svg = charts.heads_chart(found.values, found.layers, found.heads, limits, title, said, best)
        shown = svg if drawn < PAGE_HEADS else None
        small.append(HeadMap(model, task, shown, said, row, found.layers, found.heads))
    return HeadsPage("heads.html", small, limits, max(0, len(maps) - PAGE_MAPS))
