"""Intervals of means, skill and disattenuated scores, with clustered utterances.

All three are ratios of sums over clusters (speaker or talk), R = sum_c a_c / sum_c b_c, so one
interval serves them, by the number of clusters C (scoring section 5):

    C >= 5        R - sqrt(v) max(q, h(q))  to  R - sqrt(v) min(-q, h(-q)),  q = t(df), h as below
    C >= 40       each end at least as far out as in the cluster bootstrap of R, 10,000 draws: the
                  quantiles alpha and 1 - alpha with alpha = Phi(-t(df) sqrt(v / v0))
    C < 5         none: `fewer-than-5-clusters`

with the residuals e_c = a_c - R b_c of the clusters and, n_c utterances in cluster c,

    v  = sum_c (n_c / m_cc) e_c^2 / (sum_c b_c)^2,    v0 = sum_c e_c^2 / (sum_c b_c)^2
    m  = (I - s 1') diag(n) (I - s 1')',  s_c = b_c / sum b
    df = (sum_c n_c)^2 / sum_cd (n_c n_d / (m_cc m_dd)) m_cd^2

    h(u) = (3 / k) (cbrt(1 + k (u - k / 6)) - 1),  h(u) = u where k = 0
    k = sum_c e_c^3 / (sum_c e_c^2)^(3/2) * sqrt(C (C - 1)) / (C - 2)

h undoes, to first order, the skewness of the studentised ratio that comes from skewed clusters (Hall 1992, Journal of
the Royal Statistical Society B 54); k is their skewness over sqrt(C). k is itself noisy with few clusters, so each end
is moved outwards only: h alone covered 0.92 with clusters of unequal size, where t covers 0.94.
v is the bias-reduced (CR2) variance and df its Satterthwaite degrees of freedom under the working
model that Var(e) grows with n (Bell and McCaffrey 2002, Survey Methodology 28; Imbens and Kolesar
2016, Review of Economics and Statistics 98). With clusters of equal size df = C - 1 and v is the
usual variance of a mean. The widened quantiles are those of Hesterberg (2015, The American
Statistician 69, section 5.3), whose factor sqrt(C / (C - 1)) is sqrt(v / v0) with equal clusters.

Coverage of 95 % intervals of symmetric clusters, of equal or unequal size: 0.945 to 0.965. The plain linearised t
interval covered 0.918 (5), the plain percentile bootstrap 0.936 (40); of clusters with a lognormal tail the bootstrap
alone covered 0.90 to 0.92 (40 to 100). Of clusters with an exponential tail 0.92 to 0.97, with a lognormal one 0.90 to
0.96. Where one cluster in twelve is far worse than the others, up to 20 clusters often hold none of them, and no
interval made of them can know: 0.75 to 0.87 (docs/validity.md).

An utterance is resampled or summed together with all its numbers. A ceiling that was estimated from two halves is one
of them, so the interval of skill contains its noise.

Degenerate cases: nothing defined, value null `no-defined-value`; no variation between clusters, so
that the standard error would be 0, interval null `no-variation-between-clusters`; a bootstrap draw
whose denominator is not positive, interval null `unstable-ratio`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float, Int, UInt16
from scipy.special import ndtr, stdtrit

from xbench.errors import UsageError

FEWEST_CLUSTERS = 5
BOOTSTRAP_CLUSTERS = 40
DRAWS = 10_000
LEVEL = 0.95
SMALLEST_RANGE = 0.1

_CELLS_AT_ONCE = 1 << 21
_CELLS_IN_CACHE = 1 << 16
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over the utterances and clusters that define it.

    reason: why the value (and with it the interval) is None. ci_reason: why only the interval is. bootstrap: the
    interval that was stated from 40 clusters on before ends were moved out for skewness; files of that time hold it.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    reason: str | None = None
    ci_reason: str | None = None
    bootstrap: tuple[float, float] | None = None

    @property
    def above_one(self) -> bool:
        """True for a disattenuated score beyond 1: kept, and shown with a flag."""
        return self.value is not None and self.value > 1

    def cut_to(self, lowest: float | None, highest: float | None) -> Estimate:
        """Return the estimate with no end of its interval beyond what can be; None where there is no bound.

        Such values are certainly not the mean, so the interval covers it as often as before.
        """
        low, high = self.low, self.high
        if low is not None and lowest is not None:
            low = max(low, lowest)
        if high is not None and highest is not None:
            high = min(high, highest)
        return replace(self, low=low, high=high)


@dataclass(frozen=True)
class _Sums:
    """Numerator and denominator summed per cluster, in the order of the cluster names."""

    numerator: Float[np.ndarray, " cluster"]
    denominator: Float[np.ndarray, " cluster"]
    sizes: Float[np.ndarray, " cluster"]

    @property
    def n(self) -> int:
        return int(self.sizes.sum())

    @property
    def n_clusters(self) -> int:
        return len(self.numerator)

    @cached_property
    def ratio(self) -> float:
        return float(self.numerator.sum() / self.denominator.sum())

    @cached_property
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
    if all(
        type(each) is list and len(each) == len(clusters) and None not in each for each in series
    ):
        values = np.array(series, dtype=np.float64)
        _check_finite(values)
        return list(values), list(clusters)
    complete = [
        (row, name)
        for *row, name in zip(*series, clusters, strict=True)
        if all(value is not None for value in row)
    ]
    values = np.array([row for row, _ in complete], dtype=np.float64).reshape(-1, len(series)).T
    _check_finite(values)
    return list(values), [name for _, name in complete]


def _check_finite(values: Float[np.ndarray, "series utterance"]) -> None:
    if not np.isfinite(values).all():
        raise UsageError("scores must be finite numbers or null; found NaN or infinity")


def _sum_by_cluster(
    numerator: Float[np.ndarray, " utterance"],
    denominator: Float[np.ndarray, " utterance"],
    names: Sequence[str],
) -> _Sums:
    size, index = _places(tuple(names))
    return _Sums(
        np.bincount(index, weights=numerator, minlength=size),
        np.bincount(index, weights=denominator, minlength=size),
        np.bincount(index, minlength=size).astype(np.float64),
    )


@lru_cache(maxsize=64)
def _places(names: tuple[str, ...]) -> tuple[int, Int[np.ndarray, " utterance"]]:
    """Return how many clusters there are, and the place of each utterance's own; all scores of a run share them."""
    # Sorted names: the draws of a seed do not depend on the order of the utterances.
    unique, index = np.unique(np.asarray(names), return_inverse=True)
    return len(unique), index


