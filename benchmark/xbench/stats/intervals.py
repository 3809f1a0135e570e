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

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, compress

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr, stdtrit

from xbench.errors import UsageError
from xbench.stats.draws import DRAWS, drawn_ratios

FEWEST_CLUSTERS = 5
BOOTSTRAP_CLUSTERS = 40
LEVEL = 0.95
SMALLEST_RANGE = 0.1

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


Column = Sequence[float | None]
"""A value per utterance, None where there is none."""


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


_Asked = _Sums | Estimate  # an estimate where there is nothing to compute it from


def mean_estimate(values: Column, clusters: Sequence[str], *, seed: int) -> Estimate:
    """Return the mean of the defined values with its interval.

    mean = sum_u x_u / n, a_c = sum of cluster c, b_c = its number of values. A cluster counts if it
    has a defined value. Null: `no-defined-value`. Source: scoring section 5.
    """
    return estimates(clusters, seed=seed, means=[values]).means[0]


def skill(
    scores: Column, floors: Column, ceilings: Column, clusters: Sequence[str], *, seed: int
) -> Estimate:
    """Return how far the scores go from the floor towards the ceiling, as a ratio of means.

    (S - F) / (C - F), means over the utterances where all three exist, clusters drawn jointly;
    never clipped. Null: `no-defined-value`; `ceiling-not-above-floor` where the lower limit of
    C - F is below 0.1; `fewer-than-5-clusters` where that limit cannot be computed. Where C - F is
    the same in every cluster it is its own limit. Source: scoring section 4.
    """
    return estimates(clusters, seed=seed, skills=[(scores, floors, ceilings)]).skills[0]


def _skill(
    kept: list[Float[np.ndarray, " utterance"]], names: Sequence[str], available: Estimate
) -> _Asked:
    """Return the sums of a skill, or why there is none; available: the mean of ceiling less floor."""
    if available.value is None:
        return available
    score, floor, ceiling = kept
    if available.n_clusters < FEWEST_CLUSTERS:
        return _null(available, available.ci_reason)
    limit = available.value if available.low is None else available.low
    if limit < SMALLEST_RANGE:
        return _null(available, "ceiling-not-above-floor")
    return _sum_by_cluster(score - floor, ceiling - floor, names)


def disattenuated(
    scores: Column, ceilings: Column, clusters: Sequence[str], *, seed: int
) -> Estimate:
    """Return the scores corrected for the noise of the reference, as a ratio of means.

    mean S / mean C over the utterances where both exist; above 1 it stays, with `above_one`.
    Null: `no-defined-value`; `ceiling-not-positive` where mean C <= 0. Source: scoring section 4.
    """
    asked = [(scores, ceilings)]
    return estimates(clusters, seed=seed, disattenuated=asked).disattenuated[0]


@dataclass(frozen=True)
class Estimates:
    """What `estimates` returns, each in the order in which it was asked for."""

    means: list[Estimate]
    skills: list[Estimate]
    disattenuated: list[Estimate]


def estimates(
    clusters: Sequence[str],
    *,
    seed: int,
    means: Sequence[Column] = (),
    skills: Sequence[tuple[Column, Column, Column]] = (),
    disattenuated: Sequence[tuple[Column, Column]] = (),
) -> Estimates:
    """Return many estimates over the same utterances: of each column its `mean_estimate`, and so on.

    skills: scores, floors, ceilings. disattenuated: scores, ceilings. The numbers are those of the functions for one in
    a fraction of the time: with few clusters the calls take longer than the arithmetic.
    """
    asked = {id(c): c for c in chain(means, *skills, *disattenuated)}  # many are asked for twice
    arrays = {key: _array(column, clusters) for key, column in asked.items()}

    def complete(*series: Column) -> tuple[list[Float[np.ndarray, " utterance"]], list[str]]:
        return _complete([arrays[id(column)] for column in series], clusters)

    single = [complete(column) for column in means]
    threes = [complete(*three) for three in skills]
    pairs = [complete(*pair) for pair in disattenuated]
    plain = _estimates(
        [
            *(_mean(values, names) for (values,), names in single),
            *(_mean(kept[2] - kept[1], names) for kept, names in threes),
        ],
        seed,
    )
    ranges = plain[len(single) :]
    ratios = _estimates(
        [
            *(_skill(*three, room) for three, room in zip(threes, ranges, strict=True)),
            *(_ratio(s, c, names) for (s, c), names in pairs),
        ],
        seed,
    )
    return Estimates(plain[: len(single)], ratios[: len(threes)], ratios[len(threes) :])


