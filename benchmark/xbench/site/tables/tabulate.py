"""All tables of a set of results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xbench.site.load import Result
from xbench.site.tables.boards import Board, Row, boards_of
from xbench.site.tables.entries import (
    Config,
    ListedMethod,
    ListedRun,
    Metric,
    Model,
    Submission,
    Task,
)
from xbench.site.tables.naming import (
    by_title,
    configs_of,
    methods_of,
    metrics_of,
    models_of,
    runs_of,
    submissions_of,
    tasks_of,
)


@dataclass(frozen=True)
class Tables:
    """Everything the pages and data files are made of."""

    tasks: tuple[Task, ...]
    models: tuple[Model, ...]
    methods: tuple[ListedMethod, ...]
    configs: tuple[Config, ...]
    metrics: Mapping[str, Metric]
    runs: tuple[ListedRun, ...]
    submissions: tuple[Submission, ...]
    rows: tuple[Row, ...]
    boards: tuple[Board, ...]
    _index: dict[tuple[str, ...], dict[tuple[Any, ...], list[Board]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def select(self, **wanted: Any) -> list[Board]:
        """Return the boards with this task, model, metric or reference."""
        names = tuple(sorted(wanted))
        if names not in self._index:
            index = self._index[names] = defaultdict(list)
            for board in self.boards:
                index[tuple(_key(getattr(board, name)) for name in names)].append(board)
        return self._index[names].get(tuple(_key(wanted[name]) for name in names), [])


def _key(thing: Any) -> Any:
    return thing.slug if isinstance(thing, Task | Model) else thing


def tabulate(results: Sequence[Result]) -> Tables:
    """Return the tables of accepted results; the order of the files has no effect."""
    tasks = tasks_of(results)
    models = models_of(results)
    configs = configs_of(results)
    runs = runs_of(results, tasks, models, configs)
    metrics = metrics_of(runs)
    boards = boards_of(runs, metrics)
    return Tables(
        tasks=by_title(tasks.values()),
        models=by_title(models.values()),
        methods=methods_of(configs.values()),
        configs=tuple(sorted(configs.values(), key=lambda c: (c.label, c.slug))),
        metrics=metrics,
        runs=runs,
        submissions=submissions_of(runs),
        rows=tuple(row for board in boards for row in board.rows),
        boards=boards,
    )
