"""Everything that has a page, to search by name."""

from __future__ import annotations

from dataclasses import dataclass

from xbench.site.charts import millions
from xbench.site.languages import languages
from xbench.site.pages.page import Page
from xbench.site.tables.entries import Task
from xbench.site.tables.tabulate import Tables


@dataclass(frozen=True)
class SearchPage(Page):
    """`search.html`; found: what it is, its name, the path of its page, what is said of it.

    scores: names of metrics and what they are; they have no page of their own.
    """

    template = "search.html"

    found: list[tuple[str, str, str, str]]
    scores: list[tuple[str, str]]


def search_page(tables: Tables) -> SearchPage:
    """Return the page of all methods, models, tasks and metrics."""
    methods = [
        ("method", m.name, f"methods/{m.slug}.html", m.description.summary if m.description else "")
        for m in tables.methods
    ]
    models = [
        (
            "model",
            m.title,
            f"models/{m.slug}.html",
            f"{millions(m.facts['n_parameters'])} parameters",
        )
        for m in tables.models
    ]
    tasks = [("task", t.title, f"tasks/{t.slug}.html", _said(t)) for t in tables.tasks]
    scores = [
        (m.name, m.description.summary if m.description else "") for m in tables.metrics.values()
    ]
    return SearchPage("search.html", [*methods, *models, *tasks], sorted(scores))


def _said(task: Task) -> str:
    kind = "transcription" if task.facts["kind"] == "asr" else "translation"
    spoken = languages(task.facts["source_language"], task.facts["target_language"])
    return f"{kind}, {spoken}" if spoken else kind