def _ratio(
    scores: Float[np.ndarray, " utterance"],
    ceilings: Float[np.ndarray, " utterance"],
    names: Sequence[str],
) -> _Asked:
    if not names:
        return _nothing("no-defined-value")
    sums = _sum_by_cluster(scores, ceilings, names)
    if sums.denominator.sum() <= 0:
        return Estimate(None, None, None, sums.n, sums.n_clusters, "ceiling-not-positive")
    return sums


def _mean(values: Float[np.ndarray, " utterance"], names: Sequence[str]) -> _Asked:
    return _sum_by_cluster(values, None, names) if names else _nothing("no-defined-value")


def _nothing(reason: str) -> Estimate:
    return Estimate(None, None, None, 0, 0, reason)


def _null(of: Estimate, reason: str | None) -> Estimate:
    return Estimate(None, None, None, of.n, of.n_clusters, reason)


@dataclass(frozen=True)
class _Values:
    """A column as numbers, 0 where it has no value. has: where it has one, None for everywhere."""

    numbers: Float[np.ndarray, " utterance"]
    has: Bool[np.ndarray, " utterance"] | None


def _array(column: Column, clusters: Sequence[str]) -> _Values:
    if len(column) != len(clusters):
        raise ValueError(f"{len(column)} values for {len(clusters)} clusters")
    has = None
    if None in column:
        has = np.array([value is not None for value in column], dtype=bool)
        column = [0.0 if value is None else value for value in column]
    numbers = np.array(column, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise UsageError("scores must be finite numbers or null; found NaN or infinity")
    return _Values(numbers, has)


def _complete(
    series: Sequence[_Values], clusters: Sequence[str]
) -> tuple[list[Float[np.ndarray, " utterance"]], list[str]]:
    """Keep the utterances where every series has a value, with their cluster names."""
    masks = [each.has for each in series if each.has is not None]
    if not masks:
        return [each.numbers for each in series], list(clusters)
    whole = np.logical_and.reduce(masks)
    return [each.numbers[whole] for each in series], list(compress(clusters, whole))


def _sum_by_cluster(
    numerator: Float[np.ndarray, " utterance"],
    denominator: Float[np.ndarray, " utterance"] | None,
    names: Sequence[str],
) -> _Sums:
    """Return the sums of the clusters; without a denominator it is the number of utterances."""
    index, sizes = _places(tuple(names))
    return _Sums(
        np.bincount(index, weights=numerator, minlength=len(sizes)),
        sizes
        if denominator is None
        else np.bincount(index, weights=denominator, minlength=len(sizes)),
        sizes,
    )


@lru_cache(maxsize=64)
def _places(
    names: tuple[str, ...],
) -> tuple[Int[np.ndarray, " utterance"], Float[np.ndarray, " cluster"]]:
    """Return the place of each utterance's own cluster, and the sizes of clusters; all scores of a run share them."""
    # Sorted names: the draws of a seed do not depend on the order of the utterances.
    unique, index = np.unique(np.asarray(names), return_inverse=True)
    return index, np.bincount(index, minlength=len(unique)).astype(np.float64)


def _estimates(asked: Sequence[_Asked], seed: int) -> list[Estimate]:
    """Return the estimate of each; those whose clusters have the same sizes are computed together."""
    found = {place: each for place, each in enumerate(asked) if isinstance(each, Estimate)}
    together: dict[bytes, dict[int, _Sums]] = defaultdict(dict)
    for place, each in enumerate(asked):
        if isinstance(each, _Sums):
            together[each.sizes.tobytes()][place] = each
    for group in together.values():
        found.update(zip(group, _of_equal_sizes(list(group.values()), seed), strict=True))
    return [found[place] for place in range(len(asked))]


def _of_equal_sizes(group: Sequence[_Sums], seed: int) -> list[Estimate]:
    sizes, n, clusters = group[0].sizes, group[0].n, group[0].n_clusters
    numerator = np.stack([sums.numerator for sums in group])
    denominator = np.stack([sums.denominator for sums in group])
    ratio = numerator.sum(axis=1) / denominator.sum(axis=1)
    values = ratio.tolist()
    if clusters < FEWEST_CLUSTERS:
        why = "fewer-than-5-clusters"
        return [Estimate(value, None, None, n, clusters, ci_reason=why) for value in values]
    expected = ratio[:, None] * denominator
    # What each cluster contributes to the error of the ratio, a_c - R b_c; it sums to zero.
    residual = numerator - expected
    rounding = _ROUNDING * (np.abs(numerator) + np.abs(expected))
    constant = (np.abs(residual) <= rounding).all(axis=1).tolist()
    error = _standard_error(denominator, residual, sizes)
    k = skewness(residual.T, np.full(len(group), clusters))
    below, above = (
        error.value * np.maximum(error.quantile, end * unskewed(end * error.quantile, k))
        for end in (1, -1)
    )
    alphas = ndtr(-error.quantile * error.value / np.where(constant, 1.0, error.plain))
    ends = zip((ratio - below).tolist(), (ratio + above).tolist(), alphas.tolist(), strict=True)
    found = []
    for value, still, (low, high, alpha), sums in zip(values, constant, ends, group, strict=True):
        if still:
            why = "no-variation-between-clusters"
            found.append(Estimate(value, None, None, n, clusters, ci_reason=why))
        elif clusters < BOOTSTRAP_CLUSTERS:
            found.append(Estimate(value, low, high, n, clusters))
        elif (draws := _drawn(sums, seed)) is None:
            found.append(Estimate(value, None, None, n, clusters, ci_reason="unstable-ratio"))
        else:
            first, last = np.quantile(draws, [alpha, 1 - alpha]).tolist()
            low, high = min(low, first), max(high, last)
            found.append(Estimate(value, low, high, n, clusters, bootstrap=(first, last)))
    return found


def _drawn(sums: _Sums, seed: int) -> Float[np.ndarray, " draw"] | None:
    return drawn_ratios(sums.numerator, sums.denominator, seed, DRAWS)


@dataclass(frozen=True)
class _StandardError:
    """sqrt(v), sqrt(v0) and the 97.5 % quantile of t(df) of every ratio, as the module says them."""

    value: Float[np.ndarray, " ratio"]
    plain: Float[np.ndarray, " ratio"]
    quantile: Float[np.ndarray, " ratio"]


def _standard_error(
    denominator: Float[np.ndarray, "ratio cluster"],
    residual: Float[np.ndarray, "ratio cluster"],
    sizes: Float[np.ndarray, " cluster"],
) -> _StandardError:
    total = denominator.sum(axis=1)
    share = denominator / total[:, None]
    n = float(sizes.sum())
    m_cc = sizes - 2 * sizes * share + n * share**2
    weight = sizes / m_cc
    squares = residual**2
    # Sum of n_c n_d / (m_cc m_dd) m_cd^2 in one pass: m is diagonal less a matrix of rank two.
    p, q, x = ((weight * v).sum(axis=1) for v in (sizes**2, share**2, sizes * share))
    own = (weight**2 * sizes * (2 * m_cc - sizes)).sum(axis=1)
    freedom = n**2 / (own + 2 * p * q + n**2 * q**2 + 2 * x**2 - 4 * n * x * q)
    return _StandardError(
        value=np.sqrt((weight * squares).sum(axis=1)) / total,
        plain=np.sqrt(squares.sum(axis=1)) / total,
        quantile=stdtrit(freedom, (1 + LEVEL) / 2),
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
