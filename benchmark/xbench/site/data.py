"""The data files of the site: what pages load and what people download.

`results` is stored by column in two tables, because a run has several scores:

    runs: id, task, model, config, dataset, status, seconds, passes, memory, device, date, submission
    cols: run (index into runs), metric, reference, value, low, high, n, clusters, floor, ceiling,
          skill, disattenuated, rank, rank_low, rank_high, best, reason, rank_reason

A column is `{"v": [...]}`, or `{"dict": [...], "ix": [...]}` where few texts repeat; an index of -1 is
null. Rows stand in the order in which the pages show them: task, model, metric, reference, best first.
A row's permanent name is `<run id>/<metric>@<reference>`.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xbench.results import column_name
from xbench.site.tables import Config, Model, Row, Run, Tables, Task

SCHEMA = "xbench.site/1"
_ROW_NUMBERS = (
    *("value", "low", "high", "n", "clusters", "floor", "ceiling", "skill", "disattenuated"),
    *("rank", "rank_low", "rank_high", "best"),
)


def json_text(value: Any) -> str:
    """Write JSON in ASCII, without `<`, so that it can stand in a script; no NaN."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def script_text(name: str, json_content: str) -> str:
    """Wrap exactly this JSON as a classic script: `XB.put('name','...')`."""
    quoted = json_content.replace("\\", "\\\\").replace("'", "\\'")
    return f"XB.put('{name}','{quoted}');\n"


def row_name(row: Row) -> str:
    """Return the permanent name of a row."""
    return f"{row.run.id}/{column_name(row.metric, row.reference)}"


def significant(value: float | None) -> float | None:
    """Round a cost to four significant digits."""
    return None if value is None else float(f"{value:.4g}")


def passes_per_utterance(run: Run) -> float | None:
    """Return forward and backward passes per scored utterance; None where nobody counted them."""
    n = len(run.data["utterances"]["id"])
    counted = run.passes
    return significant(counted / n) if n and counted is not None else None


def peak_memory_mb(run: Run) -> int | None:
    """Return the peak memory of the process (or accelerator) that made the run, in MB."""
    peak: int | None = run.cost["peak_memory_bytes"]
    return None if peak is None else peak // 1_000_000


def results_table(tables: Tables) -> dict[str, Any]:
    """Return the `results` data: one entry per score."""
    runs = list(dict.fromkeys(row.run.id for row in tables.rows))
    place = {id: index for index, id in enumerate(runs)}
    by_id = {run.id: run for run in tables.runs}
    ordered = [by_id[id] for id in runs]
    rows = tables.rows
    numbers: dict[str, list[Any]] = {name: [] for name in _ROW_NUMBERS}
    for row in rows:
        for name, value in _row_numbers(row).items():
            numbers[name].append(value)
    return {
        "schema": SCHEMA,
        "n": len(rows),
        "runs": {
            "id": {"v": runs},
            "task": _coded(run.task.slug for run in ordered),
            "model": _coded(run.model.slug for run in ordered),
            "config": _coded(run.config.slug for run in ordered),
            "status": _coded(run.data["status"] for run in ordered),
            "seconds": {"v": [_seconds(run) for run in ordered]},
            "passes": {"v": [passes_per_utterance(run) for run in ordered]},
            "memory": {"v": [peak_memory_mb(run) for run in ordered]},
            "device": _coded(run.cost["device"] for run in ordered),
            "date": _coded(run.date for run in ordered),
            "submission": _coded(run.submission for run in ordered),
        },
        "cols": {
            "run": {"v": [place[row.run.id] for row in rows]},
            "metric": _coded(row.metric for row in rows),
            "reference": _coded(row.reference for row in rows),
            **{name: {"v": values} for name, values in numbers.items()},
            "reason": _coded(row.reason for row in rows),
            "rank_reason": _coded(row.rank_reason for row in rows),
        },
    }


def _seconds(run: Run) -> float | None:
    return significant(run.cost["seconds_per_audio_second"])


def _row_numbers(row: Row) -> dict[str, float | int | None]:
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
        "rank": row.rank,
        "rank_low": row.rank_low,
        "rank_high": row.rank_high,
        "best": int(row.best),
    }


def _coded(values: Iterable[str | None]) -> dict[str, list[Any]]:
    texts = list(values)
    names = sorted({text for text in texts if text is not None})
    index: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    index[None] = -1
    return {"dict": names, "ix": [index[text] for text in texts]}


