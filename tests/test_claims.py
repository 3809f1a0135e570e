"""A stated interval against the columns: that of today, or that of its day."""

from __future__ import annotations

import numpy as np
import pytest

from xbench.claims.compared import differing_estimate
from xbench.results import Interval
from xbench.stats import Estimate, mean_estimate


def skewed(count: int) -> Estimate:
    """Return the mean of so many skewed clusters."""
    values = np.random.default_rng(0).exponential(size=count).tolist()
    return mean_estimate(values, [str(n) for n in range(count)], seed=0)


def problems(found: Estimate, low: float | None, high: float | None) -> list[str]:
    """Return what is wrong with stating this interval of it."""
    assert low is not None
    assert high is not None
    return list(differing_estimate("", Interval(found.value, [low, high], None, None), found))


@pytest.mark.parametrize("count", [20, 50])
def test_intervals_of_today_hold(count: int) -> None:
    found = skewed(count)
    assert problems(found, found.low, found.high) == []


def test_files_made_before_skewness_moved_the_ends_hold_their_own() -> None:
    found = skewed(50)
    assert found.bootstrap is not None
    assert found.high is not None
    assert found.high > found.bootstrap[1] + 0.01
    assert problems(found, *found.bootstrap) == []


@pytest.mark.parametrize("count", [20, 50])
def test_any_other_interval_is_told(count: int) -> None:
    found = skewed(count)
    assert found.value is not None
    (told,) = problems(found, found.value - 0.01, found.value + 0.01)
    assert "but the utterance columns give" in told
