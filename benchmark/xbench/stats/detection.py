"""How well a score detects something, over items that come in clusters: areas under ROC and precision-recall curves.

    AUROC   share of pairs (a positive item, a negative one) in which the positive one has the higher score, ties half
    PR-AUC  average precision: sum over the distinct scores, from the highest down, of the gain in recall times the
            precision there; for a score without information it is the share of positive items

Intervals are percentile bootstrap over clusters: all items of a cluster are drawn together.
Sources: Hanley and McNeil 1982, Radiology 143; Davis and Goadrich 2006, ICML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from xbench.stats.draws import drawn_counts
from xbench.stats.intervals import FEWEST_CLUSTERS, LEVEL, Estimate

DRAWS = 1000
# Of so large a share of draws an area must exist for an interval.
_DEFINED = 0.99


@dataclass(frozen=True)
class Detection:
    """Both areas, and the share of positive items. `n` of the estimates counts items."""

    auroc: Estimate
    pr_auc: Estimate
    base_rate: float | None


def detection(
    scores: Float[np.ndarray, " item"],
    positive: Bool[np.ndarray, " item"],
    clusters: Sequence[str],
    *,
    seed: int,
) -> Detection:
    """Return how well higher scores point to positive items.

    Shapes: one score, one truth and one cluster per item. Null: `no-item`, `one-class` where all items are positive or
    all negative; of the intervals `fewer-than-5-clusters`, and `one-class-in-draws` where many draws hold one class.
    """
    n = len(scores)
    names, cluster = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    base = float(positive.mean()) if n else None
    if not n or positive.all() or not positive.any():
        nothing = Estimate(None, None, None, n, len(names), "one-class" if n else "no-item")
        return Detection(nothing, nothing, base)
    # [class, score from the highest down, cluster]: how many items there are of each.
    levels, level = np.unique(-scores, return_inverse=True)
    counts = np.zeros((2, len(levels), len(names)))
    np.add.at(counts, (positive.astype(np.intp), level, cluster), 1)
    values = _areas(counts, np.ones((1, len(names))))[:, 0]
    ends: list[tuple[float | None, float | None, str | None]]
    if len(names) < FEWEST_CLUSTERS:
        ends = [(None, None, "fewer-than-5-clusters")] * 2
    else:
        draws = _areas(counts, drawn_counts(seed, len(names), DRAWS).astype(np.float64))
        ends = [_interval(of_area) for of_area in draws]
    auroc, pr_auc = (
        Estimate(float(value), low, high, n, len(names), ci_reason=reason)
        for value, (low, high, reason) in zip(values, ends, strict=True)
    )
    return Detection(auroc, pr_auc, base)


def _areas(
    counts: Float[np.ndarray, "2 score cluster"], weights: Float[np.ndarray, "draw cluster"]
) -> Float[np.ndarray, "2 draw"]:
    """Return AUROC and PR-AUC of every draw, which takes each cluster so often; NaN where a class is missing."""
    # einsum, not BLAS: the last digits must not depend on the number of threads.
    false, true = (np.einsum("dc,sc->ds", weights, of_class) for of_class in counts)
    found_true, found_false = true.cumsum(axis=1), false.cumsum(axis=1)
    all_true, all_false = found_true[:, -1], found_false[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        # A negative item is passed by all positive ones above it, and by half of those at its own score.
        auroc = ((found_true - true / 2) * false).sum(axis=1) / (all_true * all_false)
        seen = found_true + found_false
        precision = found_true / np.where(seen > 0, seen, 1.0)
        pr_auc = (true * precision).sum(axis=1) / all_true
    pr_auc[all_false == 0] = np.nan
    return np.stack([auroc, pr_auc])


def _interval(draws: Float[np.ndarray, " draw"]) -> tuple[float | None, float | None, str | None]:
    known = draws[np.isfinite(draws)]
    if len(known) < _DEFINED * len(draws):
        return None, None, "one-class-in-draws"
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high), None
