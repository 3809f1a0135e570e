from __future__ import annotations

import itertools
from math import sqrt

import numpy as np
import pytest
from scipy import stats as scipy_stats

from xbench.errors import UsageError
from xbench.stats import comparison
from xbench.stats.comparison import compare

LETTERS = [chr(ord("a") + index) for index in range(26)]


def one_pair(differences: list[float], **options: bool) -> comparison.Comparison:
    """Compare a method with one that has 0 everywhere; a cluster per utterance."""
    zeros = [0.0] * len(differences)
    clusters = LETTERS[: len(differences)]
    return compare(["x", "zero"], [differences, zeros], clusters, higher_is_better=True, seed=0)


def test_one_pair_by_hand() -> None:
    # Differences -1, 1, 2, 2, 3, 5: they lie even about 2. Of 32 distinct flips |sum| reaches 12 when nothing flips,
    # when -1 does (14) and when 1 and -1 do: p = 3/32. The 95 % quantile of |sum| is then 12 / sqrt(44), and
    # |12 - 6 delta| <= 12 / sqrt(44) sqrt(44 - 24 delta + 6 delta^2) from 0 on:
    # 144 - 144 delta + 36 delta^2 = 144 - 864/11 delta + 216/11 delta^2, delta = 0 or 4.
    result = one_pair([-1, 1, 2, 2, 3, 5])
    (pair,) = result.pairs
    assert (pair.first, pair.second, pair.n, pair.n_clusters) == ("x", "zero", 6, 6)
    assert pair.difference == pytest.approx(2)
    assert pair.p == pytest.approx(3 / 32)
    assert (pair.low, pair.high) == (pytest.approx(0, abs=1e-12), pytest.approx(4))
    assert not pair.distinguished
    assert result.best_group == ("x", "zero")
    assert (result.rank_low, result.rank_high) == ({"x": 1, "zero": 1}, {"x": 2, "zero": 2})
    # What could not have been seen: half of the interval.
    assert result.resolution == pytest.approx(2)
    assert one_pair([1, 2, 3, 4]).resolution is None


def test_a_clear_difference_by_hand() -> None:
    # All of one sign: only the unflipped data reach 21, p = 1/32.
    result = one_pair([1, 2, 3, 4, 5, 6])
    assert result.pairs[0].p == pytest.approx(1 / 32)
    assert result.pairs[0].distinguished
    assert result.pairs[0].low > 0
    assert result.best_group == ("x",)
    assert (result.rank_low, result.rank_high) == ({"x": 1, "zero": 2}, {"x": 1, "zero": 2})


def test_direction_decides_who_is_best() -> None:
    rows, clusters = [[float(k) for k in range(1, 8)], [0.0] * 7], LETTERS[:7]
    lower = compare(["x", "zero"], rows, clusters, higher_is_better=False, seed=0)
    assert (lower.order, lower.best_group) == (("zero", "x"), ("zero",))
    assert lower.rank_low == {"zero": 1, "x": 2}
    assert lower.pair("x", "zero").difference == pytest.approx(-4)  # of the pair (zero, x)


