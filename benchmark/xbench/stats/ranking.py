"""Whether two ways of scoring put methods into the same order: Kendall's tau-b with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from xbench.errors import UsageError
from xbench.stats.draws import DRAWS, drawn_counts
from xbench.stats.intervals import FEWEST_CLUSTERS, LEVEL, Estimate

FEWEST_METHODS = 3

_CELLS_AT_ONCE = 1 << 21
_TIE = 1e-12


def rank_agreement(
    first: Sequence[Sequence[float | None]],
    second: Sequence[Sequence[float | None]],
    clusters: Sequence[str],
    *,
    seed: int,
) -> Estimate:
    """Return Kendall's tau-b between the orders of the methods' means under two scores.

    tau_b = sum_ij s_ij t_ij / sqrt(sum_ij |s_ij| sum_ij |t_ij|), s and t the signs of the differences of means
    of methods i < j under either score; means within 1e-12 are tied.
    Shapes: first, second [method, utterance], both with higher as better; clusters [utterance].
    An utterance counts where every method has both scores. The interval is the percentile
    bootstrap over clusters, drawn jointly for both scores. Draws add noise to the order, so where
    methods are close together the interval lies below the value.
    Null: `fewer-than-3-methods`, `no-common-utterance`, `all-tied`; of the interval
    `fewer-than-5-clusters`, and `unstable-ranking` where a draw ties all methods.
    Source: Kendall 1945, Biometrika 33.
    """
    if len(first) != len(second):
        raise UsageError("both scores need one row per method")
    n_methods = len(first)
    tables = [_table(rows, len(clusters)) for rows in (first, second)]
    common = ~np.isnan(np.concatenate(tables)).any(axis=0)
    unique, index = np.unique(np.asarray(clusters, dtype=str)[common], return_inverse=True)
    n, n_clusters = int(common.sum()), len(unique)
    if n_methods < FEWEST_METHODS:
        return Estimate(None, None, None, n, n_clusters, "fewer-than-3-methods")
    if not n:
        return Estimate(None, None, None, 0, 0, "no-common-utterance")
    values = np.concatenate(tables)[:, common]
    sums = np.stack([np.bincount(index, row, n_clusters) for row in values])
    sizes = np.bincount(index, minlength=n_clusters).astype(np.float64)
    means = sums.sum(axis=1)[None] / n
    tau = float(_tau_b(means[:, :n_methods], means[:, n_methods:])[0])
    if math.isnan(tau):
        return Estimate(None, None, None, n, n_clusters, "all-tied")
    if n_clusters < FEWEST_CLUSTERS:
        return Estimate(tau, None, None, n, n_clusters, ci_reason="fewer-than-5-clusters")
    counts = drawn_counts(seed, n_clusters, DRAWS)
    taus = []
    for weights in _blocks(counts, n_methods):
        totals = _drawn_means(sums, sizes, weights)
        taus.append(_tau_b(totals[:, :n_methods], totals[:, n_methods:]))
    return _with_interval(tau, np.concatenate(taus), n, n_clusters)


def rank_agreement_apart(
    first: Sequence[Sequence[float | None]],
    second: Sequence[Sequence[float | None]],
    clusters: tuple[Sequence[str], Sequence[str]],
    *,
    seed: int,
) -> Estimate:
    """Return Kendall's tau-b between the orders of the methods' means on two sets of utterances.

    As `rank_agreement`, for scores of different utterances (another language, another task): each set's clusters are
    drawn for themselves. No speaker may be in both sets, else the interval is too wide.
    Shapes: first [method, utterance], second [method, other utterance], both with higher as better; clusters: those of
    either set. `n` counts the utterances of both, `n_clusters` those of the set that has fewer.
    """
    if len(first) != len(second):
        raise UsageError("both scores need one row per method")
    n_methods = len(first)
    sets = []
    for rows, names in zip((first, second), clusters, strict=True):
        values = _table(rows, len(names))
        common = ~np.isnan(values).any(axis=0)
        unique, index = np.unique(np.asarray(names, dtype=str)[common], return_inverse=True)
        sums = np.stack([np.bincount(index, row, len(unique)) for row in values[:, common]])
        sets.append((sums, np.bincount(index, minlength=len(unique)).astype(np.float64)))
    n = int(sum(sizes.sum() for _, sizes in sets))
    n_clusters = min(len(sizes) for _, sizes in sets)
    if n_methods < FEWEST_METHODS:
        return Estimate(None, None, None, n, n_clusters, "fewer-than-3-methods")
    if not n_clusters:
        return Estimate(None, None, None, 0, 0, "no-common-utterance")
    one, other = (sums.sum(axis=1)[None] / sizes.sum() for sums, sizes in sets)
    tau = float(_tau_b(one, other)[0])
    if math.isnan(tau):
        return Estimate(None, None, None, n, n_clusters, "all-tied")
    if n_clusters < FEWEST_CLUSTERS:
        return Estimate(tau, None, None, n, n_clusters, ci_reason="fewer-than-5-clusters")
    drawn = [
        _blocks(drawn_counts(seed + index, len(sizes), DRAWS), n_methods, n_clusters)
        for index, (_, sizes) in enumerate(sets)
    ]
    taus = [
        _tau_b(*(_drawn_means(*own, weights) for own, weights in zip(sets, both, strict=True)))
        for both in zip(*drawn, strict=True)
    ]
    return _with_interval(tau, np.concatenate(taus), n, n_clusters)


def _blocks(
    counts: np.ndarray, n_methods: int, n_clusters: int | None = None
) -> Iterator[Float[np.ndarray, "draw cluster"]]:
    """Yield the draws in blocks whose pairs of methods fit into memory."""
    block = max(1, _CELLS_AT_ONCE // max(n_clusters or counts.shape[1], n_methods**2))
    for start in range(0, len(counts), block):
        yield counts[start : start + block].astype(np.float64)


def _drawn_means(
    sums: Float[np.ndarray, "method cluster"],
    sizes: Float[np.ndarray, " cluster"],
    weights: Float[np.ndarray, "draw cluster"],
) -> Float[np.ndarray, "draw method"]:
    means: Float[np.ndarray, "draw method"]
    means = np.einsum("dc,mc->dm", weights, sums) / (weights @ sizes)[:, None]
    return means


def _with_interval(
    tau: float, taus: Float[np.ndarray, " draw"], n: int, n_clusters: int
) -> Estimate:
    """Return the percentile interval of the draws; none where a draw ties all methods."""
    if np.isnan(taus).any():
        return Estimate(tau, None, None, n, n_clusters, ci_reason="unstable-ranking")
    low, high = np.quantile(taus, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(tau, float(low), float(high), n, n_clusters)


def _table(
    rows: Sequence[Sequence[float | None]], utterances: int
) -> Float[np.ndarray, "method utterance"]:
    if any(len(row) != utterances for row in rows):
        raise UsageError("a ranking needs one value per utterance and method")
    filled = [[math.nan if value is None else value for value in row] for row in rows]
    return np.array(filled, dtype=np.float64).reshape(len(rows), utterances)


def _tau_b(
    first: Float[np.ndarray, "draw method"], second: Float[np.ndarray, "draw method"]
) -> Float[np.ndarray, " draw"]:
    """Return tau-b of every draw; NaN where one score ties all methods."""
    i, j = np.triu_indices(first.shape[1], k=1)
    s, t = (_signs(values[:, i] - values[:, j]) for values in (first, second))
    compared = np.sqrt(np.abs(s).sum(axis=1) * np.abs(t).sum(axis=1))
    with np.errstate(invalid="ignore"):
        tau: Float[np.ndarray, " draw"] = (s * t).sum(axis=1) / compared
    return tau


def _signs(differences: Float[np.ndarray, "draw pair"]) -> Float[np.ndarray, "draw pair"]:
    return np.where(np.abs(differences) <= _TIE, 0.0, np.sign(differences))
