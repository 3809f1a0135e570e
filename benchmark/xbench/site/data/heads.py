"""Scores of all single heads of a model, as a file."""

from __future__ import annotations

from typing import Any

from xbench.results import column_name
from xbench.site.tables.entries import Model
from xbench.site.tables.heads import SinkShares, head_scores, sink_shares
from xbench.site.tables.tabulate import Tables


def head_file(tables: Tables, model: Model) -> dict[str, Any] | None:
    """Return scores and sinks of all single heads of a model: {task: {metric@reference: matrix}}, {task: shares}."""
    tasks: dict[str, dict[str, Any]] = {}
    for board in tables.select(model=model):
        found = head_scores(tables, model, board.task, board.metric, board.reference)
        if found is None:
            continue
        tasks.setdefault(board.task.slug, {})[column_name(board.metric, board.reference)] = {
            "L": found.layers,
            "H": found.heads,
            "v": [
                found.values.get((layer, head))
                for layer in range(found.layers)
                for head in range(found.heads)
            ],
            "best": found.best,
        }
    sinks = {
        task.slug: {"frames": shares.frames, "mean": shares.mean, "v": _rows(shares)}
        for task in tables.tasks
        if (shares := sink_shares(tables, model, task)) is not None
    }
    if not tasks and not sinks:
        return None
    return {"model": model.slug, "tasks": tasks} | ({"sinks": sinks} if sinks else {})


def _rows(shares: SinkShares) -> list[list[float | None]]:
    return [
        [shares.values.get((layer, head)) for head in range(shares.heads)]
        for layer in range(shares.layers)
    ]