CSV_COLUMNS = (
    *("row", "method", "config", "family", "model", "task", "dataset", "metric", "reference"),
    *("value", "low", "high", "ci_reason", "n", "clusters", "clusters_assumed"),
    *("floor", "ceiling", "ceiling_reason"),
    *("skill", "skill_low", "skill_high", "skill_reason", "disattenuated"),
    *("rank", "rank_low", "rank_high", "best", "rank_reason", "status", "reason"),
    *("seconds_per_audio_second", "passes_per_utterance", "peak_memory_mb", "device"),
    *("date", "submission"),
)


def flat(row: Row) -> dict[str, Any]:
    """Return a row with all it says, for CSV, Markdown and LaTeX."""
    run = row.run
    return {
        "row": row_name(row),
        "method": run.config.method,
        "config": run.config.label,
        "family": run.config.family,
        "model": run.model.title,
        "task": run.task.title,
        "dataset": run.task.facts["dataset"]["name"],
        "metric": row.metric,
        "reference": row.reference,
        **_row_numbers(row),
        "ci_reason": row.ci_reason,
        "clusters_assumed": int(row.clusters_assumed),
        "ceiling_reason": row.ceiling_reason,
        "skill_low": row.skill_low,
        "skill_high": row.skill_high,
        "skill_reason": row.skill_reason,
        "rank_reason": row.rank_reason,
        "status": run.data["status"],
        "reason": row.reason,
        "seconds_per_audio_second": _seconds(run),
        "passes_per_utterance": passes_per_utterance(run),
        "peak_memory_mb": peak_memory_mb(run),
        "device": run.cost["device"],
        "date": run.date,
        "submission": run.submission,
    }


def results_csv(rows: Sequence[Row]) -> str:
    """Write rows as CSV; a text that a spreadsheet would run as a formula gets an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        cells = flat(row)
        writer.writerow([_cell(cells[name]) for name in CSV_COLUMNS])
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value


def entities(
    tables: Tables,
    files: Mapping[str, str],
    shown: Sequence[tuple[str, str | None]],
    examples: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return names, families and links of everything.

    files: where lazy data files lie. shown: the headline of each family of scores. examples: the
    utterances with maps of several methods.
    """
    page = {m.name: m.slug for m in tables.methods}
    return {
        "shown": [list(key) for key in shown],
        "examples": list(examples),
        "tasks": {
            t.slug: {
                "title": t.title,
                "name": t.name,
                "dataset": t.facts["dataset"]["name"],
                "kind": t.facts["kind"],
                "headline": list(t.headline),
            }
            for t in tables.tasks
        },
        "models": {
            m.slug: {
                "title": m.title,
                "architecture": m.facts["architecture"],
                "parameters": m.facts["n_parameters"],
            }
            for m in tables.models
        },
        "configs": {
            c.slug: {
                "label": c.label,
                "method": c.method,
                "page": page[c.method],
                "family": c.family,
                "gradients": c.gradients,
                "oracle": c.oracle,
                "head": list(c.head) if c.head else None,
            }
            for c in tables.configs
        },
        "metrics": {
            m.name: {
                "family": m.family,
                "higher": m.higher,
                "summary": m.description.summary if m.description else "",
            }
            for m in tables.metrics.values()
        },
        "files": dict(files),
    }


