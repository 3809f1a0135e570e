"""Clusters drawn with replacement: the same draws for all scores of a task."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt16

DRAWS = 10_000

_CELLS_AT_ONCE = 1 << 21
_CELLS_IN_CACHE = 1 << 16


def drawn_ratios(
    numerator: Float[np.ndarray, " cluster"],
    denominator: Float[np.ndarray, " cluster"],
    seed: int,
    draws: int = DRAWS,
) -> Float[np.ndarray, " draw"] | None:
    """Return the ratio of the two sums in every draw of clusters, None if one draw has no ratio."""
    above, below = (_drawn_sum(seed, draws, sums.tobytes()) for sums in (numerator, denominator))
    if (below <= 0).any():
        return None
    ratios: Float[np.ndarray, " draw"] = above / below
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
