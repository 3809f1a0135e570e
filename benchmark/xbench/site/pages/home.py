"""The first page: what to begin with, an answer to each purpose, and who leads by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from xbench.site.examples import Example
from xbench.site.overall import Overall, Standing
from xbench.site.pages.example import (
    Failing,
    Glance,
    failing,
    glance,
    hardest,
    recorded_first,
)
from xbench.site.pages.forests import Forest, forest_of_standings
from xbench.site.pages.fronts import CostFront, cheapest_first, cost_fronts
from xbench.site.pages.page import Page
from xbench.site.pages.purposes import Choice, choices
from xbench.site.pages.rests import Rests, rests_of
from xbench.site.tables.entries import Metric, Submission
from xbench.site.tables.tabulate import Tables

LEADING = 12  # methods that the first page shows


@dataclass(frozen=True)
class Advice:
    """Which method to begin with: the cheapest of those that lead on every score shown.

    tables: the scores on which somebody leads; tops: its standing on each, none without a method that
    leads everywhere; leading: how many do. device: where it was timed. each: the cheapest of those that lead on each
    score, and how many lead there.
    """

    tables: list[Overall]
    tops: list[Standing]
    leading: int
    device: str | None
    each: list[tuple[Standing, int]]

    @property
    def top(self) -> Standing | None:
        """Its standing on the first score."""
        return next(iter(self.tops), None)


@dataclass(frozen=True)
class HomePage(Page):
    """`index.html`; forest: the methods that lead, the others stand on `standings.html`. fails: `failing`."""

    template = "home.html"

    advice: Advice | None
    choices: list[Choice]
    forest: Forest | None
    metrics: Mapping[str, Metric]
    pareto: CostFront | None
    latest: Sequence[Submission]
    clip: Glance | None
    hard: Glance | None
    fails: Mapping[tuple[str | None, str], Failing]
    main: Overall | None
    rests: Rests | None


def home_page(
    tables: Tables, standings: Sequence[Overall], examples: Sequence[Example]
) -> HomePage:
    """Return the first page; standings: methods over all tasks and models on each score shown."""
    main = standings[0] if standings else None
    clips = [glance(tables, example) for example in recorded_first(tables, examples)]
    alike = [c for c in clips if c.example.bundle["model"] == clips[0].example.bundle["model"]]
    return HomePage(
        path="index.html",
        advice=advice(standings),
        choices=choices(tables, standings),
        forest=forest_of_standings(leading(main)) if main else None,
        metrics=tables.metrics,
        pareto=cost_fronts(main, small=True)[0] if main else None,
        latest=tables.submissions[:6],
        clip=next(iter(clips), None),
        hard=hardest(alike),
        fails=failing(tables, examples),
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
        each=[(_cheapest(list(group.values())), len(group)) for group in groups],
    )


def _cheapest(group: Sequence[Standing]) -> Standing:
    """Return the cheapest method of a group, its first where none was timed."""
    _, priced = cheapest_first(group)
    return next(iter(priced or group))


def leading(table: Overall) -> Overall:
    """Return a table of its first methods and, where it would be missing, of its best control: what is free."""
    first = table.standings[:LEADING]
    floor = next((s for s in table.standings if s.config.control), None)
    below = () if floor is None or floor in first else (floor,)
    return replace(table, standings=(*first, *below))
