"""How far noise in a reference lowers a correlation with it: by the square root of its reliability (Spearman 1904)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def signed_root(reliability: float) -> float:
    """Return the square root of a reliability; of one below 0 the negative root of its mirror image.

    Such a row has halves with r < 0, where SB(r) = 2 r / (1 + r) is steeper than above 0: the root is
    -sqrt(SB(|r|)), so that rows without any reliability, whose r lies around 0, add nothing on average.
    """
    if reliability >= 0:
        return math.sqrt(reliability)
    half = -reliability / (2 - reliability)
    return -math.sqrt(2 * half / (1 + half))


def noise_free(reliabilities: Sequence[float | None]) -> float | None:
    """Return the correlation of a reference with what it estimates: max(0, mean over rows of their signed roots).

    reliabilities: one per row, None for a row that has none and is left out. None where no row has one.
    """
    roots = [signed_root(value) for value in reliabilities if value is not None]
    return max(0.0, math.fsum(roots) / len(roots)) if roots else None
