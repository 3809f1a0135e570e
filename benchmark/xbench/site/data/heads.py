"""Scores of all single heads of a model, as a file."""

from __future__ import annotations

from typing import Any

from xbench.results import column_name
from xbench.site.tables.entries import Model
from xbench.site.tables.heads import head_scores
from xbench.site.tables.tabulate import Tables


def head_file(tables: Tables, model: Model) -> dict[str, Any] | None:
    """Return the scores of all single heads of a model: {task: {metric@reference: matrix}}."""
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
    return {"model": model.slug, "tasks": tasks} if tasks else None
