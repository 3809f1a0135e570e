"""The page of all single heads: small maps of their scores and of their sinks for each model and task."""

from __future__ import annotations

from dataclasses import dataclass

from xbench.site import charts
from xbench.site.pages.page import Page
from xbench.site.tables.boards import Row
from xbench.site.tables.entries import Model, Task
from xbench.site.tables.heads import head_scores, sink_shares
from xbench.site.tables.tabulate import Tables

PAGE_MAPS = 100  # maps on this page; the others stand on the pages of their models
PAGE_HEADS = 1300  # heads that are drawn here


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
class SinkMap:
    """The sinks of one model on one task: picture (None beyond the room of the page) and words."""

    model: Model
    task: Task
    svg: str | None
    said: str


@dataclass(frozen=True)
class HeadsPage(Page):
    """`heads.html`; limits: ends of the scale of scores (that of sinks is 0 to 1); beyond: maps without room."""

    template = "heads.html"

    small: list[HeadMap]
    limits: tuple[float, float]
    beyond: int
    sinks: list[SinkMap]


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
    beyond = max(0, len(maps) - PAGE_MAPS)
    return HeadsPage("heads.html", small, limits, beyond, _sink_maps(tables))


def _sink_maps(tables: Tables) -> list[SinkMap]:
    found = [
        (model, task, shares)
        for model in tables.models
        for task in tables.tasks
        if (shares := sink_shares(tables, model, task)) is not None
    ]
    maps = []
    drawn = 0
    for model, task, shares in found[:PAGE_MAPS]:
        drawn += shares.layers * shares.heads
        layer, head = shares.highest
        said = (
            f"{charts.number(100 * shares.mean, 1)} % of attention on {shares.frames} frames; most: "
            f"layer {layer}, head {head}, {charts.number(100 * (shares.values[shares.highest] or 0), 1)} %"
        )
        said += "; runs differ" if shares.disputed else ""
        title = f"Sinks of {model.title}, {task.title}"
        svg = charts.heads_chart(
            shares.values, shares.layers, shares.heads, (0.0, 1.0), title, said, shares.highest
        )
        maps.append(SinkMap(model, task, svg if drawn < PAGE_HEADS else None, said))
    return maps
