"""Rows with all they say, for spreadsheets and papers: CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from xbench.inputs import markdown_cell
from xbench.site.costs import passes_per_utterance, peak_memory_mb, seconds_per_audio_second
from xbench.site.data.results import row_numbers
from xbench.site.tables.boards import Row

CSV_COLUMNS = (
    *("row", "method", "config", "family", "model", "task", "dataset", "metric", "reference"),
    *("value", "low", "high", "ci_reason", "n", "clusters", "clusters_assumed"),
    *("floor", "ceiling", "ceiling_reason"),
    *("skill", "skill_low", "skill_high", "skill_reason", "disattenuated"),
    *("weighted", "weighted_floor", "weighted_ceiling", "weighted_skill"),
    *("rank", "rank_low", "rank_high", "best", "rank_reason", "status", "reason"),
    *("seconds_per_audio_second", "passes_per_utterance", "peak_memory_mb", "device"),
    *("date", "submission", "checked"),
)


def flat(row: Row) -> dict[str, Any]:
    """Return a row with all it says, for CSV, Markdown and LaTeX."""
    run = row.run
    return {
        "row": row.name,
        "method": run.config.method,
        "config": run.config.label,
        "family": run.config.family,
        "model": run.model.title,
        "task": run.task.title,
        "dataset": run.task.facts["dataset"]["name"],
        "metric": row.metric,
        "reference": row.reference,
        **row_numbers(row),
        "weighted_floor": row.weighted_floor,
        "weighted_ceiling": row.weighted_ceiling,
        "weighted_skill": row.weighted_skill,
        "ci_reason": row.ci_reason,
        "clusters_assumed": int(row.clusters_assumed),
        "ceiling_reason": row.ceiling_reason,
        "skill_low": row.skill_low,
        "skill_high": row.skill_high,
        "skill_reason": row.skill_reason,
        "rank_reason": row.rank_reason,
        "status": run.data["status"],
        "reason": row.reason,
        "seconds_per_audio_second": seconds_per_audio_second(run),
        "passes_per_utterance": passes_per_utterance(run),
        "peak_memory_mb": peak_memory_mb(run),
        "device": run.cost["device"],
        "date": run.date,
        "submission": run.submission,
        "checked": run.checked,
    }


def results_csv(rows: Sequence[Row]) -> str:
    """Write rows as CSV; a text that a spreadsheet would run as a formula gets an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        cells = flat(row)
        writer.writerow([_cell(v) if type(v := cells[name]) is str else v for name in CSV_COLUMNS])
    return buffer.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Write rows as a Markdown table."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = flat(row)
        lines.append(f"| {' | '.join(markdown_cell(_plain(cells[name])) for name in columns)} |")
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
        lines.append(f"{_tex([_plain(cells[name]) for name in columns])} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _tex(cells: Sequence[str]) -> str:
    return " & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in cells)


def _plain(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
