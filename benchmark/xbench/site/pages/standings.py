"""All methods over all tasks and models: what the first page begins, to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from xbench.site import charts
from xbench.site.languages import languages
from xbench.site.overall import Cell, Overall, Standing
from xbench.site.pages.forests import Forest, forest_of_standings
from xbench.site.pages.page import Page
from xbench.site.tables.boards import Row
from xbench.site.tables.entries import Config, Metric
from xbench.site.tables.tabulate import Tables

MOST_LINES = 60  # of a table, so that the page stays below 150 kB
MOST_CELLS = 150  # of each table by task, model or language


@dataclass(frozen=True)
class Sides:
    """One method on both families of scores, None where it has no standing."""

    config: Config
    standings: list[Standing | None]


@dataclass(frozen=True)
class Mean:
    """Mean of a method over the pairs of task and model of a column, and how many clips it rests on.

    row: the score itself where there is one pair.
    """

    value: float
    n: int
    level: int | None
    row: Row | None


@dataclass(frozen=True)
class Breakdown:
    """Methods by tasks, models or languages. columns: title and path (None: no page of its own)."""

    by: str
    columns: list[tuple[str, str | None]]
    lines: list[tuple[Config, list[Mean]]]


@dataclass(frozen=True)
class StandingsPage(Page):
    """`standings.html`; beyond: how many methods found no line in the longest table."""

    template = "standings.html"

    forests: list[tuple[Overall, Forest]]
    metrics: Mapping[str, Metric]
    breakdowns: list[Breakdown]
    sides: list[Sides]
    beyond: int


def standings_page(tables: Tables, standings: Sequence[Overall]) -> StandingsPage:
    """Return the page of all methods; standings: methods over all tasks and models on each score shown."""
    kept = [replace(table, standings=table.standings[:MOST_LINES]) for table in standings]
    longest = max((len(table.standings) for table in standings), default=0)
    return StandingsPage(
        path="standings.html",
        forests=[(table, forest_of_standings(table)) for table in kept],
        metrics=tables.metrics,
        breakdowns=_breakdowns(tables, kept[0]) if kept else [],
        sides=_sides(standings)[:MOST_LINES],
        beyond=max(0, longest - MOST_LINES),
    )


def _sides(standings: Sequence[Overall]) -> list[Sides]:
    """Return agreement and intervention side by side, one line per method."""
    if len(standings) < 2:
        return []
    configs = {s.config.slug: s.config for table in standings for s in table.standings}
    found = [{s.config.slug: s for s in table.standings} for table in standings]
    order = [*found[0], *(slug for slug in found[1] if slug not in found[0])]
    return [Sides(configs[slug], [table.get(slug) for table in found]) for slug in order]


def _breakdowns(tables: Tables, table: Overall) -> list[Breakdown]:
    """Return the means by task, and by model and language where there are several."""
    rows: dict[tuple[str, Cell], Row] = {}
    for board in tables.select(metric=table.metric, reference=table.reference):
        for row in board.rows:
            if row.value is not None and row.rank_reason != "superseded":
                rows[row.config.slug, (board.task.slug, board.model.slug)] = row
    by_task: dict[tuple[str, str | None], list[Cell]] = {}
    by_model: dict[tuple[str, str | None], list[Cell]] = {}
    by_language: dict[tuple[str, str | None], list[Cell]] = {}
    for task, model in table.cells:
        cell = (task.slug, model.slug)
        by_task.setdefault((task.title, f"tasks/{task.slug}.html"), []).append(cell)
        by_model.setdefault((model.title, f"models/{model.slug}.html"), []).append(cell)
        spoken = languages(task.facts["source_language"])
        by_language.setdefault((spoken, None), []).append(cell)
    found = [_breakdown("task", by_task, table, rows)]
    found += [_breakdown("model", by_model, table, rows)] if len(by_model) > 1 else []
    found += [_breakdown("language", by_language, table, rows)] if len(by_language) > 1 else []
    return found


def _breakdown(
    by: str,
    groups: Mapping[tuple[str, str | None], list[Cell]],
    table: Overall,
    rows: Mapping[tuple[str, Cell], Row],
) -> Breakdown:
    shown = table.standings[: MOST_CELLS // max(1, len(groups))]
    found = {
        (s.config.slug, title): [rows[s.config.slug, cell] for cell in cells]
        for s in shown
        for title, cells in groups.items()
    }
    means = {key: fmean(row.value or 0.0 for row in group) for key, group in found.items()}
    low, high = (min(means.values()), max(means.values())) if means else (0.0, 1.0)

    def mean(key: tuple[str, tuple[str, str | None]]) -> Mean:
        group = found[key]
        level = charts.level(means[key], low, high)
        n = sum(row.n for row in group)
        return Mean(means[key], n, level, group[0] if len(group) == 1 else None)

    lines = [(s.config, [mean((s.config.slug, title)) for title in groups]) for s in shown]
    return Breakdown(by, list(groups), lines)