@pytest.mark.parametrize("count", [6, 10, 13])
def test_one_pair_agrees_with_the_permutation_test_of_scipy(count: int) -> None:
    # Even about 0.4, so that there is no skewness to correct for.
    half = np.random.default_rng(count).normal(0, 1, size=count // 2)
    values = 0.4 + np.concatenate([half, -half, np.zeros(count % 2)])
    other = scipy_stats.permutation_test(
        (values, np.zeros(count)),
        lambda x, y, axis: np.abs((x - y).sum(axis)),
        permutation_type="samples",
        n_resamples=np.inf,
        alternative="greater",
        vectorized=True,
    )
    assert one_pair(values.tolist()).pairs[0].p == pytest.approx(other.pvalue, rel=1e-12)


def step_down_in_words(table: np.ndarray) -> dict[tuple[int, int], float]:
    """Adjust p of all pairs as Westfall and Young write it: flip by flip, pair by pair."""
    pairs = list(itertools.combinations(range(len(table)), 2))
    differences = {pair: table[pair[0]] - table[pair[1]] for pair in pairs}

    def statistic(values: np.ndarray) -> float:
        return abs(float(values.sum())) / sqrt(float((values**2).sum()))

    def corrected(values: np.ndarray) -> float:
        n, t = len(values), abs(float(scipy_stats.ttest_1samp(values, 0).statistic))
        k = float(scipy_stats.skew(values, bias=False)) / sqrt(n) * np.sign(values.sum())
        g = t + k * t**2 / 3 + k**2 * t**3 / 27 + k / 6
        t = min(t, max(g, 0.0))
        return t * sqrt(n / (n - 1 + t**2))

    observed = {pair: corrected(differences[pair]) for pair in pairs}
    falling = sorted(pairs, key=lambda pair: -observed[pair])
    flips = list(itertools.product([1, -1], repeat=table.shape[1]))
    adjusted, before = {}, 0.0
    for position, pair in enumerate(falling):
        rest = falling[position:]
        reached = sum(
            max(statistic(np.array(flip) * differences[other]) for other in rest)
            >= observed[pair] - 1e-12
            for flip in flips
        )
        before = adjusted[pair] = max(before, reached / len(flips))
    return adjusted


def test_step_down_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    table = rng.normal(size=(4, 8)) * 0.3 + np.array([[1.2], [0.6], [0.5], [0.0]])
    order = np.argsort(-table.mean(axis=1))
    result = compare(LETTERS[:4], table.tolist(), LETTERS[:8], higher_is_better=True, seed=0)
    expected = step_down_in_words(table)
    assert len(set(expected.values())) > 2
    for (i, j), p in expected.items():
        assert result.pair(LETTERS[i], LETTERS[j]).p == pytest.approx(p, rel=1e-12)
    assert result.order == tuple(LETTERS[i] for i in order)
    for pair in result.pairs:  # the interval is the single-step test turned round
        if pair.low is not None and pair.low * pair.high > 0:
            assert pair.distinguished


def test_skewness_moves_the_end_on_the_side_of_the_tail_alone() -> None:
    # Rarely much worse: most clusters favour the first method a little, one may favour the other by much.
    often = [0.20, 0.22, 0.18, 0.21, 0.19, 0.20, 0.23, 0.17, 0.20, 0.2]
    tail = compare(
        ["x", "zero"], [[*often, -0.4], [0.0] * 11], LETTERS[:11], higher_is_better=True, seed=0
    )
    (pair,) = tail.pairs
    values = np.array([*often, -0.4])
    t = float(scipy_stats.ttest_1samp(values, 0).statistic)
    k = float(scipy_stats.skew(values, bias=False)) / sqrt(11)
    assert k < -0.5
    assert t + k * t**2 / 3 + k**2 * t**3 / 27 + k / 6 < t / 2
    # Without the correction 11 of 1,024 flips reach as far; of the corrected statistic many do.
    assert pair.p > 0.05
    assert pair.low < 0 < pair.high
    assert pair.difference - pair.low > 1.2 * (pair.high - pair.difference)
    mirrored = one_pair([-value for value in [*often, -0.4]]).pairs[0]
    assert (mirrored.difference, mirrored.p) == (pytest.approx(pair.difference), pair.p)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "most"), [(8, 0.13), (16, 0.09), (30, 0.09)])
def test_skewed_differences_of_equal_methods_are_rarely_told_apart(count: int, most: float) -> None:
    """Three quiet methods and one with a lognormal tail; without the correction it is 0.11 to 0.14."""
    rng, found = np.random.default_rng(count), 0
    clusters = [str(cluster) for cluster in range(count)]
    for seed in range(300):
        tail = 0.1 * (np.exp(0.5) - rng.lognormal(size=count))
        rows = [*(0.01 * rng.normal(size=(3, count))), tail]
        table = compare(
            list("abcd"), [r.tolist() for r in rows], clusters, higher_is_better=True, seed=seed
        )
        found += any(pair.distinguished for pair in table.pairs)
    assert found / 300 <= most


def test_random_flips_come_near_all_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(4).normal(size=(3, 12)) + np.array([[0.9], [0.4], [0.0]])
    arguments = (LETTERS[:3], table.tolist(), LETTERS[:12])
    exact = compare(*arguments, higher_is_better=True, seed=0)
    monkeypatch.setattr(comparison, "FLIPS", 2000)
    seeds = [compare(*arguments, higher_is_better=True, seed=seed) for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1]
    for one, other in zip(exact.pairs, seeds[0].pairs, strict=True):
        assert other.p == pytest.approx(one.p, abs=0.03)
    assert seeds[0] != seeds[2]
    monkeypatch.setattr(comparison, "_CELLS_AT_ONCE", 7 * 12)
    assert compare(*arguments, higher_is_better=True, seed=0) == seeds[0]


