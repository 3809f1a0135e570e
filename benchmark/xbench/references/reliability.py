"""How reliable a reference is, and how high a map without error could score against it.

Reliability covers the sampling of masks only, because the halves share segmentation, neutral value and
hypothesis. A ceiling belongs to a reference *and* to the way in which map and reference are normalised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from xbench import stats
from xbench.maps import GridMap, Layout, standardise
from xbench.metrics.agreement import (
    ROW_Z_SCORE,
    as_reference,
    content_rows,
    pearson_paper,
    why_undefined,
)
from xbench.spec import Scoring


@dataclass(frozen=True)
class Reliability:
    """The estimated reliability of one reference on one utterance.

    value: mean over rows, or None with the `reason`. rows: one value per content token, None where
    a half is constant in that row; such rows are left out of the mean.
    """

    value: float | None
    reason: str | None
    rows: tuple[float | None, ...] = ()

    @property
    def constant_rows(self) -> int:
        """The number of content rows that have no reliability."""
        return self.rows.count(None)


# A reference without halves has neither a reliability nor a ceiling.
NO_RELIABILITY = Reliability(None, "no-halves")


@dataclass(frozen=True)
class Ceiling:
    """The highest score that a map without error could reach against one reference.

    upper: the ceiling that skill uses. lower: what one half of the reference scores against the other, so a score that
    a map with the noise of a half reaches. structural: what the two normalisations allow even without noise, where
    that is below 1. All are estimates; none is a bound.
    reason: why `upper`, or another value that this metric usually has, is None.
    """

    upper: float | None
    lower: float | None = None
    structural: float | None = None
    reason: str | None = None


def row_reliability(
    half_a: Float[np.ndarray, "token frame"], half_b: Float[np.ndarray, "token frame"]
) -> tuple[float | None, ...]:
    """Return the Spearman-Brown corrected agreement of two half-references, one value per row.

    SB(r_i) = 2 r_i / (1 + r_i), r_i = Pearson(A_i, B_i). Shapes: content rows on the encoder grid.
    None: a row that is constant in either half. Source: scoring section 2.
    """
    z_a, constant_a = standardise(half_a, axis=1)
    z_b, constant_b = standardise(half_b, axis=1)
    r = (z_a * z_b).mean(axis=1)
    return tuple(
        None if constant else _spearman_brown(float(r_i))
        for r_i, constant in zip(r, constant_a | constant_b, strict=True)
    )


def _spearman_brown(r: float) -> float:
    # Below r = -1/3 the formula gives values below -1, down to minus infinity at r = -1. Such halves have
    # nothing in common; the bound keeps one hopeless row from deciding the mean of the utterance.
    return max(-1.0, 2 * r / (1 + r)) if r > -1 else -1.0


# Asked for once by itself and once by each ceiling of a reference, one after the other.
@lru_cache(maxsize=1)
def utterance_reliability(half_a: GridMap, half_b: GridMap, layout: Layout) -> Reliability:
    """Return the mean over content rows of their reliability (not SB of the mean correlation).

    Shapes: both halves [token, frame], all generated rows. Null: `empty-hypothesis`,
    `too-few-frames`, `non-finite`, and `constant-reference` when no row varies in both halves.
    Source: scoring section 2.
    """
    content = content_rows(layout)
    reason = why_undefined(half_a, half_b, layout, content)
    if reason:
        return Reliability(None, "constant-reference" if reason == "constant-map" else reason)
    rows = row_reliability(half_a.values[content], half_b.values[content])
    defined = [value for value in rows if value is not None]
    if not defined:
        return Reliability(None, "constant-reference", rows)
    return Reliability(math.fsum(defined) / len(defined), None, rows)


def ceiling_pearson(
    mean: GridMap, half_a: GridMap, half_b: GridMap, layout: Layout, scoring: Scoring
) -> Ceiling:
    """Return the highest `pearson` of a noise-free map with the mean: the mean over rows of sqrt(reliability).

    max(0, mean_i root_i), root_i = sign(r_i) sqrt(SB(|r_i|)), r_i = Pearson(A_i, B_i). A row without any
    reliability has an r_i around 0, as often below as above, so its root adds nothing on average; the square root
    of the mean reliability would count it as if its neighbours' reliability were its own.
    Shapes: mean and halves [token, frame], all generated rows. The scoring options do not enter:
    rows are compared with themselves. Null: as the reliability, and where the mean is constant.
    Source: scoring section 3; simulated in docs/validity.md.
    """
    return _mean_root(mean, half_a, half_b, layout, np.ones(len(layout.content)))


def weighted_ceiling_pearson(
    mean: GridMap,
    half_a: GridMap,
    half_b: GridMap,
    layout: Layout,
    scoring: Scoring,
    weights: Float[np.ndarray, " token"],
) -> Ceiling:
    """Return the highest `pearson` by effect of a noise-free map: max(0, sum_i w_i root_i / sum_i w_i).

    root_i as in `ceiling_pearson`. weights: the effect of each content token, not negative. Tokens with a large effect
    mostly have reliable rows, so this ceiling lies above the other one. Shapes as there. Null: as there, and
    `no-weight` where no row that varies has any. Simulated in `tests/references/test_reliability.py`.
    """
    return _mean_root(mean, half_a, half_b, layout, weights)


def _mean_root(
    mean: GridMap,
    half_a: GridMap,
    half_b: GridMap,
    layout: Layout,
    weights: Float[np.ndarray, " token"],
) -> Ceiling:
    reliability = utterance_reliability(half_a, half_b, layout)
    reason = reliability.reason or _why_nothing_correlates(mean, layout)
    if reason:
        return Ceiling(None, reason=reason)
    rows = [
        (float(weight), stats.signed_root(value))
        for weight, value in zip(weights, reliability.rows, strict=True)
        if value is not None
    ]
    total = math.fsum(weight for weight, _ in rows)
    if total <= 0:
        return Ceiling(None, reason="no-weight")
    return Ceiling(max(0.0, math.fsum(weight * root for weight, root in rows) / total))


@lru_cache(maxsize=1)  # as above
def _why_nothing_correlates(mean: GridMap, layout: Layout) -> str | None:
    """Say why nothing can be scored against a reference: its halves may cancel, so that their mean is constant."""
    return why_undefined(mean, mean, layout, content_rows(layout))


def ceiling_pearson_paper(
    mean: GridMap, half_a: GridMap, half_b: GridMap, layout: Layout, scoring: Scoring
) -> Ceiling:
    """Return the ceiling of `pearson-paper`, under which maps have no column means and so cannot match the reference's.

    upper = structural * the ceiling of `pearson`, structural cross-fitted between the halves;
    lower = corr(colz(rowz(A)), rowz(B)).
    Shapes: mean and halves [token, frame], all generated rows. Null: as `ceiling_pearson`, and
    `single-token`. With `statistics: generated` the special rows absorb column means, the
    structural bound does not hold, and upper is that of `ceiling_pearson`, with reason
    `generated-statistics`. Where the halves have nothing in common upper is 0 and structural null,
    `halves-disagree`. `lower` is null where half A is constant over tokens. Source: scoring section 3.
    """
    noise = ceiling_pearson(mean, half_a, half_b, layout, scoring)
    if noise.upper is None:
        return noise
    lower = pearson_paper(half_a, half_b, layout, scoring, rows=ROW_Z_SCORE)
    if lower.reason == "single-token":
        return Ceiling(None, reason=lower.reason)
    if scoring.statistics == "generated":
        return Ceiling(noise.upper, lower.value, None, lower.reason or "generated-statistics")
    bound = cross_fitted_structural(half_a, half_b, layout, scoring)
    if bound is None:
        return Ceiling(0.0, lower.value, None, lower.reason or "halves-disagree")
    return Ceiling(bound * noise.upper, lower.value, bound, lower.reason)


def cross_fitted_structural(
    half_a: GridMap, half_b: GridMap, layout: Layout, scoring: Scoring
) -> float | None:
    """Return the structural limit of the map that both halves estimate, without the noise of either.

    mean over frames j of sqrt(max(0, cov_i(A_ij, B_ij))) / sqrt(cov(A, B)), A and B as references are used.
    Noise makes the columns of any one map vary, and with them `structural` of that map: at a reliability of 0.9 by a
    sixth. The noise of the halves is independent, so their covariance is that of the signal. The bound at 0
    leaves a bias upwards, which falls with the noise (docs/validity.md).
    None where cov(A, B) is not positive. Shapes: both halves [token, frame], all generated rows.
    """
    content = content_rows(layout)
    a, b = (as_reference(half, content, scoring) for half in (half_a, half_b))
    total = float(((a - a.mean()) * (b - b.mean())).mean())
    if total <= 0:
        return None
    columns = ((a - a.mean(axis=0)) * (b - b.mean(axis=0))).mean(axis=0)
    return min(1.0, float(np.sqrt(np.maximum(columns, 0.0)).mean() / math.sqrt(total)))


def structural(reference: GridMap, layout: Layout, scoring: Scoring) -> float:
    """Return the highest correlation of any frame-wise normalised map with this reference.

    mean over frames j of sd over tokens i of S_ij, divided by the standard deviation of all S,
    which is 1 after row-wise z-scores unless rows are constant or min-max follows. It is the exact
    maximum over maps without a constant column (Cauchy-Schwarz, column by column), and colz(S) reaches it.
    A map with constant columns in quiet frames can score higher, because zeros there cost no variance.
    Of a map with noise it is too high: `cross_fitted_structural` estimates that of the map without.
    Shapes: S [token, frame], all generated rows. Source: scoring section 3.
    """
    target = as_reference(reference, content_rows(layout), scoring)
    return float(target.std(axis=0).mean() / target.std())
