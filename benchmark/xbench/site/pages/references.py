"""References as the pages of tasks and runs list them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xbench.site.shared import ReferenceFacts, Shared, shared_references
from xbench.site.tables.entries import ListedRun, Model


@dataclass(frozen=True)
class ReferenceLines:
    """What results say of one reference on one model."""

    model: Model
    name: str
    facts: Shared[ReferenceFacts]


def reference_lines(runs: Sequence[ListedRun]) -> list[ReferenceLines]:
    """Return each reference of these runs once per model."""
    by_model: dict[str, list[ListedRun]] = {}
    for run in runs:
        by_model.setdefault(run.model.slug, []).append(run)
    return [
        ReferenceLines(of_model[0].model, name, facts)
        for _, of_model in sorted(by_model.items())
        for name, facts in shared_references(run.data for run in of_model).items()
    ]
