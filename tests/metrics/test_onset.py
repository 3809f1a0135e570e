from __future__ import annotations

import numpy as np
import pytest
from agreement_maps import layout

from xbench.maps import GridMap
from xbench.methods.timing import cheapest_path
from xbench.metrics import Score
from xbench.metrics.batch import Maps
from xbench.metrics.timing import onset_error, starts, word_frames
from xbench.spec import Scoring

# Frames of 0.02 s, centres 0.01, 0.03, 0.05, 0.07.
MAP = np.array([[0.1, 0.2, 0.6, 0.1], [0.0, 0.5, 0.0, 0.5], [0.1, 0.1, 0.1, 0.7], [1.0, 0, 0, 0]])
SPANS = ((0.04, 0.08), (0.0, 0.02), (0.04, 0.08), None)
LEFT_OUT = (("no-word-time", 1), ("continues-word", 1))


def found(point: str, spans=SPANS, values=MAP) -> Score:
    nothing = GridMap(np.ones(values.shape))
    axes = layout(*values.shape)
    return onset_error(GridMap(values), nothing, axes, Scoring(), point=point, spans=spans)


def test_starts_by_hand() -> None:
    # Token 0: 0.2 does not reach half of the height above 0.1, 0.35, so its run begins at 0.04, where its word does.
    # Token 1: the first of its two peaks begins at 0.02, its word at 0.
    score = found("start")
    assert (score.value, score.left_out) == (pytest.approx(0.02 / 2), LEFT_OUT)
    assert score.columns == {"offset": pytest.approx(0.02 / 2)}


def test_a_run_begins_where_half_of_the_height_is_reached() -> None:
    spans = ((0.0, 0.1),) * 1 + (None,) * 3
    for row, first in (
        ([1.0, 3.0, 5.0, 1.0], 1),  # 3 is half way from 1 to 5
        ([1.0, 2.9, 5.0, 1.0], 2),
        ([4.0, 1.0, 5.0, 5.0], 2),  # what lies before a gap is another run
        ([5.0, 4.0, 1.0, 1.0], 0),
    ):
        values = MAP.copy()
        values[0] = row
        assert found("start", spans, values).value == pytest.approx(0.02 * first), row


def test_a_path_that_starts_with_every_word_has_no_error() -> None:
    path = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1]], dtype=float)
    spans = ((0.0, 0.04), (0.04, 0.1), (0.1, 0.12))
    assert found("start", spans, path).value == pytest.approx(0, abs=1e-15)
    # The middles of its runs lie half a word later.
    assert found("peak", spans, path).value == pytest.approx((0.02 + 0.03 + 0.01) / 3)


def test_the_offset_keeps_its_sign() -> None:
    late = found("peak", ((0.0, 0.1), None, None, None))
    early = found("peak", ((0.09, 0.1), None, None, None))
    assert (late.value, late.columns["offset"]) == (pytest.approx(0.05), pytest.approx(0.05))
    assert (early.value, early.columns["offset"]) == (pytest.approx(0.04), pytest.approx(-0.04))
    assert found("peak", None).columns == {"offset": None}


def whisper_starts(path: np.ndarray, frame_seconds: float) -> np.ndarray:
    """Return when each token starts as openai/whisper's `find_alignment` reads a path: where it jumps to the token."""
    tokens, frames = np.nonzero(
        path
    )  # row by row, frame by frame: the order in which the path goes
    jumps = np.diff(tokens, prepend=-1) > 0
    return frames[jumps] * frame_seconds


def test_starts_of_a_path_are_those_that_whisper_reads() -> None:
    rng = np.random.default_rng(0)
    for rows, frames in ((4, 30), (12, 9), (1, 5), (20, 200)):
        path = cheapest_path(rng.normal(size=(rows, frames)))
        maps = Maps.of([GridMap(path)], layout(rows, frames))
        varies = ~maps.constant[0]
        theirs = whisper_starts(path, maps.frame_seconds)
        assert starts(maps)[0][varies] == pytest.approx(theirs[varies])


def test_peaks_by_hand() -> None:
    # Token 0 peaks at 0.05, its word starts at 0.04; token 1 at 0.03 and 0.07, mean 0.05, against 0;
    # token 2 continues token 0's word; token 3 has none.
    score = found("peak")
    assert (score.value, score.left_out) == (pytest.approx((0.01 + 0.05) / 2), LEFT_OUT)


def test_centroids_by_hand() -> None:
    # Above the minimum, token 0 has (0, 1, 5, 0) / 6: (0.03 + 5 * 0.05) / 6 = 0.28 / 6; token 1: 0.05.
    score = found("centroid")
    assert (score.value, score.left_out) == (pytest.approx((0.28 / 6 - 0.04 + 0.05) / 2), LEFT_OUT)


def test_without_word_times() -> None:
    none = found("peak", None)
    assert (none.value, none.reason, none.left_out) == (
        None,
        "no-word-time",
        (("no-word-time", 4),),
    )
    flat = found("peak", values=np.ones((4, 4)))
    assert flat.reason == "constant-map"
    assert flat.left_out == (("no-word-time", 1), ("continues-word", 1), ("constant-map", 2))


def test_word_frames_by_hand() -> None:
    spans = ((0.02, 0.06), None, (0.06, 0.06), (0.05, 9.0), (7.0, 9.0))
    maps = Maps.of([GridMap(np.ones((5, 4)))], layout(5, 4))
    assert word_frames(maps, spans).astype(int).tolist() == [
        [0, 1, 1, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 1],
        [0, 0, 0, 0],
    ]
    assert not word_frames(maps, None).any()
