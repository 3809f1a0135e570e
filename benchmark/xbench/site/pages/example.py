"""The gallery of exported utterances, and a page for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xbench.site.examples import Example
from xbench.site.pages.page import Page
from xbench.site.tables.entries import Model, Task
from xbench.site.tables.tabulate import Tables


@dataclass(frozen=True)
class ExamplesPage(Page):
    """`examples/index.html`."""

    template = "examples.html"

    examples: Sequence[Example]


@dataclass(frozen=True)
class ExamplePage(Page):
    """`examples/<utterance>.html`; tasks and models: all that carry its names, variants included."""

    template = "example.html"

    example: Example
    bundle: Mapping[str, Any]
    tasks: list[Task]
    models: list[Model]


def example_pages(tables: Tables, examples: Sequence[Example]) -> Iterator[Page]:
    """Yield the gallery and the page of each example."""
    yield ExamplesPage("examples/index.html", examples)
    for example in examples:
        yield ExamplePage(
            path=f"examples/{example.id}.html",
            example=example,
            bundle=example.bundle,
            tasks=[t for t in tables.tasks if t.name == example.bundle["task"]],
            models=[m for m in tables.models if m.name == example.bundle["model"]],
        )
