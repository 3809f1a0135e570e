from __future__ import annotations

import numpy as np
import pytest
from agreement_maps import layout

from xbench.maps import GridMap
from xbench.metrics import Score
from xbench.metrics.batch import Maps
from xbench.metrics.timing import onset_error, word_frames
from xbench.spec import Scoring

# Frames of 0.02 s, centres 0.01, 0.03, 0.05, 0.07.
MAP = np.array([[0.1, 0.2, 0.6, 0.1], [0.0, 0.5, 0.0, 0.5], [0.1, 0.1, 0.1, 0.7], [1.0, 0, 0, 0]])
SPANS = ((0.04, 0.08), (0.0, 0.02), (0.04, 0.08), None)
LEFT_OUT = (("no-word-time", 1), ("continues-word", 1))


def found(point: str, spans=SPANS, values=MAP) -> Score:
    nothing = GridMap(np.ones(values.shape))
    axes = layout(*values.shape)
    return onset_error(GridMap(values, True), nothing, axes, Scoring(), point=point, spans=spans)


def test_peaks_by_hand() -> None:
    # Token 0 peaks at 0.05, its word starts at 0.04; token 1 at 0.03 and 0.07, mean 0.05, against 0;
    # token 2 continues token 0's word; token 3 has none.
    score = found("peak")
    assert (score.value, score.left_out) == (pytest.approx((0.01 + 0.05) / 2), LEFT_OUT)


def test_centroids_by_hand() -> None:
    # Token 0: 0.001 + 0.006 + 0.03 + 0.007 = 0.044; token 1: 0.05.
    score = found("centroid")
    assert (score.value, score.left_out) == (pytest.approx((0.004 + 0.05) / 2), LEFT_OUT)


def test_without_word_times() -> None:
    assert found("peak", None) == Score(None, "no-word-time", (("no-word-time", 4),))
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
