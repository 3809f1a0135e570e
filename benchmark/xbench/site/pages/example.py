"""The gallery of exported utterances, and a page for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xbench.site.examples import Example
from xbench.site.pages.page import Page
from xbench.site.speech import speech_of
from xbench.site.tables.entries import Model, Task
from xbench.site.tables.tabulate import Tables
from xbench.site.thumbnail import thumbnail


@dataclass(frozen=True)
class Glance:
    """An example in short: a small picture of its leading method with that method's first score.

    worst: the method of the example with the worst value of that score, and the value; None where it has one method.
    """

    example: Example
    method: str
    picture: str | None
    score: str | None
    value: float | None
    worst: tuple[str, float] | None


@dataclass(frozen=True)
class ExamplesPage(Page):
    """`examples/index.html`, clips that people are known to have spoken first."""

    template = "examples.html"

    examples: list[Glance]


@dataclass(frozen=True)
class ExamplePage(Page):
    """`examples/<utterance>.html`; tasks and models: all that carry its names, variants included.

    before, after: the neighbours in the gallery.
    """

    template = "example.html"

    example: Example
    bundle: Mapping[str, Any]
    tasks: list[Task]
    models: list[Model]
    before: Example | None
    after: Example | None


def example_pages(tables: Tables, examples: Sequence[Example]) -> Iterator[Page]:
    """Yield the gallery and the page of each example."""
    ordered = recorded_first(tables, examples)
    yield ExamplesPage("examples/index.html", [glance(tables, example) for example in ordered])
    for place, example in enumerate(ordered):
        yield ExamplePage(
            path=f"examples/{example.id}.html",
            example=example,
            bundle=example.bundle,
            tasks=[t for t in tables.tasks if t.name == example.bundle["task"]],
            models=[m for m in tables.models if m.name == example.bundle["model"]],
            before=ordered[place - 1] if place else None,
            after=next(iter(ordered[place + 1 :]), None),
        )


def recorded_first(tables: Tables, examples: Sequence[Example]) -> list[Example]:
    """Return the examples, those first of which it is known that people spoke them."""
    recorded = {task.name for task in tables.tasks if speech_of(task) == "recorded"}
    return sorted(examples, key=lambda e: e.bundle["task"] not in recorded)


def glance(tables: Tables, example: Example) -> Glance:
    """Return an example in short."""
    maps = example.bundle["maps"]
    entry = next((m for m in maps if m["kind"] == "method"), next(iter(maps), None))
    if entry is None:
        return Glance(example, "", None, None, None, None)
    score = next((n for n, value in entry["scores"].items() if value is not None), None)
    if score is None:
        return Glance(example, entry["label"], thumbnail(entry), None, None, None)
    metric = tables.metrics.get(score.partition("@")[0])
    sign = 1 if metric is None or metric.higher else -1
    others = [
        (sign * value, m["label"], value)
        for m in maps
        if m["kind"] == "method" and (value := m["scores"].get(score)) is not None
    ]
    worst = min(others)[1:] if len(others) > 1 else None
    return Glance(example, entry["label"], thumbnail(entry), score, entry["scores"][score], worst)
