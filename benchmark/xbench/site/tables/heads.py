"""Scores and sinks of single heads: layers by heads of one model on one task."""

from __future__ import annotations

from collections import Counter
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


@dataclass(frozen=True)
class SinkShares:
    """Share of attention on the `frames` most attended frames, by (layer, head); mean over all heads.

    highest: the head with the largest share. disputed: whether other results of the same runs state other shares.
    """

    frames: int
    mean: float
    layers: int
    heads: int
    values: Mapping[tuple[int, int], Number]
    highest: tuple[int, int]
    disputed: bool


def sink_shares(tables: Tables, model: Model, task: Task) -> SinkShares | None:
    """Return what most results state of a model's sinks on a task; None where none does, or of too many heads."""
    stated = Counter(
        (sinks["frames"], sinks["mean"], tuple(map(tuple, sinks["heads"])))
        for run in tables.runs
        if run.model is model and run.task is task and (sinks := run.data.get("sinks"))
    )
    if not stated:
        return None
    frames, mean, heads = min(stated, key=lambda said: (-stated[said], said))
    if max(len(heads), *map(len, heads)) > LARGEST_INDEX:
        return None
    values = {
        (layer, head): share for layer, row in enumerate(heads) for head, share in enumerate(row)
    }
    return SinkShares(
        frames=frames,
        mean=mean,
        layers=len(heads),
        heads=max(map(len, heads)),
        values=values,
        highest=max(values, key=lambda where: values[where]),
        disputed=len(stated) > 1,
    )


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
