"""Everything that has a page, to search by name."""

from __future__ import annotations

from dataclasses import dataclass

from xbench.site.pages.page import Page
from xbench.site.tables.tabulate import Tables


@dataclass(frozen=True)
class SearchPage(Page):
    """`search.html`; found: what it is, its name, the path of its page, what is said of it."""

    template = "search.html"

    found: list[tuple[str, str, str, str]]


def search_page(tables: Tables) -> SearchPage:
    """Return the page of all methods, models and tasks."""
    methods = [
        ("method", m.name, f"methods/{m.slug}.html", m.description.summary if m.description else "")
        for m in tables.methods
    ]
    models = [
        ("model", m.title, f"models/{m.slug}.html", str(m.facts["architecture"]))
        for m in tables.models
    ]
    tasks = [
        ("task", t.title, f"tasks/{t.slug}.html", ", ".join(t.facts["source_language"]))
        for t in tables.tasks
    ]
    return SearchPage("search.html", [*methods, *models, *tasks])
