"""What follows from scores whose order, size and noise are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xbench.audit.findings import clips_needed, finding
from xbench.audit.judged import Steps
from xbench.audit.ladders import Ladder, noise
from xbench.spec import Call

SIZES = (0.1, 0.2, 0.4)
CLUSTERS = [f"c{n // 2}" for n in range(24)]  # 12 clusters of two clips


def steps(means: tuple[float, ...], *, spread: float = 0.0, metric: str = "pearson") -> Steps:
    """Scores of 24 clips: the mean of each step, and noise of its own for each clip and step."""
    draws = np.random.default_rng(0).normal(0, spread, (len(means), len(CLUSTERS)))
    values = np.array(means)[:, None] + draws
    return Steps(
        "reference",
        Call(metric),
        "spes-encoder",
        Ladder("noise", "share", SIZES, noise),
        tuple(tuple(float(v) for v in row) for row in values),
    )


def test_a_metric_that_sees_every_step() -> None:
    found = finding(steps((0.9, 0.8, 0.6, 0.3), spread=0.01), CLUSTERS, 0)
    assert found.order.value == 1
    assert found.order.low == 1
    assert found.sensitivity == 0.1
    assert found.raised == ()
    assert not found.blind
    assert [round(s.worse_by.value or 0, 1) for s in found.steps] == [0.1, 0.3, 0.6]


def test_lower_is_better_is_turned_around() -> None:
    found = finding(steps((0.1, 0.2, 0.3, 0.5), spread=0.01, metric="emd"), CLUSTERS, 0)
    assert (found.order.value, found.sensitivity, found.raised) == (1, 0.1, ())
    assert found.steps[0].worse_by.value == pytest.approx(0.1, abs=0.01)
    wrong = finding(steps((0.5, 0.3, 0.2, 0.1), spread=0.01, metric="emd"), CLUSTERS, 0)
    assert (wrong.order.value, wrong.sensitivity, wrong.raised) == (-1, None, SIZES)


def test_a_step_that_raises_the_score_is_a_blind_spot() -> None:
    found = finding(steps((0.5, 0.6, 0.4, 0.2), spread=0.01), CLUSTERS, 0)
    assert found.raised == (0.1,)
    assert found.sensitivity == 0.2
    # Of six pairs one is in the wrong order: (5 - 1) / 6.
    assert found.order.value == pytest.approx(4 / 6)


def test_only_steps_from_which_on_all_are_told_apart_count() -> None:
    found = finding(steps((0.9, 0.8, 0.9, 0.3)), CLUSTERS, 0)
    assert found.steps[0].told_apart
    assert not found.steps[1].told_apart
    assert found.sensitivity == 0.4


def test_equal_scores_are_blind() -> None:
    found = finding(steps((0.5, 0.5, 0.5, 0.5)), CLUSTERS, 0)
    assert found.blind
    assert (found.order.value, found.order.reason) == (None, "all-tied")
    assert (found.sensitivity, found.raised) == (None, ())


def test_a_metric_without_values_finds_nothing() -> None:
    empty = Steps(
        "reference", Call("auroc"), "r", Ladder("noise", "share", SIZES, noise), ((None,) * 24,) * 4
    )
    found = finding(empty, CLUSTERS, 0)
    assert (found.intact, found.order.reason) == (None, "no-common-utterance")
    assert not found.blind
    assert found.sensitivity is None


def test_fewer_than_five_clusters_tell_nothing_apart() -> None:
    found = finding(steps((0.9, 0.8, 0.6, 0.3), spread=0.01), ["a", "b", "c", "d"] * 6, 0)
    assert found.sensitivity is None
    assert found.steps[2].worse_by.ci_reason == "fewer-than-5-clusters"


def test_clips_needed_is_the_size_of_sample_that_a_power_of_80_percent_takes() -> None:
    """With a change of one standard deviation of the mean of 400 single clips: ((1.96 + 0.84) 1)^2 x 400 = 3,140."""
    draws = np.random.default_rng(1).normal(0, 1, 400)
    draws = (draws - draws.mean()) / draws.std(ddof=1)
    names = [str(n) for n in range(400)]
    assert clips_needed((draws + 1 / math.sqrt(400)).tolist(), names) == 3140
    assert clips_needed((draws + 100).tolist(), names) == 5
    assert clips_needed((draws - 1).tolist(), names) is None
    # Clips of one cluster that all say the same are worth one clip.
    doubled = np.repeat(draws + 1 / math.sqrt(400), 2).tolist()
    assert clips_needed(doubled, np.repeat(names, 2).tolist()) == 6280


def test_clips_needed_finds_the_change_four_times_out_of_five() -> None:
    generator = np.random.default_rng(2)
    change = 0.4
    need = clips_needed(
        (change + generator.normal(0, 1, 4000)).tolist(), [str(n) for n in range(4000)]
    )
    assert need is not None
    samples = change + generator.normal(0, 1, (4000, need))
    t = samples.mean(1) / (samples.std(1, ddof=1) / math.sqrt(need))
    assert (t > 1.96).mean() == pytest.approx(0.8, abs=0.04)
