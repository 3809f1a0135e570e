"""Whether scores foresee uses, from what lies beside the templates: `leaderboard/usefulness.json`.

The file is what `xbench decisions usefulness --json` prints (`xbench.decisions.usefulness`), less the means; it is of
the run that docs/findings.md describes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.site import charts

USEFULNESS = "usefulness.json"
# Judges that the picture shows: the plain agreement, the paper's, and intervention.
SHOWN = ("pearson", "pearson-paper", "sensitivity-n")
# What the picture says of uses.
USES: Mapping[str, str] = {
    "word-times": "word times",
    "regret": "little regret when streaming",
    "delay": "short delay at equal regret",
    "detection": "finding tokens without audio",
}


@dataclass(frozen=True)
class UsefulLine:
    """One correlation: what is ordered, by which score and use, Kendall's tau with its interval, its picture."""

    over: str
    units: int
    judge: str
    use: str
    tau: float | None
    low: float | None
    high: float | None
    reason: str | None
    svg: str


@dataclass(frozen=True)
class Useful:
    """All correlations of one model, task and set of clips (empty for all models), and their axis."""

    model: str
    task: str
    data: str
    axis: str
    lines: tuple[UsefulLine, ...]


def read_usefulness(folder: Path) -> tuple[Useful, ...]:
    """Read the correlations in the folder of the templates, a part per model, task and set of clips."""
    rows = json.loads((folder / USEFULNESS).read_text("utf-8"))["rows"]
    runs = dict.fromkeys(map(_run_of, rows))
    return tuple(
        _part(run, number, [row for row in rows if _run_of(row) == run])
        for number, run in enumerate(runs)
    )


def _run_of(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["model"], row["task"], row["data"]


def _part(run: tuple[str, str, str], number: int, rows: list[dict[str, Any]]) -> Useful:
    shown = [row for row in rows if row["judge"].partition("@")[0] in SHOWN]
    shown.sort(key=lambda row: (list(USES).index(row["use"]), row["over"]))
    # The ends of the axis are those of a correlation, whatever is found.
    taus = [row["tau"] for row in shown]
    dots = [charts.Dot(t["value"], t["low"], t["high"], None, None, "attention") for t in taus]
    axis, pictures = charts.forest(dots, [], f"useful{number}", (-1.0, 1.0))
    lines = tuple(
        UsefulLine(
            row["over"],
            row["units"],
            row["judge"].partition("@")[0],
            USES[row["use"]],
            row["tau"]["value"],
            row["tau"]["low"],
            row["tau"]["high"],
            row["tau"]["reason"],
            svg,
        )
        for row, svg in zip(shown, pictures, strict=True)
    )
    return Useful(*run, axis, lines)
