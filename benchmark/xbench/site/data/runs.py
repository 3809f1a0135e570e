"""Where the results of a submission came from, as a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xbench.site.data.results import SCHEMA
from xbench.site.tables.entries import ListedRun


def submission_file(runs: Sequence[ListedRun]) -> dict[str, Any]:
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
