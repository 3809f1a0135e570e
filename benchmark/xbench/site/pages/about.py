"""How to read the site, and pages that hold little or nothing of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xbench import registry
from xbench.description import MethodDescription, MetricDescription, ReferenceDescription
from xbench.site.citation import bibtex
from xbench.site.feed import MOST_DAYS, Day
from xbench.site.load import Refusal
from xbench.site.pages.page import Page
from xbench.site.tables.entries import Config, Metric, Model
from xbench.site.tables.tabulate import Tables


@dataclass(frozen=True)
class AboutPage(Page):
    """`about.html`; unknown: metrics that results use and nobody registered."""

    template = "about.html"

    metrics: Sequence[MetricDescription]
    unknown: list[Metric]
    references: Sequence[ReferenceDescription]
    controls: list[MethodDescription]
    refused: Sequence[Refusal]
    bibtex: str


@dataclass(frozen=True)
class ComparePage(Page):
    """`compare.html`: what its script offers; the figures come from the data files."""

    template = "compare.html"

    configs: Sequence[Config]
    models: Sequence[Model]


@dataclass(frozen=True)
class DownloadsPage(Page):
    """`downloads.html`."""

    template = "downloads.html"


@dataclass(frozen=True)
class ChangesPage(Page):
    """`changes.html`; snapshots: names of frozen copies."""

    template = "changes.html"

    days: Sequence[Day]
    snapshots: Sequence[str]


@dataclass(frozen=True)
class NotFoundPage(Page):
    """`404.html`."""

    template = "404.html"


def about_page(tables: Tables, refused: Sequence[Refusal]) -> AboutPage:
    """Return the page that says how to read the site; refused: files that were left out."""
    return AboutPage(
        path="about.html",
        metrics=registry.metrics.descriptions(),
        unknown=[m for m in tables.metrics.values() if m.description is None],
        references=registry.references.descriptions(),
        controls=[d for d in registry.methods.descriptions() if d.kind == "control"],
        refused=refused,
        bibtex=bibtex(),
    )


def plain_pages(tables: Tables, added: Sequence[Day], snapshots: Sequence[str]) -> Iterator[Page]:
    """Yield the pages whose content is made elsewhere: by scripts, by the build, by submissions."""
    yield ComparePage("compare.html", tables.configs, tables.models)
    yield DownloadsPage("downloads.html")
    yield ChangesPage("changes.html", added[:MOST_DAYS], snapshots)
    yield NotFoundPage("404.html")
