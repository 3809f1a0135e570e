"""The page of a model: methods on each task, and its single heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xbench import registry
from xbench.description import Checkpoint
from xbench.site import charts
from xbench.site.examples import Example
from xbench.site.overall import WORD_TIMES, times_key
from xbench.site.pages.forests import Forest, forest_of_board
from xbench.site.pages.local import Local, local_of
from xbench.site.pages.page import Page
from xbench.site.shared import Quality, Shared, shared_padding, shared_quality
from xbench.site.tables.boards import Board, Number, Row
from xbench.site.tables.entries import ListedRun, Metric, Model, ScoreKey, Task
from xbench.site.tables.heads import HeadScores, head_scores
from xbench.site.tables.tabulate import Tables

# Of tables on a model's page, as far as they can be foreseen; a page has 150 kB.
PAGE_BYTES = 130_000
MOST_SECTIONS = 100
_SECTION_BYTES = 4300  # headings, legends and scales
_LINE_BYTES = 880  # a method in a forest plot
_HEAD_BYTES = 77
_SHORTER = (10_000, 60, 30, 12, 5, 3, 1, 0)  # methods that a section shows, the most that find room


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
    """One score on one task; forest has the first of `total` methods, heads is None without any or without room."""

    task: Task
    metric: Metric
    reference: str | None
    forest: Forest
    total: int
    heads: HeadTable | None
    heads_elsewhere: bool


@dataclass(frozen=True)
class ModelPage(Page):
    """`models/<model>.html`; card: what the registry says of the checkpoint; beyond: sections without room."""

    template = "model.html"

    model: Model
    examples: list[Example]
    sections: list[ModelSection]
    beyond: int
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
    boards = _boards(tables, model, shown)
    return ModelPage(
        path=f"models/{model.slug}.html",
        model=model,
        examples=[e for e in examples if e.bundle["model"] == model.name],
        sections=_sections(tables, boards[:MOST_SECTIONS]),
        beyond=max(0, len(boards) - MOST_SECTIONS),
        qualities=[(task, shared_quality(results)) for task, results in by_task],
        paddings=[(task, stated) for task, stated in paddings if stated.statements],
        card=registered and registered[1],
        local=local_of([run for found in runs.values() for run in found]),
    )


def _boards(tables: Tables, model: Model, shown: Sequence[ScoreKey]) -> list[Board]:
    """Return the boards of a model on the scores that its page shows, by task; of word times where they are known."""
    found = []
    for task in tables.tasks:
        times = times_key(tables, task.headline) if task.name == WORD_TIMES else None
        for metric, reference in [times] if times else dict.fromkeys([task.headline, *shown]):
            found += tables.select(task=task, model=model, metric=metric, reference=reference)
    return found


def _sections(tables: Tables, boards: Sequence[Board]) -> list[ModelSection]:
    forests = [forest_of_board(board) for board in boards]
    most = _lines_with_room([len(forest.lines) for forest in forests])
    room = PAGE_BYTES - _bytes([len(forest.lines) for forest in forests], most)
    sections = []
    for board, forest in zip(boards, forests, strict=True):
        found = head_scores(tables, board.model, board.task, board.metric, board.reference)
        size = _HEAD_BYTES * len(found.values) if found else 0
        fits = size <= room
        room -= size if fits else 0
        sections.append(
            ModelSection(
                task=board.task,
                metric=tables.metrics[board.metric],
                reference=board.reference,
                forest=replace(forest, lines=forest.lines[:most]),
                total=len(forest.lines),
                heads=_head_table(found) if found and fits else None,
                heads_elsewhere=found is not None and not fits,
            )
        )
    return sections


def _lines_with_room(lengths: Sequence[int]) -> int:
    """Return how many lines each section may have, the same number for all, so that the page keeps its size."""
    return next(most for most in _SHORTER if not most or _bytes(lengths, most) <= PAGE_BYTES)


def _bytes(lengths: Sequence[int], most: int) -> int:
    return _SECTION_BYTES * len(lengths) + _LINE_BYTES * sum(min(n, most) for n in lengths)


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
