"""How far metrics and references can be trusted, from audits that lie beside the templates.

`leaderboard/audit.json` is what `xbench audit metrics --json` prints (its records are `xbench.audit.findings.Finding`),
of the run that docs/audit.md describes; `interventions` has those of metrics that hide frames in the order of the map.
`leaderboard/rivals.json` what `xbench audit references --json` prints (records
`xbench.audit.rivals.Rivalry`), of the runs of docs/validity.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AUDIT = "audit.json"
RIVALS = "rivals.json"
# A step that so few clips find needs no remark.
_FEW = 10


@dataclass(frozen=True)
class AuditRow:
    """One metric: its score of the map as it was, and a cell per ladder."""

    metric: str
    intact: float | None
    cells: tuple[str, ...]


@dataclass(frozen=True)
class AuditTable:
    """All metrics against one reference, of one map that is made worse.

    start: `reference` (half of the reference, judged by the other half) or a method.
    """

    start: str
    reference: str
    ladders: tuple[str, ...]
    rows: tuple[AuditRow, ...]


@dataclass(frozen=True)
class Estimated:
    """A mean over clips with its 95 % interval."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Rival:
    """What another reference scores as a method. sampling, ceiling: the first and the second ceiling of the judge."""

    judge: str
    sampling: Estimated
    rival: str
    score: Estimated
    ceiling: Estimated


@dataclass(frozen=True)
class Rivals:
    """References of one model judged by each other, by `pearson`."""

    model: str
    clips: int
    clusters: int
    rows: tuple[Rival, ...]


@dataclass(frozen=True)
class Audit:
    """What was audited, the tables, and the references that were judged by each other, on each set of clips.

    tables: of metrics that compare with a reference. interventions: of those that run the model, which judges.
    """

    task: str
    model: str
    clips: int
    clusters: int
    tables: tuple[AuditTable, ...]
    interventions: tuple[AuditTable, ...]
    rivals: tuple[Rivals, ...]


def read_audit(folder: Path) -> Audit:
    """Read the audit in the folder of the templates."""
    told = json.loads((folder / AUDIT).read_text("utf-8"))
    rivals = tuple(map(_rivals, json.loads((folder / RIVALS).read_text("utf-8"))))
    return Audit(
        told["task"],
        told["model"],
        told["clips"],
        told["clusters"],
        tables_of(told["findings"]),
        tables_of(told["interventions"]),
        rivals,
    )


def tables_of(found: Sequence[Mapping[str, Any]]) -> tuple[AuditTable, ...]:
    """Put findings into tables, one for each map that is made worse and reference."""
    kinds = dict.fromkeys((row["start"], row["reference"]) for row in found)
    return tuple(
        _table(*kind, [row for row in found if (row["start"], row["reference"]) == kind])
        for kind in kinds
    )


def _rivals(told: Mapping[str, Any]) -> Rivals:
    rows = tuple(
        Rival(
            row["judge"],
            _estimated(row["sampling"]),
            row["rival"],
            _estimated(row["score"]),
            _estimated(row["ceiling"]),
        )
        for row in told["rivals"]
    )
    return Rivals(told["model"], told["clips"], told["clusters"], rows)


def _estimated(told: Mapping[str, Any]) -> Estimated:
    return Estimated(told["value"], told["low"], told["high"])


def _table(start: str, reference: str, found: Sequence[Mapping[str, Any]]) -> AuditTable:
    ladders = tuple(dict.fromkeys(row["ladder"] for row in found))
    rows = []
    for metric in dict.fromkeys(row["metric"] for row in found):
        own = {row["ladder"]: row for row in found if row["metric"] == metric}
        cells = tuple(_cell(own[ladder]) for ladder in ladders)
        rows.append(AuditRow(metric, own[ladders[0]]["intact"], cells))
    return AuditTable(start, reference, ladders, tuple(rows))


def _cell(row: Mapping[str, Any]) -> str:
    """Say the smallest step that is told apart, the clips it needs where many, the order, and what raises the score."""
    if row["intact"] is None:
        return "–"
    if row["blind"]:
        return "blind"
    smallest = row["sensitivity"]
    parts = ["none" if smallest is None else f"{smallest:g}"]
    needed = next((s["clips_needed"] for s in row["steps"] if s["size"] == smallest), None)
    if needed is not None and needed > _FEW:
        parts.append(f"({needed} clips)")
    tau = row["order"]["value"]
    if tau is not None and tau < 1:
        parts.append(f"tau {tau:.2f}")
    if row["raised"]:
        parts.append("↑" + ", ".join(f"{size:g}" for size in row["raised"]))
    return " ".join(parts)
