"""The page of a task: all methods on its clips, by model, and what the scores rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xbench.results import column_name
from xbench.site import charts
from xbench.site.differences import Difference, base_of, differences
from xbench.site.overall import WORD_STARTS, WORD_TIMES, overall
from xbench.site.pages.forests import Forest, forest_of_board, forest_of_standings
from xbench.site.pages.local import Local, local_of
from xbench.site.pages.page import Page
from xbench.site.pages.references import ReferenceLines, reference_lines
from xbench.site.shared import Quality, Shared, shared_quality
from xbench.site.tables.boards import Board, Row
from xbench.site.tables.entries import Config, ListedRun, Metric, Model, ScoreKey, Task
from xbench.site.tables.tabulate import Tables

# Of tables on a task's page, as far as they can be foreseen; a page has 150 kB.
PAGE_BYTES = 135_000


@dataclass(frozen=True)
class ModelCell:
    """The score of a method on one model, and its difference to mean-heads there."""

    row: Row | None
    level: int | None
    difference: Difference | None


@dataclass(frozen=True)
class ModelMatrix:
    """Methods by models of one task, metric and reference."""

    models: list[Model]
    lines: list[tuple[Config, list[ModelCell]]]


@dataclass(frozen=True)
class TaskSection:
    """One score: over all models where there are several (whole, matrix), else of the one (models).

    apart: whether differences to `base` are shown.
    """

    metric: Metric
    reference: str | None
    apart: bool
    base: Config | None
    whole: Forest | None
    models: list[tuple[Model, Forest]]
    matrix: ModelMatrix | None


@dataclass(frozen=True)
class TaskPage(Page):
    """`tasks/<task>.html`; others: scores that have no section."""

    template = "task.html"

    task: Task
    sections: list[TaskSection]
    models: list[Model]
    others: list[ScoreKey]
    qualities: list[tuple[Model, Shared[Quality]]]
    references: list[ReferenceLines]
    local: Local


def task_page(tables: Tables, task: Task, shown: Sequence[ScoreKey]) -> TaskPage:
    """Return the page of a task; shown: the headline of each family of scores."""
    boards = {(b.model.slug, b.metric, b.reference): b for b in tables.select(task=task)}
    times = [(WORD_STARTS, task.headline[1])] if task.name == WORD_TIMES else []
    keys = list(dict.fromkeys([*times, task.headline, *shown]))
    models = list({b.model.slug: b.model for b in boards.values()}.values())
    present = [key for key in keys if any((m.slug, *key) in boards for m in models)]
    runs = [run for run in tables.runs if run.task is task]
    return TaskPage(
        path=f"tasks/{task.slug}.html",
        task=task,
        sections=_sections(tables, task, models, boards, present),
        models=models,
        others=_other_scores(tables, task, present),
        qualities=_qualities(runs),
        references=reference_lines(runs),
        local=local_of(runs),
    )


def _sections(
    tables: Tables,
    task: Task,
    models: Sequence[Model],
    boards: Mapping[tuple[Any, ...], Board],
    present: Sequence[ScoreKey],
) -> list[TaskSection]:
    base = base_of(tables)
    sections = []
    of_key = {
        key: [boards[m.slug, *key] for m in models if (m.slug, *key) in boards] for key in present
    }
    # Every section has its scores; differences come on top where there is room, those of the first score first.
    room = PAGE_BYTES - sum(_foreseen(single)[0] for single in of_key.values())
    for key, single in of_key.items():
        whole = overall(tables, *key, task=task) if len(models) > 1 else None
        higher = tables.metrics[key[0]].higher
        apart = [differences(b.pairs, base.slug, higher) if base else {} for b in single]
        together = differences(whole.pairs, base.slug, higher) if whole and base else {}
        _, more = _foreseen(single)
        kept = any(apart) and more <= room
        room -= more if kept else 0
        if not kept:
            apart, together = [{} for _ in single], {}
        forests = [] if whole else [(single[0].model, forest_of_board(single[0], apart[0]))]
        sections.append(
            TaskSection(
                metric=tables.metrics[key[0]],
                reference=key[1],
                apart=kept,
                base=base,
                whole=forest_of_standings(whole, together) if whole else None,
                models=forests,
                matrix=_model_matrix(single, apart, higher=higher) if len(single) > 1 else None,
            )
        )
    return sections


def _foreseen(boards: Sequence[Board]) -> tuple[int, int]:
    """Return about how many bytes the tables of these boards take, and their differences on top."""
    methods = {row.config.slug for b in boards for row in b.rows if row.config.head is None}
    cells = len(methods) * len(boards) if len(boards) > 1 else 0
    line = 520 if cells else 850  # a pooled score has less to say than one of a run
    return line * len(methods) + 150 * cells, 420 * len(methods) + 90 * cells


def _other_scores(tables: Tables, task: Task, present: Sequence[ScoreKey]) -> list[ScoreKey]:
    """Return the scores of a task beyond those present; one that uses no reference once, without it."""

    def named(metric: str, reference: str | None) -> ScoreKey:
        return metric, None if tables.metrics[metric].timed else reference

    boards = {named(b.metric, b.reference) for b in tables.select(task=task)}
    return sorted(boards - {named(*key) for key in present}, key=lambda key: column_name(*key))


def _qualities(runs: Sequence[ListedRun]) -> list[tuple[Model, Shared[Quality]]]:
    """Return how good the explained hypotheses of each model are."""
    models = {run.model.slug: run.model for run in runs}
    return [
        (model, shared_quality(run.data for run in runs if run.model is model))
        for _, model in sorted(models.items())
    ]


def _model_matrix(
    boards: Sequence[Board], apart: Sequence[Mapping[str, Difference]], *, higher: bool
) -> ModelMatrix:
    """Return methods by models, best mean first; apart: differences per board."""
    rows = {
        (row.config.slug, b.model.slug): row
        for b in boards
        for row in b.rows
        if row.config.head is None and row.rank_reason != "superseded"
    }
    configs = {row.config.slug: row.config for row in rows.values()}
    known = [row.value for row in rows.values() if row.value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    mean = {
        slug: sum(v) / len(v)
        for slug in configs
        if (v := [r.value for (s, _), r in rows.items() if s == slug and r.value is not None])
    }

    def place(slug: str) -> tuple[bool, float, str]:
        value = mean.get(slug)
        return value is None, 0.0 if value is None else -value if higher else value, slug

    def cell(slug: str, board: Board, found: Mapping[str, Difference]) -> ModelCell:
        row = rows.get((slug, board.model.slug))
        level = charts.level(row.value, low, high) if row else None
        return ModelCell(row, level, found.get(slug))

    return ModelMatrix(
        models=[b.model for b in boards],
        lines=[
            (configs[slug], [cell(slug, b, d) for b, d in zip(boards, apart, strict=True)])
            for slug in sorted(configs, key=place)
        ],
    )
