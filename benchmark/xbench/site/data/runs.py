"""Where the results of a submission came from, as a file: what their files state, told once where they agree.

    task, model, provenance: what all runs of the submission state alike; where runs differ, each has its own
    references: every reference that a result describes, word for word; a run names its own by place
    runs: file and its SHA-256, method, status, quality, cost, gates, how many utterances were scored; local: what of
    it others do not have; checked: how others checked it

`check` holds the pages against these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xbench.site.data.results import SCHEMA
from xbench.site.tables.entries import ListedRun

_ABOUT = ("task", "model", "provenance")


def submission_file(runs: Sequence[ListedRun]) -> dict[str, Any]:
    """Return provenance, references and costs of a submission; scores are in `results`."""
    alike = {name: _alike([run.data[name] for run in runs]) for name in _ABOUT}
    references: list[Mapping[str, Any]] = []
    return {
        "schema": SCHEMA,
        **alike,
        "references": references,
        "runs": [
            {
                "id": run.id,
                "file": run.file,
                "sha256": run.sha256,
                "config": run.config.label,
                "method": run.data["method"],
                "status": run.data["status"],
                "local": list(run.local),
                "checked": run.checked,
                "reason": run.data["reason"],
                "references": [_place(r, references) for r in run.data["references"]],
                "quality": run.data["quality"],
                "padding_mass": run.data["padding_mass"],
                "cost": run.data["cost"],
                "gates": list(run.gates),
                "utterances": run.utterances,
                "failures": len(run.data["failures"]),
                **{name: own for name in _ABOUT if (own := _own(run.data[name], alike[name]))},
            }
            for run in runs
        ],
    }


def _alike(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the members that all records have with the same value."""
    first, *others = records
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }


def _own(record: Mapping[str, Any], alike: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in alike}


def _place(reference: Mapping[str, Any], kept: list[Mapping[str, Any]]) -> int:
    """Return where a reference stands among those kept; one that is new is added."""
    if reference not in kept:
        kept.append(reference)
    return kept.index(reference)
