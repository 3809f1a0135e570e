from __future__ import annotations

from math import log2, sqrt

import numpy as np
import pytest
from agreement_maps import FRAMES, layout, mean_over_tokens, pairs
from scipy.spatial.distance import cosine, jensenshannon
from scipy.stats import wasserstein_distance

from xbench.maps import GridMap
from xbench.metrics import distance as metrics
from xbench.spec import Scoring

DEFAULT = Scoring()
# Above the minimum: S = (0, 1, 3) / 4. As it is: E = (1, 1, 2) / 4; frames of 0.02 s.
OURS, THEIRS = np.array([[0.25, 0.25, 0.5]]), np.array([[7.0, 8.0, 10.0]])


def value(metric, ours: np.ndarray, theirs: np.ndarray, distribution=True, **params) -> float:
    grid = GridMap(ours, distribution)
    found = metric(grid, GridMap(theirs), layout(*ours.shape), DEFAULT, **params)
    assert found.reason is None
    return found.value


def test_by_hand() -> None:
    # (1, 1, 2) . (0, 1, 3) = 7, norms sqrt 6 and sqrt 10.
    assert value(metrics.cosine, OURS, THEIRS) == pytest.approx(7 / sqrt(60), rel=1e-14)
    # Mixture (1, 2, 5) / 8: H = 3/8 + 2/8 * 2 + 5/8 (3 - log2 5); H(E) = 3/2; H(S) = 2 - 3/4 log2 3.
    mixed = 3 / 8 + 1 / 2 + 5 / 8 * (3 - log2(5))
    expected = mixed - (1.5 + 2 - 0.75 * log2(3)) / 2
    assert value(metrics.js_divergence, OURS, THEIRS) == pytest.approx(expected, rel=1e-13)
    # Cumulative (1, 2, 4) against (0, 1, 4), quarters: 1/2 frame of 0.02 s.
    assert value(metrics.emd, OURS, THEIRS) == pytest.approx(0.01, rel=1e-14)
    # share 1/3: frame 2 is relevant and holds half the mass.
    params = {"labels": "reference", "share": 1 / 3}
    assert value(metrics.relevance_mass, OURS, THEIRS, **params) == pytest.approx(1 / 2)


def test_a_map_that_is_no_distribution_is_read_above_its_minimum_by_hand() -> None:
    # E = (0, 0, 1): (0, 0, 1) . (0, 1, 3) / sqrt 10; cumulative (0, 0, 4) against (0, 1, 4): 1/4 frame.
    assert value(metrics.cosine, OURS, THEIRS, False) == pytest.approx(3 / sqrt(10), rel=1e-14)
    assert value(metrics.emd, OURS, THEIRS, False) == pytest.approx(0.005, rel=1e-14)
    assert value(metrics.js_divergence, OURS, THEIRS + 100, False) == pytest.approx(
        value(metrics.js_divergence, OURS, THEIRS, False), abs=1e-13
    )


def test_extremes_by_hand() -> None:
    apart = np.array([[1.0, 0, 0, 0, 0]]), np.array([[0.0, 0, 0, 0, 5]])
    assert value(metrics.js_divergence, *apart) == 1
    assert value(metrics.cosine, *apart) == 0
    assert value(metrics.emd, *apart) == pytest.approx(4 * 0.02)
    near = np.array([[1.0, 0, 0, 0, 0]]), np.array([[0.0, 5, 0, 0, 0]])
    assert value(metrics.js_divergence, *near) == 1, "a shift by one frame is as far"
    assert value(metrics.emd, *near) == pytest.approx(0.02), "but not here"


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("distribution", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_they_are_scipys(seed: int, distribution: bool, case: int) -> None:
    ours, theirs = pairs(seed)[case]
    p = ours if distribution else ours - ours.min(1, keepdims=True)
    q = theirs - theirs.min(1, keepdims=True)
    times = 0.02 * np.arange(FRAMES)
    expected = {
        metrics.cosine: mean_over_tokens(lambda a, b: 1 - cosine(a, b), p, q),
        metrics.js_divergence: mean_over_tokens(lambda a, b: jensenshannon(a, b, 2) ** 2, p, q),
        metrics.emd: mean_over_tokens(lambda a, b: wasserstein_distance(times, times, a, b), p, q),
    }
    for metric, wanted in expected.items():
        assert value(metric, ours, theirs, distribution) == pytest.approx(wanted, abs=1e-12)


def test_relevance_mass_on_words_by_hand() -> None:
    ours = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    spans = ((0.02, 0.05), None)  # frames 1 and 2
    found = metrics.relevance_mass(
        GridMap(ours, True),
        GridMap(np.ones((2, 4))),
        layout(2, 4),
        DEFAULT,
        labels="words",
        share=0.1,
        spans=spans,
    )
    assert (found.value, found.left_out) == (pytest.approx(0.5), (("no-word-time", 1),))
