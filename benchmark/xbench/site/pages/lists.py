"""The lists of tasks, models and methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xbench.site.overall import WORD_STARTS, WORD_TIMES
from xbench.site.pages.page import Page
from xbench.site.tables.entries import ListedMethod, Model, Task
from xbench.site.tables.tabulate import Tables


@dataclass(frozen=True)
class TasksPage(Page):
    """`tasks/index.html`; lines: each task with its results and models. timed: the task of word times, their metric."""

    template = "tasks.html"

    lines: list[tuple[Task, int, int]]
    timed: tuple[str, str] = (WORD_TIMES, WORD_STARTS)


@dataclass(frozen=True)
class ModelsPage(Page):
    """`models/index.html`; lines: each model with its results."""

    template = "models.html"

    lines: list[tuple[Model, int]]


@dataclass(frozen=True)
class MethodsPage(Page):
    """`methods/index.html`."""

    template = "methods.html"

    methods: Sequence[ListedMethod]


def list_pages(tables: Tables) -> Iterator[Page]:
    """Yield the three lists."""
    runs = tables.runs
    yield TasksPage(
        "tasks/index.html",
        [(t, sum(r.task is t for r in runs), _models_of(tables, t)) for t in tables.tasks],
    )
    yield ModelsPage(
        "models/index.html", [(m, sum(r.model is m for r in runs)) for m in tables.models]
    )
    yield MethodsPage("methods/index.html", tables.methods)


def _models_of(tables: Tables, task: Task) -> int:
    return len({run.model.slug for run in tables.runs if run.task is task})