def test_clusters_are_flipped_whole() -> None:
    per_cluster = [0.3, -0.1, 0.4, 0.2, 0.6, 0.1, 0.5, -0.2]
    once = one_pair(per_cluster)
    each = [value for value in per_cluster for _ in range(5)]
    clusters = [name for name in LETTERS[:8] for _ in range(5)]
    tenfold = compare(["x", "zero"], [each, [0.0] * 40], clusters, higher_is_better=True, seed=0)
    assert tenfold.pairs[0].p == once.pairs[0].p
    assert tenfold.pairs[0].low == pytest.approx(once.pairs[0].low, rel=1e-9)
    assert (tenfold.n, tenfold.n_clusters) == (40, 8)


def test_order_of_utterances_and_shift_of_scores_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    table, clusters = rng.normal(size=(3, 60)), np.array([f"{k // 2:02}" for k in range(60)])
    order = rng.permutation(60)
    first = compare(LETTERS[:3], table.tolist(), clusters.tolist(), higher_is_better=True, seed=0)
    second = compare(
        LETTERS[:3],
        (5 + table[:, order]).tolist(),
        clusters[order].tolist(),
        higher_is_better=True,
        seed=0,
    )
    assert [p.p for p in first.pairs] == [p.p for p in second.pairs]


def test_pairs_compare_on_common_utterances() -> None:
    nan = None
    rows = [
        [1.0, 2, 3, 4, 5, 6, 7, nan],
        [0.0, 0, 0, 0, 0, 0, nan, 9],
        [nan, nan, nan, nan, nan, nan, nan, 1.0],
        [nan] * 8,
    ]
    result = compare(["x", "y", "z", "none"], rows, LETTERS[:8], higher_is_better=True, seed=0)
    assert set(result.order) == {"x", "y", "z"}
    assert (result.n, result.n_clusters) == (0, 7)
    xy = result.pair("x", "y")
    assert (abs(xy.difference or 0), xy.n, xy.n_clusters) == (3.5, 6, 6)
    xz = result.pair("x", "z")
    assert (xz.difference, xz.p, xz.n, xz.reason) == (None, None, 0, "no-common-utterance")
    assert "z" in result.best_group  # nothing tells it from the best


def test_equal_methods_are_not_distinguished() -> None:
    row = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    (pair,) = compare(["x", "y"], [row, row], LETTERS[:7], higher_is_better=True, seed=0).pairs
    assert (pair.difference, pair.p, pair.low) == (0.0, 1.0, None)
    assert pair.interval_reason == "no-variation-between-clusters"


def test_too_few_clusters_or_methods_say_so() -> None:
    few = one_pair([1.0, 2, 3, 4, 5])
    assert (few.reason, few.best_group, few.rank_low) == ("fewer-than-6-clusters", (), {})
    assert few.pairs[0].difference == pytest.approx(3)
    assert (few.pairs[0].p, few.pairs[0].reason) == (None, "fewer-than-6-clusters")
    alone = compare(["x"], [[1.0] * 8], LETTERS[:8], higher_is_better=True, seed=0)
    assert (alone.reason, alone.pairs, alone.order) == ("fewer-than-2-methods", (), ("x",))
    nothing = compare([], [], [], higher_is_better=True, seed=0)
    assert (nothing.reason, nothing.n) == ("fewer-than-2-methods", 0)


