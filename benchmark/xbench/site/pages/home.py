"""The first page: what to begin with, who leads, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from xbench.site import charts
from xbench.site.overall import Overall, Standing, over_all
from xbench.site.pages.forests import Forest, forest_of_standings
from xbench.site.pages.fronts import CostFront, cheapest_first, cost_fronts
from xbench.site.pages.page import Page
from xbench.site.pages.rests import Rests, rests_of
from xbench.site.tables.boards import Row
from xbench.site.tables.entries import Config, Metric, Submission, Task
from xbench.site.tables.tabulate import Tables

# Its score says how far the start of a word, read from a map, lies from the known one.
WORD_TIMES = "onset-error"


@dataclass(frozen=True)
class Advice:
    """Which method to begin with: the cheapest of those that lead on every score shown.

    tables: the scores on which somebody leads; tops: its standing on each, none without a method that
    leads everywhere; leading: how many do. device: where it was timed.
    """

    tables: list[Overall]
    tops: list[Standing]
    leading: int
    device: str | None

    @property
    def top(self) -> Standing | None:
        """Its standing on the first score."""
        return next(iter(self.tops), None)


@dataclass(frozen=True)
class Card:
    """One answer of the first screen: a question, the whole leading group, its first method."""

    title: str
    table: Overall
    group: tuple[Standing, ...]
    top: Standing | None
    kind: Literal["score", "cost"]
    device: str | None = None


@dataclass(frozen=True)
class Sides:
    """One method on both families of scores, None where it has no standing."""

    config: Config
    standings: list[Standing | None]


@dataclass(frozen=True)
class TaskMean:
    """Mean of a method over the models of a task; row: the score itself where there is one model."""

    value: float
    level: int | None
    row: Row | None


@dataclass(frozen=True)
class TaskMatrix:
    """Methods by tasks; models: over how many each mean is taken."""

    tasks: list[Task]
    models: int
    lines: list[tuple[Config, list[TaskMean]]]


@dataclass(frozen=True)
class HomePage(Page):
    """`index.html`."""

    template = "home.html"

    advice: Advice | None
    cards: list[Card]
    forests: list[tuple[Overall, Forest]]
    metrics: Mapping[str, Metric]
    matrix: TaskMatrix | None
    pareto: CostFront | None
    sides: list[Sides]
    latest: Sequence[Submission]
    main: Overall | None
    rests: Rests | None


def home_page(tables: Tables, standings: Sequence[Overall]) -> HomePage:
    """Return the first page; standings: methods over all tasks and models on each score shown."""
    main = standings[0] if standings else None
    return HomePage(
        path="index.html",
        advice=advice(standings),
        cards=_cards(tables, standings),
        forests=[(table, forest_of_standings(table)) for table in standings],
        metrics=tables.metrics,
        matrix=_task_matrix(tables, main) if main else None,
        pareto=cost_fronts(main, small=True)[0] if main else None,
        sides=_sides(standings),
        latest=tables.submissions[:6],
        main=main,
        rests=rests_of(tables, main) if main else None,
    )


def advice(standings: Sequence[Overall]) -> Advice | None:
    """Return which method to begin with, None where nothing leads."""
    led = [table for table in standings if any(not s.config.control for s in table.best)]
    if not led:
        return None
    groups = [{s.config.slug: s for s in t.best if not s.config.control} for t in led]
    everywhere = [s for slug, s in groups[0].items() if all(slug in g for g in groups)]
    device, priced = cheapest_first(everywhere)
    top = next(iter(priced or everywhere), None)
    return Advice(
        tables=led,
        tops=[group[top.config.slug] for group in groups] if top else [],
        leading=len(everywhere),
        device=device if priced else None,
    )


def _cards(tables: Tables, standings: Sequence[Overall]) -> list[Card]:
    titles = {
        "agreement": "Agrees best with the reference",
        "intervention": "Does best when the input is changed",
    }
    cards = []
    for table in standings:
        family = tables.metrics[table.metric].family
        cards.append(score_card(titles.get(family, f"Best {table.metric}"), table))
    if standings:
        main = standings[0]
        plain = over_all(tables, main.metric, main.reference, lambda config: not config.gradients)
        if any(s.config.gradients for s in main.standings):
            cards.append(score_card("Best without gradients", plain))
        cards.append(_cheapest_card(main))
        cards += _word_times_card(tables, main)
    return cards


def _word_times_card(tables: Tables, main: Overall) -> list[Card]:
    """Return the card of what times words best: by the starts of words, where any are known."""
    known = {board.reference for board in tables.select(metric=WORD_TIMES)}
    if not known:
        return []
    reference = main.reference if main.reference in known else min(known, key=str)
    table = over_all(tables, WORD_TIMES, reference)
    title = "Best word timestamps: seconds from the known starts"
    return [score_card(title, table)] if table.standings else []


def score_card(title: str, table: Overall) -> Card:
    """Return the card of the leading group, headed by its first method."""
    return Card(
        title=title,
        table=table,
        group=table.best,
        top=next(iter(table.best or table.standings), None),
        kind="score",
    )


def _cheapest_card(table: Overall) -> Card:
    """Return the card that names the cheapest of the leading group."""
    device, priced = cheapest_first([s for s in table.best if not s.config.control])
    return Card(
        title="Cheapest in the leading group",
        table=table,
        group=tuple(priced[:1]),
        top=priced[0] if priced else None,
        kind="cost",
        device=device,
    )


def _sides(standings: Sequence[Overall]) -> list[Sides]:
    """Return agreement and intervention side by side, one line per method."""
    if len(standings) < 2:
        return []
    configs = {s.config.slug: s.config for table in standings for s in table.standings}
    found = [{s.config.slug: s for s in table.standings} for table in standings]
    order = [*found[0], *(slug for slug in found[1] if slug not in found[0])]
    return [Sides(configs[slug], [table.get(slug) for table in found]) for slug in order]


def _task_matrix(tables: Tables, table: Overall) -> TaskMatrix:
    tasks = list({task.slug: task for task, _ in table.cells}.values())
    rows: dict[tuple[str, str], list[Row]] = {}
    for board in tables.select(metric=table.metric, reference=table.reference):
        for row in board.rows:
            if row.value is not None and row.rank_reason != "superseded":
                rows.setdefault((row.config.slug, board.task.slug), []).append(row)
    means = {key: sum(r.value or 0.0 for r in found) / len(found) for key, found in rows.items()}
    inside = [means[s.config.slug, t.slug] for s in table.standings for t in tasks]
    low, high = (min(inside), max(inside)) if inside else (0.0, 1.0)

    def cell(config: Config, task: Task) -> TaskMean:
        mean, found = means[config.slug, task.slug], rows[config.slug, task.slug]
        return TaskMean(mean, charts.level(mean, low, high), found[0] if len(found) == 1 else None)

    return TaskMatrix(
        tasks=tasks,
        models=len({model.slug for _, model in table.cells}),
        lines=[(s.config, [cell(s.config, task) for task in tasks]) for s in table.standings],
    )
