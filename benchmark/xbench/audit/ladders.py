"""Ladders of degradation: maps made worse in known steps.

With v the values of a row, b their smallest, m = v - b the mass above it and T the sum of m, a step of size x gives

    noise     (1 - x) v + x v'          v': the same values in a random order of the frames
    shift     v moved later by x ms; what leaves the end comes in at the start
    blur      v smoothed by a Gaussian with a standard deviation of x ms, mirrored at both ends
    swap      a share x of the tokens hand their rows on to one another
    shuffle   a share x of the rows has its frames in a random order
    sink      b + (1 - x) m + x T on one frame, the same frame for all tokens
    sharpen   b + m^x, scaled to the sum T

The baseline b stays, so that a step differs from the map as it was by what its formula says and by nothing else. Every
step keeps the sum of each row (a swap that of all rows), so that a distribution remains one. What is drawn at random
follows from the seed, the clip and the ladder, and is the same for all steps of a ladder: each step does what the step
before it did, and more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d

from xbench.hiding.masks import mask_key
from xbench.maps import GridMap, Layout

Rows = Float[np.ndarray, "token frame"]


@dataclass(frozen=True)
class Footing:
    """What a step needs to know beside the rows: which are judged, the seconds per frame, and the random numbers."""

    content: Int[np.ndarray, " token"]
    frame_seconds: float
    key: int

    def generator(self) -> np.random.Generator:
        """Return the random numbers from their beginning: equal for all steps of a ladder."""
        return np.random.Generator(np.random.Philox(key=self.key))

    def share(self, size: float) -> Int[np.ndarray, " token"]:
        """Return a share of the judged rows in a random order; a larger share contains the smaller ones."""
        order = self.generator().permutation(self.content)
        return order[: int(np.ceil(round(size * len(order), 9)))]


def noise(rows: Rows, size: float, footing: Footing) -> Rows:
    """Blend every row with its own values in a random order: (1 - x) v + x v'."""
    other = footing.generator().permuted(rows, axis=1)
    return (1 - size) * rows + size * other


def shift(rows: Rows, size: float, footing: Footing) -> Rows:
    """Move every row later by x ms, rounded to frames, around the end of the clip."""
    return np.roll(rows, frames_of(size, footing.frame_seconds), axis=1)


def blur(rows: Rows, size: float, footing: Footing) -> Rows:
    """Smooth every row by a Gaussian with a standard deviation of x ms."""
    smooth: Rows = gaussian_filter1d(rows, size / 1000 / footing.frame_seconds, axis=1)
    return smooth


def swap(rows: Rows, size: float, footing: Footing) -> Rows:
    """Let a share of the judged tokens, at least two of them, hand their rows on in a circle."""
    swapped = rows.copy()
    chosen = footing.share(max(size, min(1.0, 2 / max(1, len(footing.content)))))
    swapped[chosen] = rows[np.roll(chosen, 1)]
    return swapped


def shuffle(rows: Rows, size: float, footing: Footing) -> Rows:
    """Put the frames of a share of the judged rows into a random order."""
    shuffled = rows.copy()
    chosen = footing.share(size)
    # All rows are permuted, so that a row has the same order in every step that shuffles it.
    shuffled[chosen] = footing.generator().permuted(rows, axis=1)[chosen]
    return shuffled


def sink(rows: Rows, size: float, footing: Footing) -> Rows:
    """Move a share of every row's mass to one frame, the same for all tokens: b + (1 - x) m + x T."""
    low = rows.min(axis=1, keepdims=True)
    mass = rows - low
    sunk: Rows = low + (1 - size) * mass
    sunk[:, footing.generator().integers(rows.shape[1])] += size * mass.sum(axis=1)
    return sunk


def sharpen(rows: Rows, size: float, footing: Footing) -> Rows:
    """Raise the mass of every row to a power and scale it to its old sum: b + m^x, scaled to T.

    A high power leaves of most values less than the baseline has digits for. They keep their order even so, and with it
    what metrics of order say.
    """
    low = rows.min(axis=1, keepdims=True)
    mass = rows - low
    highest = mass.max(axis=1, keepdims=True)
    power = (mass / np.where(highest > 0, highest, 1.0)) ** size
    total = power.sum(axis=1, keepdims=True)
    sharper: Rows = low + power * mass.sum(axis=1, keepdims=True) / np.where(total > 0, total, 1.0)
    return _in_order_of(rows, sharper)


def _in_order_of(rows: Rows, changed: Rows) -> Rows:
    """Return changed rows whose order rounding may have lost: what was higher is higher by one last digit at least."""
    order = np.argsort(rows, axis=1, kind="stable")
    rises = np.diff(np.take_along_axis(rows, order, axis=1), axis=1) > 0
    ascending = np.take_along_axis(changed, order, axis=1)
    for frame in range(1, rows.shape[1]):
        below = ascending[:, frame - 1]
        above = np.maximum(ascending[:, frame], np.nextafter(below, np.inf))
        ascending[:, frame] = np.where(rises[:, frame - 1], above, below)
    kept = np.empty_like(changed)
    np.put_along_axis(kept, order, ascending, axis=1)
    return kept


@dataclass(frozen=True)
class Ladder:
    """One way to make a map worse, in steps of rising size. unit: what a size is measured in."""

    name: str
    unit: str
    sizes: tuple[float, ...]
    worsen: Callable[[Rows, float, Footing], Rows]


_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)

LADDERS: tuple[Ladder, ...] = (
    Ladder("noise", "share", (0.1, 0.2, 0.4, 0.6, 0.8, 1.0), noise),
    Ladder("shift", "ms", (40.0, 80.0, 160.0, 240.0, 320.0), shift),
    Ladder("blur", "ms", (20.0, 40.0, 80.0, 160.0, 320.0), blur),
    Ladder("swap", "share", _SHARES, swap),
    Ladder("shuffle", "share", _SHARES, shuffle),
    Ladder("sink", "share", (0.05, 0.1, 0.2, 0.4, 0.8), sink),
    Ladder("sharpen", "power", (1.5, 2.0, 4.0, 8.0, 16.0), sharpen),
)


def frames_of(milliseconds: float, frame_seconds: float) -> int:
    """Return how many whole frames a time is, to the nearest."""
    return round(milliseconds / 1000 / frame_seconds)


def on_frames(ladder: Ladder, frame_seconds: float) -> Ladder:
    """Return a ladder without the shifts that are no frame, or as many frames as the shift before them."""
    if ladder.name != "shift":
        return ladder
    kept: dict[int, float] = {}
    for size in ladder.sizes:
        kept.setdefault(frames_of(size, frame_seconds), size)
    return replace(ladder, sizes=tuple(size for frames, size in kept.items() if frames > 0))


def worsened(
    grid: GridMap, ladder: Ladder, size: float, layout: Layout, *, seed: int, clip: str
) -> GridMap:
    """Return a map one step down a ladder: [token, frame], all generated rows.

    Rows that are not judged (special tokens) change only where a step changes every row alike.
    """
    footing = Footing(
        content=np.asarray(layout.content, dtype=np.intp),
        frame_seconds=layout.stride * layout.melframe_seconds,
        key=mask_key(seed, f"audit:{ladder.name}:{clip}"),
    )
    return replace(grid, values=ladder.worsen(grid.values, size, footing))
