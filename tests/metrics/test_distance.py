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
# Above the minimum: E = (0, 0, 1, 3) / 4, S = (0, 1, 0, 2) / 3; frames of 0.02 s.
OURS, THEIRS = np.array([[0.1, 0.1, 0.2, 0.4]]), np.array([[7.0, 8.0, 7.0, 9.0]])


def value(metric, ours: np.ndarray, theirs: np.ndarray, **params) -> float:
    found = metric(GridMap(ours), GridMap(theirs), layout(*ours.shape), DEFAULT, **params)
    assert found.reason is None
    return found.value


def test_by_hand() -> None:
    # (0, 0, 1, 3) . (0, 1, 0, 2) = 6, norms sqrt 10 and sqrt 5.
    assert value(metrics.cosine, OURS, THEIRS) == pytest.approx(6 / sqrt(50), rel=1e-14)
    # Mixture (0, 4, 3, 17) / 24; H(E) = 2 - 3/4 log2 3; H(S) = log2 3 - 2/3.
    mixed = -sum(k / 24 * log2(k / 24) for k in (4, 3, 17))
    expected = mixed - (2 - 0.75 * log2(3) + log2(3) - 2 / 3) / 2
    assert value(metrics.js_divergence, OURS, THEIRS) == pytest.approx(expected, rel=1e-13)
    # Cumulative (0, 0, 3, 12) against (0, 4, 4, 12), twelfths: 5/12 frame of 0.02 s.
    assert value(metrics.emd, OURS, THEIRS) == pytest.approx(0.02 * 5 / 12, rel=1e-13)
    # share 1/4: frame 3 is relevant and holds three quarters of the mass.
    params = {"labels": "reference", "share": 1 / 4}
    assert value(metrics.relevance_mass, OURS, THEIRS, **params) == pytest.approx(3 / 4)


def test_frontier_error_by_hand() -> None:
    # Highest frames 4 and 1, then 0 against 1 and 3, whose mean is 2: three frames, then two, of 0.02 s.
    ours = np.array([[0.0, 1, 0, 0, 9], [5, 1, 0, 0, 0]])
    theirs = np.array([[0.0, 7, 0, 2, 0], [0, 4, 1, 4, 0]])
    assert value(metrics.frontier_error, ours, theirs) == pytest.approx(0.02 * (3 + 2) / 2)


def test_only_what_is_above_the_minimum_counts_of_both() -> None:
    for metric in (metrics.cosine, metrics.js_divergence, metrics.emd):
        wanted = pytest.approx(value(metric, OURS, THEIRS), abs=1e-13)
        assert value(metric, 3 * OURS + 5, THEIRS) == wanted
        assert value(metric, OURS, 3 * THEIRS + 100) == wanted


def test_extremes_by_hand() -> None:
    apart = np.array([[1.0, 0, 0, 0, 0]]), np.array([[0.0, 0, 0, 0, 5]])
    assert value(metrics.js_divergence, *apart) == 1
    assert value(metrics.cosine, *apart) == 0
    assert value(metrics.emd, *apart) == pytest.approx(4 * 0.02)
    near = np.array([[1.0, 0, 0, 0, 0]]), np.array([[0.0, 5, 0, 0, 0]])
    assert value(metrics.js_divergence, *near) == 1, "a shift by one frame is as far"
    assert value(metrics.emd, *near) == pytest.approx(0.02), "but not here"


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("seed", range(4))
def test_they_are_scipys(seed: int, case: int) -> None:
    ours, theirs = pairs(seed)[case]
    p = ours - ours.min(1, keepdims=True)
    q = theirs - theirs.min(1, keepdims=True)
    times = 0.02 * np.arange(FRAMES)
    expected = {
        metrics.cosine: mean_over_tokens(lambda a, b: 1 - cosine(a, b), p, q),
        metrics.js_divergence: mean_over_tokens(lambda a, b: jensenshannon(a, b, 2) ** 2, p, q),
        metrics.emd: mean_over_tokens(lambda a, b: wasserstein_distance(times, times, a, b), p, q),
    }
    for metric, wanted in expected.items():
        assert value(metric, ours, theirs) == pytest.approx(wanted, abs=1e-12)


def test_relevance_mass_on_words_by_hand() -> None:
    ours = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    spans = ((0.02, 0.05), None)  # frames 1 and 2
    found = metrics.relevance_mass(
        GridMap(ours),
        GridMap(np.ones((2, 4))),
        layout(2, 4),
        DEFAULT,
        labels="words",
        share=0.1,
        spans=spans,
    )
    assert (found.value, found.left_out) == (pytest.approx(0.5), (("no-word-time", 1),))