def _estimate(sums: _Sums, seed: int) -> Estimate:
    value, clusters = sums.ratio, sums.n_clusters
    magnitude = np.abs(sums.numerator) + np.abs(value * sums.denominator)
    if clusters < FEWEST_CLUSTERS:
        return Estimate(value, None, None, sums.n, clusters, ci_reason="fewer-than-5-clusters")
    if (np.abs(sums.residual) <= _ROUNDING * magnitude).all():
        return Estimate(
            value, None, None, sums.n, clusters, ci_reason="no-variation-between-clusters"
        )
    error = _standard_error(sums)
    k = float(skewness(sums.residual[:, None], np.array([clusters]))[0])
    below, above = (
        error.value * max(error.quantile, float(end * unskewed(end * error.quantile, np.array(k))))
        for end in (1, -1)
    )
    low, high = value - below, value + above
    if clusters < BOOTSTRAP_CLUSTERS:
        return Estimate(value, low, high, sums.n, clusters)
    draws = _bootstrap(sums, seed)
    if draws is None:
        return Estimate(value, None, None, sums.n, clusters, ci_reason="unstable-ratio")
    alpha = float(ndtr(-error.quantile * error.value / error.plain))
    first, last = np.quantile(draws, [alpha, 1 - alpha]).tolist()
    return Estimate(
        value,
        min(low, first),
        max(high, last),
        sums.n,
        clusters,
        bootstrap=(first, last),
    )


@dataclass(frozen=True)
class _StandardError:
    """sqrt(v), sqrt(v0) and the 97.5 % quantile of t(df), as the module says them."""

    value: float
    plain: float
    quantile: float


