"""Which methods differ on one score: all pairs at once, with clustered utterances.

Every pair of methods is compared on the utterances that both have. Its cluster sums
d_c = sum_{u in c} (x_iu - x_ju) give

    T = |sum_c d_c| / sqrt(sum_c d_c^2)

Where two methods do not differ, the sign of each d_c is as likely + as -, so the distribution of
T comes from flipping the signs of whole clusters, the same flips for all pairs (which keeps how the
pairs depend on each other). 10,000 random flips, or all 2^(C-1) distinct ones where that is fewer.
Before that the observed T is corrected for skewness, downwards only. With n clusters, t = T sqrt((n - 1) / (n - T^2))
is Student's statistic, and k the skewness of the cluster sums over sqrt(n), as in `stats.intervals`:

    g(t) = ((1 + k t / 3)^3 - 1) / k + k / 6      |t| becomes min(|t|, |g(t)|), and 0 where g turns its sign

since a mean of few skewed clusters, which often miss their tail, looks further from 0 than it is (Hall 1992).
Adjusted p by step-down max-T: the pairs in falling order of T, each against the maximum over itself
and those after it (Westfall and Young 1993, algorithm 2.8; Romano and Wolf 2005, Econometrica 73).
This holds the chance of any false finding among all pairs at 5 % where cluster sums of methods that do not differ are
symmetric about 0. Where they are skewed it is 0.04 to 0.08, and where rare clusters are far worse for one method only,
which a sample often misses, 0.13 to 0.18 with up to 30 clusters (docs/validity.md).

Intervals are the single-step test turned round: the differences delta for which
the corrected T of (d_c - delta n_c) stays at or below the 95 % quantile q of the maximum over all pairs. They hold
simultaneously. They are null, `too-few-clusters`, where (sum n)^2 <= q^2 sum n^2 (q as corrected for either end).

Ranks: a method can be no better than 1 + the number of methods found better than it, and no worse
than M - the number found worse. These intervals cover all true ranks together (Mogstad, Romano,
Shaikh and Wilhelm 2024, Review of Economic Studies 91). The best group holds the method with the
best mean and those not distinguished from it: not distinguished, not proven equal.

Below 6 clusters no flip can reach p < 0.05: everything but the differences is then null,
`fewer-than-6-clusters`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from statistics import median

import numpy as np
from jaxtyping import Float, Int

from xbench.errors import UsageError
from xbench.stats.intervals import skewness, unskewed

FEWEST_CLUSTERS = 6  # 2^(1 - 6) = 0.031 is the first smallest p below 0.05
FLIPS = 10_000
ALPHA = 0.05

_CELLS_AT_ONCE = 1 << 21
_FLIPS_AT_ONCE = 5_000
_PAIRS_AT_ONCE = 32
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Pair:
    """Two methods on the utterances both have: `difference` = mean of first minus mean of second.

    low, high: the simultaneous 95 % interval. p: adjusted for all pairs. n, n_clusters: what is
    compared. reason: why `p` is None; interval_reason: why the interval is.
    """

    first: str
    second: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    n_clusters: int
    reason: str | None = None
    interval_reason: str | None = None

    @property
    def distinguished(self) -> bool:
        """True where the two differ at the 5 % level of the whole family."""
        return self.p is not None and self.p <= ALPHA


@dataclass(frozen=True)
class Comparison:
    """All pairs of methods on one score.

    order: the methods that have a value, best mean first. best_group: not distinguished from the
    best, in that order. rank_low, rank_high: the best and the worst rank that each method may have.
    n: utterances that all of `order` have; n_clusters: clusters that any pair compares.
    reason: why there is no test (best_group and ranks are then empty).
    """

    pairs: tuple[Pair, ...]
    order: tuple[str, ...]
    best_group: tuple[str, ...]
    rank_low: Mapping[str, int] = field(default_factory=dict)
    rank_high: Mapping[str, int] = field(default_factory=dict)
    n: int = 0
    n_clusters: int = 0
    reason: str | None = None

    @property
    def resolution(self) -> float | None:
        """Return how far a method must lie from the best to be told apart: the power of this table.

        The median, over the pairs with the best method, of half the width of their simultaneous intervals; None
        where none has an interval. A best group whose members lie further apart than this says little.
        """
        halves = [
            (pair.high - pair.low) / 2
            for pair in self.pairs
            if self.order[0] in (pair.first, pair.second)
            and pair.low is not None
            and pair.high is not None
        ]
        return median(halves) if halves else None

    def pair(self, first: str, second: str) -> Pair:
        """Return the pair of these two methods, whichever comes first."""
        for pair in self.pairs:
            if {pair.first, pair.second} == {first, second}:
                return pair
        raise UsageError(f"'{first}' and '{second}' are not compared")


def compare(
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    clusters: Sequence[str],
    *,
    higher_is_better: bool,
    seed: int,
) -> Comparison:
    """Compare all pairs of methods by step-down max-T with sign flips shared by the clusters.

    Shapes: names [method], values [method, utterance] with None where a method has no value,
    clusters [utterance]. A method without any value takes part in no pair and has no rank. Equal
    means keep the order of `names`. Null: `fewer-than-2-methods`, `fewer-than-6-clusters`; of a
    pair, `no-common-utterance`. Raises UsageError on repeated names, NaN, infinity, or lengths that do not
    agree. Source: scoring section 5; the module says the formulas.
    """
    table = _table(names, values, clusters)
    known = ~np.isnan(table)
    means = {
        name: float(row[has].mean())
        for name, row, has in zip(names, table, known, strict=True)
        if has.any()
    }
    sign = -1 if higher_is_better else 1
    order = tuple(sorted(means, key=lambda name: sign * means[name]))
    rows = [names.index(name) for name in order]
    sums = _pair_sums(table[rows], clusters)
    pairs = list(combinations(order, 2))
    n = int(known[rows].all(axis=0).sum()) if rows else 0
    n_clusters = int((sums.sizes > 0).any(axis=1).sum())
    reason = None
    if len(order) < 2:
        reason = "fewer-than-2-methods"
    elif n_clusters < FEWEST_CLUSTERS:
        reason = "fewer-than-6-clusters"
    if reason:
        untested = tuple(
            _untested(first, second, difference, size, in_clusters, reason)
            for (first, second), (difference, size, in_clusters) in zip(
                pairs, _mean_differences(sums), strict=True
            )
        )
        return Comparison(untested, order, (), n=n, n_clusters=n_clusters, reason=reason)
    p, quantile = _step_down(sums, seed)
    tested = tuple(_tested(pairs, sums, p, quantile))
    better = dict.fromkeys(order, 0)
    worse = dict.fromkeys(order, 0)
    for pair in tested:
        if pair.distinguished and pair.difference is not None:
            first_wins = (pair.difference > 0) == higher_is_better
            winner, loser = (pair.first, pair.second) if first_wins else (pair.second, pair.first)
            better[loser] += 1
            worse[winner] += 1
    apart = {p.second for p in tested if p.first == order[0] and p.distinguished}
    return Comparison(
        pairs=tested,
        order=order,
        best_group=tuple(name for name in order if name not in apart),
        rank_low={name: 1 + better[name] for name in order},
        rank_high={name: len(order) - worse[name] for name in order},
        n=n,
        n_clusters=n_clusters,
    )


def _table(
    names: Sequence[str], values: Sequence[Sequence[float | None]], clusters: Sequence[str]
) -> Float[np.ndarray, "method utterance"]:
    """Return the values as an array with NaN where there is none."""
    if len(set(names)) != len(names):
        raise UsageError("two methods of a comparison have the same name; give each its own")
    if len(values) != len(names) or any(len(row) != len(clusters) for row in values):
        raise UsageError(
            "a comparison needs one row of values per method and one cluster per utterance"
        )
    for row in values:
        if not all(value is None or math.isfinite(value) for value in row):
            raise UsageError("scores must be finite numbers or null; found NaN or infinity")
    filled = [[math.nan if value is None else value for value in row] for row in values]
    return np.array(filled, dtype=np.float64).reshape(len(names), len(clusters))


@dataclass(frozen=True)
class _PairSums:
    """Differences summed per cluster, and how many utterances each sum has."""

    differences: Float[np.ndarray, "cluster pair"]
    sizes: Float[np.ndarray, "cluster pair"]

    @cached_property
    def statistics(self) -> Float[np.ndarray, " pair"]:
        """T corrected for skewness."""
        n, k = self.counts, self.skewness
        plain = self.scaled.sum(axis=0)
        t = _student(plain, n)
        safe = np.where(k == 0, 1.0, k)
        g = np.where(k == 0, t, ((1 + safe * t / 3) ** 3 - 1) / safe + safe / 6)
        kept = np.where(np.sign(g) == np.sign(t), np.abs(g), 0.0)
        corrected: Float[np.ndarray, " pair"] = np.where(
            kept < np.abs(t), _flipped(kept, n), np.abs(plain)
        )
        return corrected

    @cached_property
    def counts(self) -> Int[np.ndarray, " pair"]:
        """The number of clusters of each pair."""
        counts: Int[np.ndarray, " pair"] = (self.sizes > 0).sum(axis=0)
        return counts

    @cached_property
    def residual(self) -> Float[np.ndarray, "cluster pair"]:
        """d_c less the mean difference times the size of the cluster."""
        n = self.sizes.sum(axis=0)
        mean = self.differences.sum(axis=0) / np.where(n > 0, n, 1.0)
        residual: Float[np.ndarray, "cluster pair"] = self.differences - mean * self.sizes
        return residual

    @cached_property
    def skewness(self) -> Float[np.ndarray, " pair"]:
        """k of each pair; 0 where its clusters do not vary."""
        residual = self.residual
        rounding = 1e-12 * np.abs(self.differences).max(axis=0, initial=0.0)
        varying = (np.abs(residual) > rounding).any(axis=0)
        k: Float[np.ndarray, " pair"] = np.where(varying, skewness(residual, self.counts), 0.0)
        return k

    @cached_property
    def scaled(self) -> Float[np.ndarray, "cluster pair"]:
        """d_c / sqrt(sum d^2), which flips leave as it is; 0 for a pair that never differs."""
        norm = np.sqrt((self.differences**2).sum(axis=0))
        return self.differences / np.where(norm > 0, norm, 1.0)


def _student(
    statistic: Float[np.ndarray, " pair"], counts: Int[np.ndarray, " pair"]
) -> Float[np.ndarray, " pair"]:
    """Return Student's t from sum d / sqrt(sum d^2), with its sign."""
    room = np.maximum(counts - statistic**2, 1e-12)
    student: Float[np.ndarray, " pair"] = statistic * np.sqrt(np.maximum(counts - 1, 0) / room)
    return student