def pair_files(
    tables: Tables, shown: Sequence[tuple[str, str | None]]
) -> dict[str, dict[str, Any]]:
    """Return, for each config, its paired differences to all others on the metrics that are shown.

    difference = config - other, so that its sign reads the same in both files.
    """
    rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for board in tables.boards:
        if (board.metric, board.reference) not in shown:
            continue
        where = (board.task.slug, board.model.slug, board.metric, board.reference)
        for p in board.pairs:
            numbers = (p.difference, p.low, p.high)
            turned = (-p.difference, _minus(p.high), _minus(p.low))
            rows[p.a].append((*where, p.b, *numbers, p.p, p.n))
            rows[p.b].append((*where, p.a, *turned, p.p, p.n))
    return {slug: _pair_columns(found) for slug, found in sorted(rows.items())}


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _pair_columns(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    task, model, metric, reference, other, difference, low, high, p, n = zip(*rows, strict=True)
    return {
        "task": _coded(task),
        "model": _coded(model),
        "metric": _coded(metric),
        "reference": _coded(reference),
        "other": _coded(other),
        "difference": {"v": [_four(x) for x in difference]},
        "low": {"v": [_four(x) for x in low]},
        "high": {"v": [_four(x) for x in high]},
        "p": {"v": [_four(x) for x in p]},
        "n": {"v": list(n)},
    }


def _four(value: float | None) -> float | None:
    return None if value is None else round(value, 4) + 0.0


def heads_of(tables: Tables, model: Model, task: Task, metric: str, reference: str | None) -> Any:
    """Return {layers, heads, values, best} of the single heads scored, or None where there are none.

    values: {(layer, head): score or None}. best: the head with the best score.
    """
    found: dict[tuple[int, int], Row] = {}
    for board in tables.select(task=task, model=model, metric=metric, reference=reference):
        for row in board.rows:
            where = row.config.head
            if where is not None and where[0] is not None and row.rank_reason != "superseded":
                found[where[0], where[1]] = row
    if not found or max(max(where) for where in found) > 255:
        return None
    scored = [where for where, row in found.items() if row.value is not None]
    higher = tables.metrics[metric].higher
    best = max(scored, key=lambda w: (found[w].value or 0.0) * (1 if higher else -1), default=None)
    return {
        "layers": 1 + max(layer for layer, _ in found),
        "heads": 1 + max(head for _, head in found),
        "rows": found,
        "values": {where: row.value for where, row in found.items()},
        "best": best,
    }


def head_file(tables: Tables, model: Model) -> dict[str, Any] | None:
    """Return the scores of all single heads of a model: {task: {metric@reference: matrix}}."""
    tasks: dict[str, dict[str, Any]] = {}
    for board in tables.select(model=model):
        found = heads_of(tables, model, board.task, board.metric, board.reference)
        if found is None:
            continue
        values = found["values"]
        tasks.setdefault(board.task.slug, {})[column_name(board.metric, board.reference)] = {
            "L": found["layers"],
            "H": found["heads"],
            "v": [
                values.get((layer, head))
                for layer in range(found["layers"])
                for head in range(found["heads"])
            ],
            "best": found["best"],
        }
    return {"model": model.slug, "tasks": tasks} if tasks else None


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Write rows as a Markdown table."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = flat(row)
        lines.append(f"| {' | '.join(_plain(cells[name], '|') for name in columns)} |")
    return "\n".join(lines) + "\n"


_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
}


def latex(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Write rows as a LaTeX tabular (package booktabs)."""
    numbers = {"value", "low", "high", "n", "floor", "ceiling", "skill", "rank"}
    spec = "".join("r" if name in numbers else "l" for name in columns)
    lines = [f"\\begin{{tabular}}{{{spec}}}", "\\toprule", f"{_tex(columns)} \\\\", "\\midrule"]
    for row in rows:
        cells = flat(row)
        lines.append(f"{_tex([_plain(cells[name], '') for name in columns])} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _tex(cells: Sequence[str]) -> str:
    return " & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in cells)


def _plain(value: Any, escaped: str) -> str:
    text = "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
    return text.replace(escaped, f"\\{escaped}") if escaped else text


def submission_file(runs: Sequence[Run]) -> dict[str, Any]:
    """Return provenance, references and failures of a submission; scores are in `results`."""
    first = runs[0].data
    return {
        "schema": SCHEMA,
        "task": first["task"],
        "model": first["model"],
        "provenance": first["provenance"],
        "runs": [
            {
                "id": run.id,
                "file": run.file,
                "sha256": run.sha256,
                "config": run.config.label,
                "method": run.data["method"],
                "status": run.data["status"],
                "reason": run.data["reason"],
                "quality": run.data["quality"],
                "cost": run.data["cost"],
                "gates": list(run.gates),
                "failures": len(run.data["failures"]),
            }
            for run in runs
        ],
    }


def configs_by_label(configs: Iterable[Config]) -> list[Config]:
    """Return configs in the order of their labels."""
    return sorted(configs, key=lambda c: c.label)


RESULTS_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "results of the xbench leaderboard",
    "description": "Columns of two tables: runs, and scores (cols) that point to runs. A column is {v: values} "
    "or {dict: sorted texts, ix: indices into it, -1 for null}. Missing numbers are null; `reason` says why. "
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
