"""All scores by column, and the schema of that file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xbench.site.costs import passes_per_utterance, peak_memory_mb, seconds_per_audio_second
from xbench.site.tables.boards import Row
from xbench.site.tables.tabulate import Tables

SCHEMA = "xbench.site/1"
_ROW_NUMBERS = (
    *("value", "low", "high", "n", "clusters", "floor", "ceiling", "skill", "disattenuated"),
    *("weighted", "rank", "rank_high"),  # rank_low is rank, and the best are those of rank 1
)


def results_table(tables: Tables) -> dict[str, Any]:
    """Return the `results` data: one entry per score."""
    runs = list(dict.fromkeys(row.run.id for row in tables.rows))
    place = {id: index for index, id in enumerate(runs)}
    by_id = {run.id: run for run in tables.runs}
    ordered = [by_id[id] for id in runs]
    rows = tables.rows
    numbers: dict[str, list[Any]] = {name: [] for name in _ROW_NUMBERS}
    for row in rows:
        told = row_numbers(row)
        for name, values in numbers.items():
            values.append(told[name])
    return {
        "schema": SCHEMA,
        "n": len(rows),
        "runs": {
            "id": {"v": runs},
            "task": coded(run.task.slug for run in ordered),
            "model": coded(run.model.slug for run in ordered),
            "config": coded(run.config.slug for run in ordered),
            "status": coded(run.data["status"] for run in ordered),
            "checked": coded(run.checked for run in ordered),
            "seconds": {"v": [seconds_per_audio_second(run) for run in ordered]},
            "passes": {"v": [passes_per_utterance(run) for run in ordered]},
            "memory": {"v": [peak_memory_mb(run) for run in ordered]},
            "device": coded(run.cost["device"] for run in ordered),
            "date": coded(run.date for run in ordered),
            "submission": coded(run.submission for run in ordered),
        },
        "cols": {
            "run": {"v": [place[row.run.id] for row in rows]},
            "metric": coded(row.metric for row in rows),
            "reference": coded(row.reference for row in rows),
            **{name: {"v": values} for name, values in numbers.items()},
            "reason": coded(row.reason for row in rows),
            "rank_reason": coded(row.rank_reason for row in rows),
        },
    }


def row_numbers(row: Row) -> dict[str, float | int | None]:
    """Return the numbers of a row under the names of their columns."""
    return {
        "value": row.value,
        "low": row.low,
        "high": row.high,
        "n": row.n,
        "clusters": row.n_clusters,
        "floor": row.floor,
        "ceiling": row.ceiling,
        "skill": row.skill,
        "disattenuated": row.disattenuated,
        "weighted": row.weighted,
        "rank": row.rank,
        "rank_low": row.rank_low,
        "rank_high": row.rank_high,
        "best": int(row.best),
    }


def coded(values: Iterable[str | None]) -> dict[str, list[Any]]:
    """Return a column of few texts that repeat: the texts, and an index for each place."""
    texts = list(values)
    names = sorted({text for text in texts if text is not None})
    index: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    index[None] = -1
    return {"dict": names, "ix": [index[text] for text in texts]}


RESULTS_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "results of the xbench leaderboard",
    "description": "Columns of two tables: runs, and scores (cols) that point to runs. A column is {v: values} "
    "or {dict: sorted texts, ix: indices into it, -1 for null}. Missing numbers are null; `reason` says why. "
    "The best rank left open is `rank` itself, and the leading group has rank 1. "
    "Texts are as submitted, in NFC, with control and reordering characters written as escapes.",
    "type": "object",
    "required": ["schema", "n", "runs", "cols"],
    "properties": {
        "schema": {"const": SCHEMA},
        "n": {"type": "integer", "minimum": 0, "description": "number of scores"},
        "runs": {"type": "object", "additionalProperties": {"$ref": "#/$defs/column"}},
        "cols": {"type": "object", "additionalProperties": {"$ref": "#/$defs/column"}},
    },
    "$defs": {
        "column": {
            "oneOf": [
                {"type": "object", "required": ["v"], "properties": {"v": {"type": "array"}}},
                {
                    "type": "object",
                    "required": ["dict", "ix"],
                    "properties": {
                        "dict": {"type": "array", "items": {"type": "string"}},
                        "ix": {"type": "array", "items": {"type": "integer", "minimum": -1}},
                    },
                },
            ]
        }
    },
}
