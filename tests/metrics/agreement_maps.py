"""Maps to score in tests: a layout, continuous rows, rows with ties, and a loop over tokens to compare with."""

from __future__ import annotations

from collections.abc import Callable
from math import nan

import numpy as np

from xbench.maps import Layout

ROWS, FRAMES = 5, 40


def layout(rows: int = ROWS, frames: int = FRAMES) -> Layout:
    """Make a grid of content rows, 20 ms a frame."""
    names = tuple(str(row) for row in range(rows))
    return Layout(tuple(range(rows)), names, tuple(range(rows)), frames, 2 * frames, 2, 0.01)


def pairs(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of maps: continuous, with ties in one, in both, and mostly zeros."""
    rng = np.random.default_rng(seed)
    ours, theirs = rng.gamma(0.5, size=(2, ROWS, FRAMES))
    sparse = np.where(ours > np.quantile(ours, 0.8, axis=1, keepdims=True), ours, 0.0)
    return [
        (ours, theirs + 2),
        (np.round(2 * ours), theirs),
        (np.round(2 * ours), np.round(3 * theirs)),
        (sparse, theirs),
        (theirs + 0.5 * ours, theirs),
    ]


def mean_over_tokens(
    compute: Callable[[np.ndarray, np.ndarray], float], ours: np.ndarray, theirs: np.ndarray
) -> float:
    """Return the mean of a one-row function."""
    values = [compute(a, b) for a, b in zip(ours, theirs, strict=True)]
    return float(np.mean(values)) if values else nan