def _standard_error(sums: _Sums) -> _StandardError:
    sizes, total = sums.sizes, float(sums.denominator.sum())
    share = sums.denominator / total
    n = float(sizes.sum())
    m_cc = sizes - 2 * sizes * share + n * share**2
    weight = sizes / m_cc
    squares = sums.residual**2
    # Sum of n_c n_d / (m_cc m_dd) m_cd^2 in one pass: m is diagonal less a matrix of rank two.
    p, q, x = (float((weight * v).sum()) for v in (sizes**2, share**2, sizes * share))
    own = float((weight**2 * sizes * (2 * m_cc - sizes)).sum())
    freedom = n**2 / (own + 2 * p * q + n**2 * q**2 + 2 * x**2 - 4 * n * x * q)
    return _StandardError(
        value=float(np.sqrt((weight * squares).sum())) / total,
        plain=float(np.sqrt(squares.sum())) / total,
        quantile=float(stdtrit(freedom, (1 + LEVEL) / 2)),
    )


def skewness(
    residual: Float[np.ndarray, "cluster column"], counts: Int[np.ndarray, " column"]
) -> Float[np.ndarray, " column"]:
    """Return k of every column: the skewness of its clusters over the square root of their number.

    counts: how many clusters a column has; residuals of the others are 0. 0 where nothing varies, or with 2 clusters.
    """
    squares = (residual**2).sum(axis=0)
    known = (squares > 0) & (counts > 2)
    correction = np.sqrt(counts * (counts - 1.0)) / np.where(known, counts - 2.0, 1.0)
    k = (residual**3).sum(axis=0) / np.where(known, squares, 1.0) ** 1.5 * correction
    return np.where(known & (np.abs(k) >= _ROUNDING), k, 0.0)


def unskewed(
    quantile: float | Float[np.ndarray, "*column"], k: Float[np.ndarray, "*column"]
) -> Float[np.ndarray, "*column"]:
    """Return h(quantile): what the studentised ratio of such clusters reaches where a symmetric one reaches it."""
    safe = np.where(k == 0, 1.0, k)
    moved = 3 / safe * (np.cbrt(1 + safe * (quantile - safe / 6)) - 1)
    return np.where(k == 0, quantile, moved)


def _bootstrap(sums: _Sums, seed: int) -> Float[np.ndarray, " draw"] | None:
    """Draw clusters with replacement; return the ratio of every draw, None if one has no ratio."""
    numerator, denominator = (
        _drawn_sum(seed, DRAWS, values.tobytes()) for values in (sums.numerator, sums.denominator)
    )
    if (denominator <= 0).any():
        return None
    ratios: Float[np.ndarray, " draw"] = numerator / denominator
    return ratios


@lru_cache(maxsize=64)  # the floor and the ceiling are the same for every method of a task
def _drawn_sum(seed: int, draws: int, values: bytes) -> Float[np.ndarray, " draw"]:
    """Return the sum over the clusters of every draw; values: float64, one per cluster."""
    per_cluster = np.frombuffer(values, dtype=np.float64)
    counts = drawn_counts(seed, len(per_cluster), draws)
    block = max(1, _CELLS_IN_CACHE // len(per_cluster))
    # einsum, not BLAS: the last digits must not depend on the number of threads.
    return np.concatenate(
        [
            np.einsum("dc,c->d", counts[first : first + block].astype(np.float64), per_cluster)
            for first in range(0, draws, block)
        ]
    )


@lru_cache(maxsize=1)  # all scores of a task draw the same clusters
def drawn_counts(seed: int, clusters: int, draws: int) -> UInt16[np.ndarray, "draw cluster"]:
    """Return how often each draw takes each cluster."""
    generator = np.random.default_rng(seed)
    counts = np.empty((draws, clusters), dtype=np.uint16)
    block = max(1, _CELLS_AT_ONCE // clusters)  # bounds memory however many clusters there are
    for first in range(0, draws, block):
        rows = min(block, draws - first)
        drawn = generator.integers(clusters, size=(rows, clusters))
        flat = (drawn + clusters * np.arange(rows)[:, None]).ravel()
        counts[first : first + rows] = np.bincount(flat, minlength=rows * clusters).reshape(
            rows, clusters
        )
    return counts
