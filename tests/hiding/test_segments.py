from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from xbench.hiding.segments import (
    Segmentation,
    frame_segments,
    grid_segments,
    superpixels,
    word_segments,
)

PAPER: dict[str, Any] = {
    "rates": (400, 500, 600),
    "cap_seconds": 7.5,
    "compactness": 0.1,
    "sigma": 0.0,
}


PINNED = ((453, 453, 452), "b3e1639316fe14a7")


def embedded_clip(melframes: int = 100, mels: int = 80) -> np.ndarray:
    """A spectrogram of two chirps, from integers so that it is the same on every machine."""
    time, mel = np.meshgrid(np.arange(melframes), np.arange(mels), indexing="ij")
    first = (mel - 10 - time // 4) ** 2 < 9
    second = (mel - 70 + time // 3) ** 2 < 16
    texture = (7 * time + 13 * mel) % 11
    return (16 * first + 12 * second + texture / 16).astype(np.float32)


def test_superpixels_of_the_embedded_clip_are_pinned() -> None:
    # scikit-image is free to change SLIC; a change here changes spes-input: raise its version.
    segmentation = superpixels(embedded_clip(), 1.0, **PAPER)
    digest = hashlib.sha256(segmentation.labels.astype("<i4").tobytes()).hexdigest()
    assert (segmentation.sizes, digest[:16]) == PINNED


def test_slic_rounds_its_grid_so_that_two_levels_are_equal() -> None:
    # Scoring section 7: rates 400 and 500 both give a step of 4 here.
    labels = superpixels(embedded_clip(), 1.0, **PAPER).labels
    np.testing.assert_array_equal(labels[0], labels[1])


def test_every_level_numbers_its_segments_without_gaps() -> None:
    segmentation = superpixels(embedded_clip(), 1.0, **PAPER)
    for labels, size in zip(segmentation.labels, segmentation.sizes, strict=True):
        np.testing.assert_array_equal(np.unique(labels), np.arange(size))
    assert segmentation.labels.shape == (3, 100, 80)


def test_a_higher_rate_gives_more_segments() -> None:
    sizes = superpixels(embedded_clip(), 1.0, **PAPER | {"rates": (50, 200, 800)}).sizes
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[0] == pytest.approx(50, rel=0.4)


def test_longer_clips_than_the_cap_get_no_more_segments() -> None:
    clip = embedded_clip()
    capped = superpixels(clip, 4.0, **PAPER | {"cap_seconds": 0.5})
    short = superpixels(clip, 0.5, **PAPER | {"cap_seconds": 7.5})
    np.testing.assert_array_equal(capped.labels, short.labels)
    assert max(capped.sizes) < min(superpixels(clip, 4.0, **PAPER).sizes)


def test_segments_do_not_depend_on_the_scale_of_the_spectrogram() -> None:
    clip = embedded_clip()
    np.testing.assert_array_equal(
        superpixels(clip, 1.0, **PAPER).labels, superpixels(4 * clip - 8, 1.0, **PAPER).labels
    )


def test_a_constant_spectrogram_is_divided_like_any_other() -> None:
    segmentation = superpixels(np.full((40, 16), -1.5, dtype=np.float32), 0.4, **PAPER)
    assert all(size > 10 for size in segmentation.sizes)


def test_a_tiny_spectrogram_has_at_least_one_segment() -> None:
    segmentation = superpixels(np.zeros((1, 4), dtype=np.float32), 0.001, **PAPER)
    assert min(segmentation.sizes) >= 1


def test_flat_labels_are_numbered_through_all_levels() -> None:
    labels = np.array([[[0, 1], [1, 0]], [[0, 0], [2, 1]]], dtype=np.int32)
    segmentation = Segmentation(labels, (2, 3))
    assert segmentation.flat.tolist() == [[0, 1, 1, 0], [2, 2, 4, 3]]
    assert segmentation.total == 5


def test_frame_segments_are_one_level_of_single_frames() -> None:
    segmentation = frame_segments(4)
    assert segmentation.labels.tolist() == [[0, 1, 2, 3]]
    assert segmentation.sizes == (4,)


def test_a_grid_is_time_by_bands() -> None:
    grid = grid_segments(5, 4, 2, 2)
    assert grid.labels.tolist() == [[[0, 0, 1, 1]] * 3 + [[2, 2, 3, 3]] * 2]
    assert grid.sizes == (4,)
    assert grid_segments(3, 2, 50, 1).labels[0].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert grid_segments(1, 2, 4, 9).labels[0].tolist() == [[0, 1]]


def test_words_and_the_gaps_between_them_are_segments() -> None:
    # Middles at 0.05, 0.15, ..., 0.95 s; the third word begins inside the second.
    found = word_segments([(0.1, 0.3), (0.5, 0.8), (0.69, 0.9)], 10, 0.1)
    assert found.labels.tolist() == [[0, 1, 1, 2, 2, 3, 3, 4, 4, 5]]
    assert found.sizes == (6,)


def test_the_channels_of_a_moment_belong_to_one_word() -> None:
    found = word_segments([(0.0, 0.2)], 3, 0.1, channels=2)
    assert found.labels.tolist() == [[[0, 0], [0, 0], [1, 1]]]
    assert found.sizes == (2,)


@pytest.mark.parametrize("spoken", [[], [(0.31, 0.34)], [(5.0, 6.0)]])
def test_a_word_between_two_middles_has_no_segment(spoken: list[tuple[float, float]]) -> None:
    assert word_segments(spoken, 4, 0.1).labels.tolist() == [[0, 0, 0, 0]]
