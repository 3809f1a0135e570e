"""Every interval in one place: means, skill and disattenuated scores, with clustered utterances.

All three are ratios of sums over clusters (speaker or talk), R = sum_c a_c / sum_c b_c, so one
interval serves them, by the number of clusters C (scoring section 5):

    C >= 40       percentile bootstrap over clusters, 10,000 draws
    5 <= C < 40   R -+ t(C-1) sqrt(v), v = C/(C-1) sum_c (a_c - R b_c)^2 / (sum_c b_c)^2
    C < 5         none: `fewer-than-5-clusters`

The t interval covers 0.95 with clusters of equal size and loses with unequal ones: 0.93 and 0.94 at
5 and 20 clusters of 1 to 6 utterances, 0.92 and 0.94 of 1 to 30, if half the variance is between
clusters.

Degenerate cases: nothing defined, value null `no-defined-value`; no variation between clusters, so
that the standard error would be 0, interval null `no-variation-between-clusters`; a bootstrap draw
whose denominator is not positive, interval null `unstable-ratio`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from xbench.errors import UsageError

FEWEST_CLUSTERS = 5
BOOTSTRAP_CLUSTERS = 40
DRAWS = 10_000
LEVEL = 0.95
SMALLEST_RANGE = 0.1

_CELLS_AT_ONCE = 1 << 21
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over the utterances and clusters that define it.

    reason: why the value (and with it the interval) is None. ci_reason: why only the interval is.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    reason: str | None = None
    ci_reason: str | None = None

    @property
    def above_one(self) -> bool:
        """True for a disattenuated score beyond 1: kept, and shown with a flag."""
        return self.value is not None and self.value > 1


@dataclass(frozen=True)
class _Sums:
    """Numerator and denominator summed per cluster, in the order of the cluster names."""

    numerator: Float[np.ndarray, " cluster"]
    denominator: Float[np.ndarray, " cluster"]
    n: int

    @property
    def n_clusters(self) -> int:
        return len(self.numerator)

    @property
    def ratio(self) -> float:
        return float(self.numerator.sum() / self.denominator.sum())

    @property
    def residual(self) -> Float[np.ndarray, " cluster"]:
        """What each cluster contributes to the error of the ratio, a_c - R b_c; it sums to zero."""
        return self.numerator - self.ratio * self.denominator


def mean_estimate(
    values: Sequence[float | None], clusters: Sequence[str], *, seed: int
) -> Estimate:
    """Return the mean of the defined values with its interval.

    mean = sum_u x_u / n, a_c = sum of cluster c, b_c = its number of values. A cluster counts if it
    has a defined value. Null: `no-defined-value`. Source: scoring section 5.
    """
    kept, names = _complete([values], clusters)
    if not names:
        return _nothing("no-defined-value")
    return _estimate(_sum_by_cluster(kept[0], np.ones(len(names)), names), seed)


def skill(
    scores: Sequence[float | None],
    floors: Sequence[float | None],
    ceilings: Sequence[float | None],
    clusters: Sequence[str],
    *,
    seed: int,
) -> Estimate:
    """Return how far the scores go from the floor towards the ceiling, as a ratio of means.

    (S - F) / (C - F), means over the utterances where all three exist, clusters drawn jointly;
    never clipped. Null: `no-defined-value`; `ceiling-not-above-floor` where the lower limit of
    C - F is below 0.1; `fewer-than-5-clusters` where that limit cannot be computed. Where C - F is
    the same in every cluster it is its own limit. Source: scoring section 4.
    """
    kept, names = _complete([scores, floors, ceilings], clusters)
    if not names:
        return _nothing("no-defined-value")
    score, floor, ceiling = kept
    available = _estimate(_sum_by_cluster(ceiling - floor, np.ones(len(names)), names), seed)
    n_clusters = available.n_clusters
    if n_clusters < FEWEST_CLUSTERS:
        return Estimate(None, None, None, len(names), n_clusters, available.ci_reason)
    limit = available.value if available.low is None else available.low
    if limit is None or limit < SMALLEST_RANGE:
        return Estimate(None, None, None, len(names), n_clusters, "ceiling-not-above-floor")
    return _estimate(_sum_by_cluster(score - floor, ceiling - floor, names), seed)


def disattenuated(
    scores: Sequence[float | None],
    ceilings: Sequence[float | None],
    clusters: Sequence[str],
    *,
    seed: int,
) -> Estimate:
    """Return the scores corrected for the noise of the reference, as a ratio of means.

    mean S / mean C over the utterances where both exist; above 1 it stays, with `above_one`.
    Null: `no-defined-value`; `ceiling-not-positive` where mean C <= 0. Source: scoring section 4.
    """
    kept, names = _complete([scores, ceilings], clusters)
    if not names:
        return _nothing("no-defined-value")
    sums = _sum_by_cluster(kept[0], kept[1], names)
    if sums.denominator.sum() <= 0:
        return Estimate(None, None, None, sums.n, sums.n_clusters, "ceiling-not-positive")
    return _estimate(sums, seed)


def _nothing(reason: str) -> Estimate:
    return Estimate(None, None, None, 0, 0, reason)


def _complete(
    series: Sequence[Sequence[float | None]], clusters: Sequence[str]
) -> tuple[list[Float[np.ndarray, " utterance"]], list[str]]:
    """Keep the utterances where every series has a value, with their cluster names."""
    complete = [
        (row, name)
        for *row, name in zip(*series, clusters, strict=True)
        if all(value is not None for value in row)
    ]
    values = np.array([row for row, _ in complete], dtype=np.float64).reshape(-1, len(series)).T
    if not np.isfinite(values).all():
        raise UsageError("scores must be finite numbers or null; found NaN or infinity")
    return list(values), [name for _, name in complete]


def _sum_by_cluster(
    numerator: Float[np.ndarray, " utterance"],
    denominator: Float[np.ndarray, " utterance"],
    names: Sequence[str],
) -> _Sums:
    # Sorted names: the draws of a seed do not depend on the order of the utterances.
    unique, index = np.unique(np.asarray(names), return_inverse=True)
    size = len(unique)
    return _Sums(
        np.bincount(index, weights=numerator, minlength=size),
        np.bincount(index, weights=denominator, minlength=size),
        len(names),
    )


def _estimate(sums: _Sums, seed: int) -> Estimate:
    value, clusters = sums.ratio, sums.n_clusters
    magnitude = np.abs(sums.numerator) + np.abs(value * sums.denominator)
    if clusters < FEWEST_CLUSTERS:
        return Estimate(value, None, None, sums.n, clusters, ci_reason="fewer-than-5-clusters")
    if (np.abs(sums.residual) <= _ROUNDING * magnitude).all():
        return Estimate(
            value, None, None, sums.n, clusters, ci_reason="no-variation-between-clusters"
        )
    if clusters < BOOTSTRAP_CLUSTERS:
        half = _half_width(sums)
        return Estimate(value, value - half, value + half, sums.n, clusters)
    draws = _bootstrap(sums, seed)
    if draws is None:
        return Estimate(value, None, None, sums.n, clusters, ci_reason="unstable-ratio")
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), sums.n, clusters)


def _half_width(sums: _Sums) -> float:
    clusters = sums.n_clusters
    squares = float((sums.residual**2).sum())
    variance = clusters / (clusters - 1) * squares / float(sums.denominator.sum()) ** 2
    return float(stdtrit(clusters - 1, (1 + LEVEL) / 2)) * math.sqrt(variance)


def _bootstrap(sums: _Sums, seed: int) -> Float[np.ndarray, " draw"] | None:
    """Draw clusters with replacement; return the ratio of every draw, None if one has no ratio."""
    generator = np.random.default_rng(seed)
    clusters = sums.n_clusters
    block = max(1, _CELLS_AT_ONCE // clusters)  # bounds memory however many clusters there are
    ratios = []
    for first in range(0, DRAWS, block):
        drawn = generator.integers(clusters, size=(min(block, DRAWS - first), clusters))
        denominator = sums.denominator[drawn].sum(axis=1)
        if (denominator <= 0).any():
            return None
        ratios.append(sums.numerator[drawn].sum(axis=1) / denominator)
    return np.concatenate(ratios)


@dataclass(frozen=True)
class Pair:
    """Provisional."""

    a: str
    b: str
    difference: float
    low: float | None
    high: float | None
    p: float


@dataclass(frozen=True)
class Comparison:
    """Provisional: replaced by the branch `statistics`."""

    pairs: tuple[Pair, ...]
    best_group: tuple[str, ...]
    rank_low: dict[str, int]
    rank_high: dict[str, int]
    n: int
    n_clusters: int
    reason: str | None


def compare(
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    clusters: Sequence[str],
    *,
    higher_is_better: bool,
    seed: int,
) -> Comparison:
    """Provisional: max-T over all pairs by sign flips of cluster sums."""
    kept, cluster_names = _complete(values, clusters)
    matrix = np.array(kept)
    unique, index = np.unique(np.asarray(cluster_names), return_inverse=True)
    if len(unique) < FEWEST_CLUSTERS:
        return Comparison((), (), {}, {}, len(cluster_names), len(unique), "fewer-than-5-clusters")
    sums = np.stack([np.bincount(index, weights=row, minlength=len(unique)) for row in matrix])
    first, second = np.triu_indices(len(names), 1)
    difference = sums[first] - sums[second]
    scale = np.sqrt((difference**2).sum(1))
    scale[scale == 0] = 1
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(2000, len(unique)))
    flipped = np.abs(signs @ (difference / scale[:, None]).T).max(1)
    observed = np.abs(difference.sum(1) / scale)
    p = (1 + (flipped[:, None] >= observed).sum(0)) / (1 + len(signs))
    n = len(cluster_names)
    half = np.quantile(flipped, LEVEL) * scale / n
    mean = difference.sum(1) / n
    pairs = tuple(
        Pair(names[i], names[j], float(m), float(m - h), float(m + h), float(q))
        for i, j, m, h, q in zip(first, second, mean, half, p, strict=True)
    )
    better = dict.fromkeys(names, 0)
    worse = dict.fromkeys(names, 0)
    for pair in pairs:
        if pair.p < 1 - LEVEL:
            up, down = (pair.a, pair.b) if (pair.difference > 0) == higher_is_better else (pair.b, pair.a)
            better[down] += 1
            worse[up] += 1
    low = {name: 1 + better[name] for name in names}
    high = {name: len(names) - worse[name] for name in names}
    best = max(names, key=lambda name: matrix[list(names).index(name)].mean() * (1 if higher_is_better else -1))
    separated = {
        (pair.b if pair.a == best else pair.a)
        for pair in pairs
        if best in (pair.a, pair.b) and pair.p < 1 - LEVEL
    }
    group = tuple(name for name in names if name not in separated)
    return Comparison(pairs, group, low, high, n, len(unique), None)
