"""How reliable a reference is, and how high a map without error could score against it.

Reliability covers the sampling of masks only, because the halves share segmentation, neutral value and
hypothesis. A ceiling belongs to a reference *and* to the way in which map and reference are normalised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from xbench.maps import GridMap, Layout, standardise
from xbench.metrics.agreement import as_reference, content_rows, pearson_paper, why_undefined
from xbench.spec import Scoring

# In a row with a reliability below this, more than half of the variance is noise. Such rows are
# counted but not left out: the paper's protocol gives them the same weight as all others.
RELIABLE_ROW = 0.5


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

    upper: the ceiling that skill uses. lower: a second estimate, below the truth, where there is one.
    structural: what the two normalisations allow even without noise, where that is below 1.
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
    """Return sqrt(max(0, reliability)): the highest `pearson` of a noise-free map with the mean.

    Shapes: mean and halves [token, frame], all generated rows. The scoring options do not enter:
    rows are compared with themselves. Null: as the reliability, and where the mean is constant.
    Source: scoring section 3.
    """
    noise, reason = _noise_ceiling(mean, half_a, half_b, layout)
    return Ceiling(noise, reason=reason)


def ceiling_pearson_paper(
    mean: GridMap, half_a: GridMap, half_b: GridMap, layout: Layout, scoring: Scoring
) -> Ceiling:
    """Return the ceiling of `pearson-paper`, under which maps have no column means and so cannot match the reference's.

    upper = structural * sqrt(max(0, reliability)); lower = corr(colz(A), rowz(B)).
    Shapes: mean and halves [token, frame], all generated rows. Null: as `ceiling_pearson`, and
    `single-token`. With `statistics: generated` the special rows absorb column means, the
    structural bound does not hold, and upper = sqrt(reliability) with reason
    `generated-statistics`.
    `lower` is null where half A is constant over tokens. Source: scoring section 3.
    """
    noise, reason = _noise_ceiling(mean, half_a, half_b, layout)
    if noise is None:
        return Ceiling(None, reason=reason)
    lower = pearson_paper(half_a, half_b, layout, scoring)
    if lower.reason == "single-token":
        return Ceiling(None, reason=lower.reason)
    if scoring.statistics == "generated":
        return Ceiling(noise, lower.value, None, lower.reason or "generated-statistics")
    bound = structural(mean, layout, scoring)
    return Ceiling(bound * noise, lower.value, bound, lower.reason)


def _noise_ceiling(
    mean: GridMap, half_a: GridMap, half_b: GridMap, layout: Layout
) -> tuple[float | None, str | None]:
    reliability = utterance_reliability(half_a, half_b, layout)
    if reliability.value is None:
        return None, reliability.reason
    # Two halves may cancel, so that their mean is constant: then nothing can be scored against it.
    reason = why_undefined(mean, mean, layout, content_rows(layout))
    return (None, reason) if reason else (math.sqrt(max(0.0, reliability.value)), None)


def structural(reference: GridMap, layout: Layout, scoring: Scoring) -> float:
    """Return the highest correlation of any frame-wise normalised map with this reference.

    mean over frames j of sd over tokens i of S_ij, divided by the standard deviation of all S,
    which is 1 after row-wise z-scores unless rows are constant or min-max follows. It is the exact
    maximum over maps without a constant column (Cauchy-Schwarz, column by column), and colz(S) reaches it.
    A map with constant columns in quiet frames can score higher, because zeros there cost no variance.
    Shapes: S [token, frame], all generated rows. Source: scoring section 3.
    """
    target = as_reference(reference, content_rows(layout), scoring)
    return float(target.std(axis=0).mean() / target.std())
