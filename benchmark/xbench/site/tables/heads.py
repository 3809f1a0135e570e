"""Scores of single heads: layers by heads of one model on one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xbench.site.tables.boards import Number, Row
from xbench.site.tables.entries import Model, Task
from xbench.site.tables.tabulate import Tables

LARGEST_INDEX = 255  # of a layer or head; beyond, a stranger's file would make a table without end


@dataclass(frozen=True)
class HeadScores:
    """Rows and values by (layer, head); best: the head with the best score, None without a score."""

    layers: int
    heads: int
    rows: Mapping[tuple[int, int], Row]
    values: Mapping[tuple[int, int], Number]
    best: tuple[int, int] | None

    @property
    def best_row(self) -> Row | None:
        """The row of the best head."""
        return None if self.best is None else self.rows[self.best]


def head_scores(
    tables: Tables, model: Model, task: Task, metric: str, reference: str | None
) -> HeadScores | None:
    """Return the scores of all single heads; None where there are none, or absurdly many."""
    found: dict[tuple[int, int], Row] = {}
    for board in tables.select(task=task, model=model, metric=metric, reference=reference):
        for row in board.rows:
            where = row.config.head
            if where is not None and where[0] is not None and row.rank_reason != "superseded":
                found[where[0], where[1]] = row
    if not found or max(max(where) for where in found) > LARGEST_INDEX:
        return None
    scored = [where for where, row in found.items() if row.value is not None]
    sign = 1 if tables.metrics[metric].higher else -1
    return HeadScores(
        layers=1 + max(layer for layer, _ in found),
        heads=1 + max(head for _, head in found),
        rows=found,
        values={where: row.value for where, row in found.items()},
        best=max(scored, key=lambda where: sign * (found[where].value or 0.0), default=None),
    )
