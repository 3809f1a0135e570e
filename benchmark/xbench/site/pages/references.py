"""References as the pages of tasks and runs list them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xbench.site.tables.entries import ListedRun, Model


@dataclass(frozen=True)
class ReferenceLine:
    """One reference on one model, with masks, reliability and ceilings."""

    model: Model
    reference: Mapping[str, Any]
    masks: str


def reference_lines(runs: Sequence[ListedRun]) -> list[ReferenceLine]:
    """Return each reference of these runs once per model."""
    found: dict[tuple[str, str], ReferenceLine] = {}
    for run in runs:
        for reference in run.data["references"]:
            line = ReferenceLine(run.model, reference, mask_range(reference))
            found.setdefault((run.model.slug, reference["name"]), line)
    return [found[key] for key in sorted(found)]


def mask_range(reference: Mapping[str, Any]) -> str:
    """Word the masks of a reference, whichever of the two ways a result states them."""
    masks = reference["masks"]
    if isinstance(masks, Mapping):
        low, middle, high = (masks.get(k) for k in ("min", "median", "max"))
        return f"{low} to {high}, median {middle}" if low != high else f"{low}"
    return f"{sum(masks)}" if masks else "none"
