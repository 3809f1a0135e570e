"""Estimators of one quantity, E[d | segment hidden], from moments of masks and divergences.

All return sums and counts per half whose quotient is the estimate, so that halves stay independent,
a map is the counts-weighted mean over levels, and the map from all masks is the weighted mean of its halves
(which is what the Spearman-Brown formula takes it to be).

    masked-mean      sum_n d_n m_ns / sum_n m_ns
    least-squares    c + p sum_t b_t + (1 - p) b_s, with (b, c) the regression of d on m
    control-variate  masked mean of d - f plus E[f | s hidden], f(m) = c + b m fitted on other masks

Masks are independent, so E[f | s hidden] = c + p sum_t b_t + (1 - p) b_s exactly, and for the population's
regression this is E[d | s hidden]: least squares estimates the masked mean's own quantity, not only one
affine in it. It is consistent, not unbiased, and needs more masks than segments. The control variate is fitted
on the other three of four folds of the half, therefore its mean is that of the masked mean whatever the
fit is worth, with any number of masks; a good fit takes away the variance that it explains. Ridge of strength
K p (1 - p) would be the best for K segments that explain half of the variance.

Sources: masked mean: Fucci et al. 2024, arXiv 2411.01710, after RISE (Petsiuk et al. 2018, arXiv 1806.07421).
Regression on masks: LIME (Ribeiro et al. 2016), Kernel SHAP (Lundberg & Lee 2017). Cross-fitted control
variates: ours, after Rubinstein & Marcus 1985 and Chernozhukov et al. 2018, arXiv 1608.00060.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import solve

FOLDS = 4

# Keeps the normal equations solvable when segments were hidden by no mask or by all (p = 0 or 1).
_SMALLEST_RIDGE = 1e-9


@dataclass(frozen=True)
class Moments:
    """What masks and divergences of one level add up to, per half and fold.

    masks: how many. hidden: sum of m. divergence: sum of d. cross: sum of d m. gram: sum of m m',
    only where an estimator needs it. Adding is in place: memory does not grow with the number of masks.
    """

    masks: Int[np.ndarray, "half fold"]
    hidden: Float[np.ndarray, "half fold segment"]
    divergence: Float[np.ndarray, "half fold token"]
    cross: Float[np.ndarray, "half fold token segment"]
    gram: Float[np.ndarray, "half fold segment segment"] | None

    @classmethod
    def empty(cls, segments: int, tokens: int, *, gram: bool) -> Moments:
        """Return moments of no masks."""
        return cls(
            masks=np.zeros((2, FOLDS), dtype=np.int64),
            hidden=np.zeros((2, FOLDS, segments)),
            divergence=np.zeros((2, FOLDS, tokens)),
            cross=np.zeros((2, FOLDS, tokens, segments)),
            gram=np.zeros((2, FOLDS, segments, segments)) if gram else None,
        )

    def add(
        self,
        half: int,
        fold: int,
        hidden: Bool[np.ndarray, "mask segment"],
        divergence: Float[np.ndarray, "mask token"],
    ) -> None:
        """Add masks of one half and fold."""
        design, outcome = hidden.astype(np.float64), divergence.astype(np.float64)
        self.masks[half, fold] += len(design)
        self.hidden[half, fold] += design.sum(0)
        self.divergence[half, fold] += outcome.sum(0)
        self.cross[half, fold] += outcome.T @ design
        if self.gram is not None:
            self.gram[half, fold] += design.T @ design


@dataclass(frozen=True)
class _Sample:
    """The moments of some masks of one half."""

    masks: int
    hidden: Float[np.ndarray, " segment"]
    divergence: Float[np.ndarray, " token"]
    cross: Float[np.ndarray, "token segment"]
    gram: Float[np.ndarray, "segment segment"]


@dataclass(frozen=True)
class _Surrogate:
    """f(m) = intercept + slopes m, one for each token."""

    intercept: Float[np.ndarray, " token"]
    slopes: Float[np.ndarray, "token segment"]

    def given_hidden(self, p: float) -> Float[np.ndarray, "token segment"]:
        """Return E[f | segment hidden] = c + p sum_t b_t + (1 - p) b_s for independent masks."""
        mean = self.intercept + p * self.slopes.sum(1)
        expected: Float[np.ndarray, "token segment"] = mean[:, None] + (1 - p) * self.slopes
        return expected


Sums = Float[np.ndarray, "half token segment"]


def masked_mean(moments: Moments, p: float) -> Sums:
    """Return the plain sums of divergences over the masks that hide a segment."""
    sums: Sums = moments.cross.sum(1)
    return sums


def least_squares(moments: Moments, p: float) -> Sums | None:
    """Return count times regression estimate; None while a half has no more masks than segments."""
    segments = moments.hidden.shape[2]
    if moments.masks.sum(1).min() <= segments:
        return None
    sums = []
    for half in (0, 1):
        sample = _sample(moments, half, np.ones(FOLDS, dtype=bool))
        sums.append(_fit(sample, 0.0).given_hidden(p) * sample.hidden)
    return np.stack(sums)


def control_variate(moments: Moments, p: float) -> Sums:
    """Return the sums of divergences with what the other folds predict replaced by its expectation."""
    segments = moments.hidden.shape[2]
    ridge = segments * p * (1 - p)
    sums = np.zeros((2, *moments.cross.shape[2:]))
    for half in (0, 1):
        for fold in range(FOLDS):
            inside = np.arange(FOLDS) == fold
            surrogate = _fit(_sample(moments, half, ~inside), ridge)
            own = _sample(moments, half, inside)
            predicted = surrogate.intercept[:, None] * own.hidden + surrogate.slopes @ own.gram
            sums[half] += own.cross - predicted + surrogate.given_hidden(p) * own.hidden
    return sums


ESTIMATORS: Mapping[str, Callable[[Moments, float], Sums | None]] = {
    "masked-mean": masked_mean,
    "least-squares": least_squares,
    "control-variate": control_variate,
}
NEEDS_GRAM = frozenset({"least-squares", "control-variate"})


def _sample(moments: Moments, half: int, folds: Bool[np.ndarray, " fold"]) -> _Sample:
    assert moments.gram is not None
    return _Sample(
        int(moments.masks[half, folds].sum()),
        moments.hidden[half, folds].sum(0),
        moments.divergence[half, folds].sum(0),
        moments.cross[half, folds].sum(0),
        moments.gram[half, folds].sum(0),
    )


def _fit(sample: _Sample, ridge: float) -> _Surrogate:
    """Regress d on m: minimise sum_n (d_n - c - b m_n)^2 + ridge |b|^2, from centred moments."""
    masks = max(1, sample.masks)
    centred = sample.gram - np.outer(sample.hidden, sample.hidden) / masks
    centred.flat[:: len(centred) + 1] += ridge + _SMALLEST_RIDGE * masks
    cross = sample.cross - np.outer(sample.divergence, sample.hidden) / masks
    slopes = solve(centred, cross.T, assume_a="pos", check_finite=False).T
    return _Surrogate((sample.divergence - slopes @ sample.hidden) / masks, slopes)
