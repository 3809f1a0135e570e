"""The first page: what to begin with, an answer to each purpose, and who leads by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from xbench.results import column_name
from xbench.site.examples import Example
from xbench.site.overall import Overall, Standing, times_key
from xbench.site.pages.example import (
    Failing,
    Glance,
    failing,
    glance,
    hardest,
    recorded_first,
)
from xbench.site.pages.forests import Forest, forest_of_standings
from xbench.site.pages.fronts import CostFront, cost_fronts
from xbench.site.pages.page import Page
from xbench.site.pages.purposes import Choice, Contender, cheapest, choices, contenders_of
from xbench.site.pages.rests import Rests, rests_of
from xbench.site.tables.entries import Metric, Submission
from xbench.site.tables.tabulate import Tables

LEADING = 12  # methods that the first page shows


@dataclass(frozen=True)
class Advice:
    """Which method to begin with: the cheapest of those than which none was found better on any score shown.

    tables: the scores on which somebody leads; tops: its standing on each, none without such a method; unbeaten: how
    many there are. device: where it was timed. each: the same for each score by itself.
    """

    tables: list[Overall]
    tops: list[Standing]
    unbeaten: int
    device: str | None
    each: list[tuple[Standing, int]]

    @property
    def top(self) -> Standing | None:
        """Its standing on the first score."""
        return next(iter(self.tops), None)


@dataclass(frozen=True)
class HomePage(Page):
    """`index.html`; forest: the methods that lead, the others stand on `standings.html`.

    fails: `failing`; mistimes: the same by the error of word starts.
    """

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
    mistimes: Mapping[tuple[str | None, str], Failing]
    main: Overall | None
    rests: Rests | None


def home_page(
    tables: Tables, standings: Sequence[Overall], examples: Sequence[Example]
) -> HomePage:
    """Return the first page; standings: methods over all tasks and models on each score shown."""
    main = standings[0] if standings else None
    clips = [glance(tables, example) for example in recorded_first(tables, examples)]
    times = times_key(tables, (main.metric, main.reference)) if main else None
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
        mistimes=failing(tables, examples, column_name(*times)) if times else {},
        main=main,
        rests=rests_of(tables, main) if main else None,
    )


def advice(standings: Sequence[Overall]) -> Advice | None:
    """Return which method to begin with, None where nothing leads."""
    unbeaten = [
        (table, {c.config.slug: c for c in contenders_of(table) if c.unbeaten})
        for table in standings
    ]
    led = [(table, group) for table, group in unbeaten if group]
    if not led:
        return None
    _, first = led[0]
    everywhere = [c for slug, c in first.items() if all(slug in group for _, group in led)]
    top = cheapest(everywhere) if everywhere else None
    firsts = [(table, cheapest(list(group.values())), len(group)) for table, group in led]
    return Advice(
        tables=[table for table, _ in led],
        tops=[_standing(table, top) for table, _ in led] if top else [],
        unbeaten=len(everywhere),
        device=top.device if top else None,
        each=[(_standing(table, one), n) for table, one, n in firsts],
    )


def _standing(table: Overall, contender: Contender) -> Standing:
    return next(s for s in table.standings if s.config.slug == contender.config.slug)


def leading(table: Overall) -> Overall:
    """Return a table of its first methods and, where it would be missing, of its best control: what is free."""
    first = table.standings[:LEADING]
    floor = next((s for s in table.standings if s.config.control), None)
    below = () if floor is None or floor in first else (floor,)
    return replace(table, standings=(*first, *below))
