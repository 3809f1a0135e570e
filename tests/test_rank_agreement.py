from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from xbench.errors import UsageError
from xbench.stats import intervals, rank_agreement
from xbench.stats.ranking import rank_agreement_apart


def names(count: int) -> list[str]:
    return [f"{index:03}" for index in range(count)]


def test_tau_b_by_hand() -> None:
    # Means 3, 2, 2, 1 and 4, 3, 1, 1: of six pairs four agree, one is tied by each score alone:
    # tau_b = 4 / sqrt(5 * 5).
    first, second = [[3.0], [2.0], [2.0], [1.0]], [[4.0], [3.0], [1.0], [1.0]]
    result = rank_agreement(first, second, ["a"], seed=0)
    assert result.value == pytest.approx(4 / 5)
    assert (result.low, result.ci_reason) == (None, "fewer-than-5-clusters")


@pytest.mark.parametrize("methods", [3, 10, 50])
def test_tau_b_agrees_with_scipy(methods: int) -> None:
    rng = np.random.default_rng(methods)
    first, second = rng.integers(0, 4, size=(2, methods, 5)).astype(float)
    expected = scipy_stats.kendalltau(first.sum(1), second.sum(1)).statistic
    result = rank_agreement(first.tolist(), second.tolist(), ["a"] * 5, seed=0)
    assert result.value == pytest.approx(expected, rel=1e-12)


def test_the_interval_is_the_cluster_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = np.linspace(0, 1, 6)[:, None]
    members = np.repeat(np.arange(12), rng.integers(1, 5, size=12))
    first, second = truth + rng.normal(size=(2, 6, len(members)))
    draws = []
    for _ in range(1000):
        drawn = np.concatenate([np.flatnonzero(members == c) for c in rng.integers(12, size=12)])
        pair = first[:, drawn].mean(1), second[:, drawn].mean(1)
        draws.append(scipy_stats.kendalltau(*pair).statistic)
    result = rank_agreement(first.tolist(), second.tolist(), [f"{m:02}" for m in members], seed=0)
    limits = np.quantile(draws, [0.025, 0.975])  # tau of six methods moves in steps of 2/15
    assert result.low == pytest.approx(limits[0], abs=0.14)
    assert result.high == pytest.approx(limits[1], abs=0.14)
    assert (result.n, result.n_clusters) == (len(members), 12)
    monkeypatch.setattr("xbench.stats.ranking._CELLS_AT_ONCE", 50 * 36)
    again = rank_agreement(first.tolist(), second.tolist(), [f"{m:02}" for m in members], seed=0)
    assert again == result


def test_equal_scores_agree_and_opposite_ones_do_not() -> None:
    rows = (np.arange(4.0)[:, None] + 0.01 * np.random.default_rng(0).normal(size=(4, 8))).tolist()
    same = rank_agreement(rows, rows, names(8), seed=0)
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)
    opposite = rank_agreement(rows, [[-x for x in row] for row in rows], names(8), seed=0)
    assert (opposite.value, opposite.high) == (-1.0, -1.0)


def test_only_complete_utterances_count() -> None:
    rows = [[1.0, 5, 1], [2.0, 0, 2], [3.0, None, 3]]
    whole = rank_agreement(rows, [[1.0, 1, 1], [2.0, 2, 2], [3.0, 3, None]], names(3), seed=0)
    assert (whole.value, whole.n, whole.n_clusters) == (1.0, 1, 1)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([[1.0], [2.0]], [[1.0], [2.0]], "fewer-than-3-methods"),
        ([[1.0], [1.0], [1.0]], [[1.0], [2.0], [3.0]], "all-tied"),
        ([[None], [1.0], [1.0]], [[1.0], [2.0], [3.0]], "no-common-utterance"),
    ],
)
def test_null_with_a_reason(
    first: list[list[float | None]], second: list[list[float]], reason: str
) -> None:
    result = rank_agreement(first, second, ["a"], seed=0)
    assert (result.value, result.reason) == (None, reason)


def test_a_draw_that_ties_everything_leaves_no_interval() -> None:
    # Only one of six clusters tells the methods apart: a draw without it ties them.
    rows = [[float(method)] + [0.0] * 5 for method in range(3)]
    result = rank_agreement(rows, rows, names(6), seed=0)
    assert (result.value, result.low, result.ci_reason) == (1.0, None, "unstable-ranking")
    assert intervals.DRAWS == 10_000


def test_lengths_must_agree() -> None:
    with pytest.raises(UsageError, match="one row per method"):
        rank_agreement([[1.0]], [], ["a"], seed=0)
    with pytest.raises(UsageError, match="one value per utterance"):
        rank_agreement([[1.0]], [[1.0, 2.0]], ["a"], seed=0)


def test_two_sets_of_clips_are_drawn_apart() -> None:
    # Set one orders a < b < c whatever is drawn. In set two c's single good clip, one of five, decides: drawn
    # at least once (1 - 0.8^5 = 0.67 of the draws) the orders agree, else c falls to the lowest place.
    first = [[0.0] * 6, [1.0] * 6, [2.0] * 6]
    second = [[1.0] * 5, [2.0] * 5, [0.0, 0.0, 0.0, 0.0, 100.0]]
    found = rank_agreement_apart(first, second, (names(6), names(5)), seed=0)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(-1 / 3)  # b < c and a < c turn round, a < b stays
    assert (found.n, found.n_clusters) == (11, 5)


def test_apart_agrees_with_a_bootstrap_written_out() -> None:
    rng = np.random.default_rng(3)
    truth = np.linspace(0, 1, 6)[:, None]
    first, second = truth + rng.normal(size=(6, 12)), truth + rng.normal(size=(6, 20))
    draws = []
    for _ in range(1000):
        one, two = first[:, rng.integers(12, size=12)], second[:, rng.integers(20, size=20)]
        draws.append(scipy_stats.kendalltau(one.mean(1), two.mean(1)).statistic)
    result = rank_agreement_apart(first.tolist(), second.tolist(), (names(12), names(20)), seed=0)
    limits = np.quantile(draws, [0.025, 0.975])
    exact = scipy_stats.kendalltau(first.mean(1), second.mean(1)).statistic
    assert result.value == pytest.approx(exact, rel=1e-12)
    assert result.low == pytest.approx(limits[0], abs=0.14)
    assert result.high == pytest.approx(limits[1], abs=0.14)


def test_apart_says_why_there_is_nothing() -> None:
    rows = [[0.0, 1.0], [1.0, 2.0], [2.0, 0.0]]
    assert rank_agreement_apart(rows[:2], rows[:2], (names(2), names(2)), seed=0).reason == (
        "fewer-than-3-methods"
    )
    few = rank_agreement_apart(rows, rows, (names(2), names(2)), seed=0)
    assert (few.value, few.ci_reason) == (pytest.approx(1.0), "fewer-than-5-clusters")
    none = rank_agreement_apart(rows, [[None, None]] * 3, (names(2), names(2)), seed=0)
    assert none.reason == "no-common-utterance"
    tied = rank_agreement_apart(rows, [[1.0]] * 3, (names(2), names(1)), seed=0)
    assert tied.reason == "all-tied"