def _flipped(
    student: Float[np.ndarray, " pair"], counts: Int[np.ndarray, " pair"]
) -> Float[np.ndarray, " pair"]:
    """Return sum d / sqrt(sum d^2) from Student's t."""
    statistic: Float[np.ndarray, " pair"] = student * np.sqrt(
        counts / np.maximum(counts - 1 + student**2, 1.0)
    )
    return statistic


def _pair_sums(table: Float[np.ndarray, "method utterance"], clusters: Sequence[str]) -> _PairSums:
    """Sum the differences of the pairs in the order of `itertools.combinations`."""
    # Sorted names: the flips of a seed do not depend on the order of the utterances.
    unique, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(len(unique)))
    table = table[:, order]
    firsts, seconds = np.triu_indices(len(table), 1)
    differences = np.zeros((len(unique), len(firsts)))
    sizes = np.zeros_like(differences)
    block = max(1, _CELLS_AT_ONCE // max(1, table.shape[1]))
    for start in range(0, len(firsts), block):
        columns = slice(start, start + block)
        between = table[firsts[columns]] - table[seconds[columns]]
        common = ~np.isnan(between)
        differences[:, columns] = np.add.reduceat(np.where(common, between, 0), starts, axis=1).T
        sizes[:, columns] = np.add.reduceat(common.astype(np.float64), starts, axis=1).T
    return _PairSums(differences, sizes)


def _step_down(sums: _PairSums, seed: int) -> tuple[Float[np.ndarray, " pair"], float]:
    """Return the adjusted p of every pair, and the 95 % quantile of the maximum over all pairs."""
    statistics = sums.statistics
    falling = np.argsort(-statistics, kind="stable")
    scaled = np.ascontiguousarray(sums.scaled[:, falling].T)
    bounds = (statistics[falling] * (1 - _ROUNDING)).tolist()
    reached = np.zeros(len(bounds))
    maxima: list[Float[np.ndarray, " flip"]] = []
    clusters = scaled.shape[1]
    exact = 2 ** (clusters - 1) <= FLIPS
    for signs in _flips(clusters, exact, seed):
        largest = np.zeros(len(signs))  # over a pair and those after it
        # A few pairs at a time, whose flips stay in the cache.
        for end in range(len(bounds), 0, -_PAIRS_AT_ONCE):
            start = max(0, end - _PAIRS_AT_ONCE)
            flipped = np.abs(scaled[start:end] @ signs.T)
            for place in range(end - 1, start - 1, -1):
                np.maximum(largest, flipped[place - start], out=largest)
                reached[place] += np.count_nonzero(largest >= bounds[place])
        maxima.append(largest)
    flips = np.concatenate(maxima)
    # All flips hold the unflipped data among them; random ones count it once more.
    extra = 0 if exact else 1
    p = np.maximum.accumulate((reached + extra) / (len(flips) + extra))
    ordered = np.empty_like(p)
    ordered[falling] = p
    return ordered, float(np.quantile(flips, 1 - ALPHA, method="higher"))


def _flips(clusters: int, exact: bool, seed: int) -> Iterator[Float[np.ndarray, "flip cluster"]]:
    """Yield the signs of the clusters in blocks: all that differ in |sum|, or random ones."""
    count = 2 ** (clusters - 1) if exact else FLIPS
    generator = np.random.default_rng(seed)
    block = max(1, min(_FLIPS_AT_ONCE, _CELLS_AT_ONCE // clusters))
    for first in range(0, count, block):
        rows = min(block, count - first)
        if exact:  # the last cluster keeps its sign
            bits = (np.arange(first, first + rows)[:, None] >> np.arange(clusters)) & 1
        else:
            bits = generator.integers(2, size=(rows, clusters))
        yield 1.0 - 2.0 * bits


def _mean_differences(sums: _PairSums) -> list[tuple[float | None, int, int]]:
    """Return of each pair the mean difference, its utterances and its clusters."""
    n = sums.sizes.sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = sums.differences.sum(axis=0) / n
    counts = (sums.sizes > 0).sum(axis=0)
    columns = zip(means.tolist(), n.astype(int).tolist(), counts.tolist(), strict=True)
    return [(mean if k else None, k, clusters) for mean, k, clusters in columns]


def _untested(
    first: str, second: str, difference: float | None, n: int, n_clusters: int, reason: str
) -> Pair:
    why = reason if n else "no-common-utterance"
    return Pair(first, second, difference, None, None, None, n, n_clusters, why, why)


def _tested(
    pairs: Sequence[tuple[str, str]],
    sums: _PairSums,
    p: Float[np.ndarray, " pair"],
    quantile: float,
) -> Iterator[Pair]:
    """Yield the pairs with their intervals."""
    means = _mean_differences(sums)
    d, residual = sums.differences, sums.residual
    constant = (np.abs(residual) <= 1e-12 * (np.abs(d) + np.abs(d - residual))).all(axis=0)
    lower, upper = (_reach(sums, quantile, end).tolist() for end in (-1, 1))
    columns = zip(pairs, means, constant.tolist(), lower, upper, p.tolist(), strict=True)
    for (first, second), (difference, n, n_clusters), still, below, above, own in columns:
        if difference is None:
            yield _untested(first, second, None, n, n_clusters, "no-common-utterance")
            continue
        why, low, high = None, None, None
        if still:
            why = "no-variation-between-clusters"
        elif math.isnan(below) or math.isnan(above):
            why = "too-few-clusters"
        else:
            low, high = difference + below, difference + above
        yield Pair(first, second, difference, low, high, own, n, n_clusters, None, why)


def _reach(sums: _PairSums, quantile: float, end: int) -> Float[np.ndarray, " pair"]:
    """Return how far from the difference the interval of each pair ends (end: -1 below, 1 above); NaN for no end.

    With q the quantile, corrected for skewness at this end, and delta = difference + x, the end solves the quadratic
    (n x)^2 = q^2 sum (e_c - x n_c)^2.
    """
    counts, residual, sizes = sums.counts, sums.residual, sums.sizes
    plain = _student(np.full(len(counts), quantile), counts)
    corrected = -end * unskewed(-end * plain, sums.skewness)
    square = np.where(corrected > plain, _flipped(corrected, counts), quantile) ** 2
    a = sizes.sum(axis=0) ** 2 - square * (sizes**2).sum(axis=0)
    b = square * (residual * sizes).sum(axis=0)
    root = np.sqrt(np.maximum(b**2 + a * square * (residual**2).sum(axis=0), 0))
    reach: Float[np.ndarray, " pair"] = np.where(
        a > 0, (-b + end * root) / np.where(a > 0, a, 1.0), np.nan
    )
    return reach
