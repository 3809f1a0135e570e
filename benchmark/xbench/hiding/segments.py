"""Divide a spectrogram into superpixels or a grid, an encoder output into frames, or either into words.

Source of the superpixels: SPES (Fucci et al. 2024, arXiv 2411.01710), which follows MFPP (Yang et al. 2020): SLIC at
several granularities, here called levels. scikit-image's SLIC rounds its grid step, so nearby rates can give equal
segmentations; the actual number of segments is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32


@dataclass(frozen=True)
class Segmentation:
    """One or more ways (levels) to divide the same cells into segments.

    labels: [level, *cells], segments numbered from 0 within each level. sizes: segments per level.
    """

    labels: Int32[np.ndarray, "level *cells"]
    sizes: tuple[int, ...]

    @property
    def flat(self) -> Int32[np.ndarray, "level cell"]:
        """Labels numbered through all levels, cells in one axis."""
        offsets = np.cumsum((0, *self.sizes[:-1]), dtype=np.int32)
        return self.labels.reshape(len(self.sizes), -1) + offsets[:, None]

    @property
    def distinct(self) -> tuple[int, ...]:
        """For each level, the first level with the same labels: itself unless SLIC repeated one."""
        return tuple(
            next(i for i in range(level + 1) if np.array_equal(self.labels[i], self.labels[level]))
            for level in range(len(self.sizes))
        )

    @property
    def total(self) -> int:
        """Number of segments of all levels."""
        return sum(self.sizes)


def frame_segments(frames: int) -> Segmentation:
    """Return one level with one segment per encoder frame."""
    return Segmentation(np.arange(frames, dtype=np.int32)[None], (frames,))


def word_segments(
    spoken: Sequence[tuple[float, float]], positions: int, seconds: float, channels: int = 0
) -> Segmentation:
    """Divide time where words begin and end, one level: each word is a segment, and so is each gap between words.

    A position belongs to the word in which its middle lies, of several the one that began last. spoken: start and end
    of the words in seconds. seconds: of one position. Labels are [position], or [position, channel] with all channels
    of a position in one segment. A word in which no middle lies has no segment.
    """
    middle = (np.arange(positions) + 0.5) * seconds
    owner = np.full(positions, -1)
    for index, (start, end) in sorted(enumerate(spoken), key=lambda word: word[1][0]):
        owner[(middle >= start) & (middle < end)] = index
    labels = np.concatenate([[0], np.cumsum(np.diff(owner) != 0)]).astype(np.int32)
    shaped = np.repeat(labels[:, None], channels, 1) if channels else labels
    return Segmentation(shaped[None], (int(labels[-1]) + 1,))


def grid_segments(frames: int, channels: int, in_time: int, bands: int) -> Segmentation:
    """Divide [frame, channel] into equal parts of time by equal parts of the channels, one level.

    There are at most as many parts as frames and channels.
    """
    in_time, bands = min(in_time, frames), min(bands, channels)
    part = np.arange(frames) * in_time // frames
    band = np.arange(channels) * bands // channels
    labels = (part[:, None] * bands + band).astype(np.int32)
    return Segmentation(labels[None], (in_time * bands,))


def superpixels(
    spectrogram: Float[np.ndarray, "melframe mel"],
    seconds: float,
    *,
    rates: Sequence[float],
    cap_seconds: float,
    compactness: float,
    sigma: float,
) -> Segmentation:
    """Segment a spectrogram by SLIC at round(rate * min(seconds, cap_seconds)) segments per level.

    The spectrogram is scaled to [0, 1] as a whole, for the segmentation only.
    """
    from skimage.segmentation import slic  # 0.3 s, which encoder frames need not wait for

    low, high = float(spectrogram.min()), float(spectrogram.max())
    image = (spectrogram - low) / (high - low) if high > low else np.zeros_like(spectrogram)
    levels = []
    for rate in rates:
        wanted = max(1, round(rate * min(seconds, cap_seconds)))
        labels = slic(
            image.astype(np.float64),
            n_segments=wanted,
            compactness=compactness,
            sigma=sigma,
            channel_axis=None,
            start_label=0,
        )
        # Connectivity enforcement may leave gaps in the numbering.
        levels.append(np.unique(labels, return_inverse=True)[1].reshape(labels.shape))
    labels = np.stack(levels).astype(np.int32)
    return Segmentation(labels, tuple(int(level.max()) + 1 for level in labels))