@pytest.mark.parametrize(
    ("names", "values", "clusters", "message"),
    [
        (["x", "x"], [[1.0], [2.0]], ["a"], "same name"),
        (["x", "y"], [[1.0], [float("nan")]], ["a"], "finite"),
        (["x", "y"], [[1.0], [2.0, 3.0]], ["a"], "one cluster per utterance"),
        (["x", "y"], [[1.0]], ["a"], "one row of values per method"),
    ],
)
def test_bad_input_is_refused(
    names: list[str], values: list[list[float]], clusters: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compare(names, values, clusters, higher_is_better=True, seed=0)


def draw(rng: np.random.Generator, effects: np.ndarray, count: int) -> tuple[np.ndarray, list[str]]:
    """Draw scores of methods: clusters of 1 to 8 utterances, skewed noise that the methods share in part."""
    sizes = rng.integers(1, 9, size=count)
    members = np.repeat(np.arange(count), sizes)
    shape = (len(effects), count)
    of_cluster = rng.exponential(size=shape)[:, members] + 2 * rng.normal(size=count)[members]
    noise = rng.normal(size=(len(effects), len(members)))
    return effects[:, None] + of_cluster + noise, [f"{c:03}" for c in members]


@pytest.mark.parametrize(
    ("count", "repetitions"),
    [
        (6, 300),
        (20, 300),
        *(pytest.param(count, 2000, marks=pytest.mark.slow) for count in (6, 12, 40)),
    ],
)
def test_false_findings_among_all_pairs_stay_at_five_percent(
    count: int, repetitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "FLIPS", 400)
    rng = np.random.default_rng(count)
    # Three equal methods and two equal ones far below: only pairs within a group can be wrong.
    effects = np.array([3.0, 3, 3, 0, 0])
    wrong = covered = 0
    for repetition in range(repetitions):
        table, clusters = draw(rng, effects, count)
        result = compare(
            LETTERS[:5], table.tolist(), clusters, higher_is_better=True, seed=repetition
        )
        wrong += any(
            pair.distinguished
            for pair in result.pairs
            if (pair.first in "abc") == (pair.second in "abc")
        )
        covered += all(
            result.rank_low[name] <= (3 if name in "abc" else 5)
            and result.rank_high[name] >= (1 if name in "abc" else 4)
            and (name not in "abc" or result.rank_low[name] == 1)
            for name in LETTERS[:5]
        )
    margin = 2.6 * sqrt(0.05 * 0.95 / repetitions)
    assert wrong / repetitions <= 0.05 + margin
    assert covered / repetitions >= 0.95 - margin


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, 60])
def test_simultaneous_intervals_cover_all_differences(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "FLIPS", 1000)
    rng = np.random.default_rng(count)
    effects = {"a": 1.0, "b": 0.7, "c": 0.3, "d": 0.0}
    covered, repetitions = 0, 2000
    for repetition in range(repetitions):
        table, clusters = draw(rng, np.array(list(effects.values())), count)
        result = compare(
            list(effects), table.tolist(), clusters, higher_is_better=True, seed=repetition
        )
        covered += all(
            # An interval that is withheld excludes nothing.
            pair.low is None or pair.low <= effects[pair.first] - effects[pair.second] <= pair.high
            for pair in result.pairs
        )
    assert 0.93 <= covered / repetitions <= 0.975


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 16])
def test_false_differences_come_from_samples_without_the_rare_clusters(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing in such a sample, no leverage and no kurtosis, can say that the difference is false."""
    monkeypatch.setattr(comparison, "FLIPS", 1000)
    rng = np.random.default_rng(count)
    names = [str(c) for c in range(count)]
    false = unseen = 0
    for seed in range(300):
        bad = rng.random(count) < 0.08
        rows = [0.01 * rng.normal(size=count), 0.5 * (0.08 - bad) + 0.05 * rng.normal(size=count)]
        table = [row.tolist() for row in rows]
        found = compare(["a", "b"], table, names, higher_is_better=True, seed=seed)
        false += bool(found.pairs[0].distinguished)
        unseen += bool(found.pairs[0].distinguished and not bad.any())
    assert false > 30
    assert unseen >= 0.9 * false


def test_pairs_and_flips_in_blocks_give_what_they_give_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(3)
    values = [list(map(float, row)) for row in generator.normal(size=(5, 16))]
    values[1][4] = values[3][4] = None  # type: ignore[call-overload]
    clusters = LETTERS[:8] * 2
    found = []
    for cells, pairs_at_once in ((1 << 21, 32), (40, 3)):  # 40: two pairs and five flips at once
        monkeypatch.setattr(comparison, "_CELLS_AT_ONCE", cells)
        monkeypatch.setattr(comparison, "_PAIRS_AT_ONCE", pairs_at_once)
        pairs = compare(LETTERS[:5], values, clusters, higher_is_better=True, seed=0).pairs
        found.append([(p.difference, p.low, p.high, p.p, p.n) for p in pairs])
    np.testing.assert_allclose(np.array(found[0]), np.array(found[1]), rtol=1e-12)
    assert {pair[4] for pair in found[0]} == {15, 16}
