"""What stands on each page, nothing of HTML: a frozen dataclass per page, whose fields its template uses.

A module holds one page, or a few that are made alike. `forests`, `fronts` and `failures` are pieces
that several pages share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from xbench.site.audited import Audit
from xbench.site.examples import Example
from xbench.site.feed import Day
from xbench.site.load import Refusal
from xbench.site.overall import Overall
from xbench.site.pages.about import about_page, plain_pages
from xbench.site.pages.cost import cost_page
from xbench.site.pages.example import example_pages
from xbench.site.pages.heads import heads_page
from xbench.site.pages.home import home_page
from xbench.site.pages.lists import list_pages
from xbench.site.pages.method import method_page
from xbench.site.pages.model import model_page
from xbench.site.pages.page import Page
from xbench.site.pages.purposes import answers_over_all
from xbench.site.pages.results import results_page
from xbench.site.pages.run import run_page
from xbench.site.pages.search import search_page
from xbench.site.pages.standings import standings_page
from xbench.site.pages.task import task_page
from xbench.site.pages.trust import trust_page
from xbench.site.tables.tabulate import Tables
from xbench.site.useful import Useful


def pages_of_scores(
    tables: Tables, standings: Sequence[Overall], examples: Sequence[Example]
) -> Iterator[Page]:
    """Yield the pages that order methods by scores.

    standings: methods over all tasks and models on each score shown.
    """
    yield home_page(tables, standings, examples)
    yield standings_page(tables, standings)
    for task in tables.tasks:
        yield task_page(tables, task, _shown(standings))
    yield heads_page(tables)
    yield cost_page(tables, standings)
    yield results_page(tables)


def other_pages(
    tables: Tables,
    standings: Sequence[Overall],
    examples: Sequence[Example],
    refused: Sequence[Refusal],
    audit: Audit,
    useful: tuple[Useful, ...],
    badges: Mapping[str, str],
    added: Sequence[Day],
    snapshots: Sequence[str],
) -> Iterator[Page]:
    """Yield all others: one per model, method, run and example, lists of them, and what is told of the site.

    badges: what the badge of each method says; added: what came on which day; snapshots: names of frozen copies.
    """
    yield from list_pages(tables)
    for model in tables.models:
        yield model_page(tables, model, _shown(standings), examples)
    answers = answers_over_all(tables, standings)
    for method in tables.methods:
        yield method_page(tables, method, standings, answers, badges[method.slug])
    for submission in tables.submissions:
        yield run_page(submission)
    yield from example_pages(tables, examples)
    yield about_page(tables, refused)
    yield trust_page(audit, useful)
    yield search_page(tables)
    yield from plain_pages(tables, added, snapshots)


def _shown(standings: Sequence[Overall]) -> list[tuple[str, str | None]]:
    return [(table.metric, table.reference) for table in standings]
