"""The page of a model: methods on each task, and its single heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xbench import registry
from xbench.description import Checkpoint
from xbench.site import charts
from xbench.site.examples import Example
from xbench.site.pages.forests import Forest, forest_of_board
from xbench.site.pages.local import Local, local_of
from xbench.site.pages.page import Page
from xbench.site.shared import Quality, Shared, shared_padding, shared_quality
from xbench.site.tables.boards import Number, Row
from xbench.site.tables.entries import ListedRun, Metric, Model, ScoreKey, Task
from xbench.site.tables.heads import HeadScores, head_scores
from xbench.site.tables.tabulate import Tables

PAGE_CELLS = 1500  # weight of tables on a model's page; what goes beyond is linked (150 kB a page)


@dataclass(frozen=True)
class HeadCell:
    """One head: its score, the step of the colour map, whether it is the best, its row."""

    value: Number
    level: int | None
    best: bool
    row: Row | None


@dataclass(frozen=True)
class HeadLine:
    """The heads of one layer, and their mean."""

    layer: int
    mean: Number
    cells: list[HeadCell]


@dataclass(frozen=True)
class HeadTable:
    """Layers by heads with the means along the edges.

    floors: the lowest and the highest floor of these heads, or the one of all of them, each with its place
    on the scale in per cent (None without a scale).
    """

    heads: list[int]
    low: float
    high: float
    floors: list[tuple[float, float | None]]
    best: tuple[int, int] | None
    best_row: Row | None
    lines: list[HeadLine]
    means: list[Number]


@dataclass(frozen=True)
class ModelSection:
    """One score on one task; forest and heads are None where the page would become too long."""

    task: Task
    metric: Metric
    reference: str | None
    forest: Forest | None
    heads: HeadTable | None


@dataclass(frozen=True)
class ModelPage(Page):
    """`models/<model>.html`; card: what the registry says of the checkpoint."""

    template = "model.html"

    model: Model
    examples: list[Example]
    sections: list[ModelSection]
    qualities: list[tuple[Task, Shared[Quality]]]
    paddings: list[tuple[Task, Shared[str]]]
    card: Checkpoint | None
    local: Local


def model_page(
    tables: Tables, model: Model, shown: Sequence[ScoreKey], examples: Sequence[Example]
) -> ModelPage:
    """Return the page of a model; shown: the headline of each family of scores."""
    runs: dict[str, list[ListedRun]] = {}
    for run in tables.runs:
        if run.model is model:
            runs.setdefault(run.task.slug, []).append(run)
    by_task = [(found[0].task, [run.data for run in found]) for _, found in sorted(runs.items())]
    paddings = [(task, shared_padding(results)) for task, results in by_task]
    registered = registry.checkpoint(model.name)
    return ModelPage(
        path=f"models/{model.slug}.html",
        model=model,
        examples=[e for e in examples if e.bundle["model"] == model.name],
        sections=_sections(tables, model, shown),
        qualities=[(task, shared_quality(results)) for task, results in by_task],
        paddings=[(task, stated) for task, stated in paddings if stated.statements],
        card=registered and registered[1],
        local=local_of([run for found in runs.values() for run in found]),
    )


def _sections(tables: Tables, model: Model, shown: Sequence[ScoreKey]) -> list[ModelSection]:
    sections = []
    size = 0
    for task in tables.tasks:
        for key in dict.fromkeys([task.headline, *shown]):
            for board in tables.select(task=task, model=model, metric=key[0], reference=key[1]):
                found = head_scores(tables, model, task, *key)
                forest = forest_of_board(board)
                cells = len(forest.lines) * 12 + (len(found.values) if found else 0)
                heads = _head_table(found) if found and size + cells < PAGE_CELLS else None
                size += cells
                sections.append(
                    ModelSection(
                        task=task,
                        metric=tables.metrics[key[0]],
                        reference=key[1],
                        forest=forest if size < PAGE_CELLS else None,
                        heads=heads,
                    )
                )
    return sections


def _head_table(found: HeadScores) -> HeadTable:
    """Return a table of layers by heads with the means along its edges."""
    values = found.values
    known = [v for v in values.values() if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    layers, heads = range(found.layers), range(found.heads)

    def mean(where: Sequence[tuple[int, int]]) -> Number:
        kept = [v for w in where if (v := values.get(w)) is not None]
        return sum(kept) / len(kept) if kept else None

    def cell(where: tuple[int, int]) -> HeadCell:
        value = values.get(where)
        level = charts.level(value, low, high)
        return HeadCell(value, level, where == found.best, found.rows.get(where))

    floors = {row.floor for row in found.rows.values() if row.floor is not None}
    return HeadTable(
        heads=list(heads),
        low=low,
        high=high,
        floors=[
            (floor, min(max(100 * (floor - low) / (high - low), 0), 100) if high > low else None)
            for floor in sorted({min(floors), max(floors)} if floors else ())
        ],
        best=found.best,
        best_row=found.best_row,
        lines=[
            HeadLine(
                layer=layer,
                mean=mean([(layer, head) for head in heads]),
                cells=[cell((layer, head)) for head in heads],
            )
            for layer in layers
        ],
        means=[mean([(layer, head) for layer in layers]) for head in heads],
    )
