"""What stands beside each token of a map in the viewer, and which frames of the map are sinks.

Both are worked out from the bytes of the bundle, whose error per row is at most 1/510 of the range of the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from xbench.bundle import unpack

SINK_SHARE = 0.05  # of a row, in more than half of the tokens

Grid = Float[np.ndarray, "token frame"]


def with_tokens(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bundle with `beside` and `sinks` in its maps and single heads, and without the path of references.

    beside: per token, of a reference its reliability, of another map Pearson's r of its row with that of the first
    reference; None where there is none. The path is Whisper's rule for attention: through a reference, which is noise
    around 0 at most moments, it leads nowhere. sinks: frames that take `SINK_SHARE` or more of more than half of the
    rows.
    """
    reference = next((unpack(m) for m in bundle["maps"] if m["kind"] == "reference"), None)
    content = [token["content"] for token in bundle["tokens"]]

    def told(entry: Mapping[str, Any]) -> dict[str, Any]:
        grid = unpack(entry)
        beside = _beside(entry, grid, reference, content)
        left_out = "path" if entry["kind"] == "reference" else None
        kept = {name: value for name, value in entry.items() if name != left_out}
        return {**kept, "beside": beside, "sinks": _sinks(entry, grid)}

    heads = [told({**as_map(head), **head}) for head in bundle.get("heads", ())]
    return {**bundle, "maps": [told(entry) for entry in bundle["maps"]], "heads": heads}


def as_map(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a single head lacks of a map: its name, and that it is no reference."""
    layer, number = head["layer"], head["head"]
    return {
        "id": f"head-{layer}-{number}",
        "label": f"layer {layer}, head {number}",
        "kind": "method",
        "row_reliability": None,
    }


def _beside(
    entry: Mapping[str, Any], grid: Grid, reference: Grid | None, content: Sequence[bool]
) -> list[float | None]:
    if entry["row_reliability"] is not None:
        return [None if x is None else round(x, 2) for x in entry["row_reliability"]]
    if reference is None or reference.shape != grid.shape:
        return [None] * len(grid)
    return [
        correlation(row, other) if said else None
        for row, other, said in zip(grid, reference, content, strict=True)
    ]


def correlation(
    one: Float[np.ndarray, " frame"], other: Float[np.ndarray, " frame"]
) -> float | None:
    """Return Pearson's r of two rows, rounded to two digits; None where one of them is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    a, b = one - one.mean(), other - other.mean()
    return round(float(a @ b / np.sqrt((a @ a) * (b @ b))), 2) + 0.0


def _sinks(entry: Mapping[str, Any], grid: Grid) -> list[int]:
    if entry["kind"] == "reference" or (grid < 0).any():
        return []
    taken = grid >= SINK_SHARE * grid.sum(axis=1, keepdims=True)
    uses = (taken & (grid > 0)).sum(axis=0)
    return [int(frame) for frame in np.flatnonzero(uses > len(grid) / 2)]
