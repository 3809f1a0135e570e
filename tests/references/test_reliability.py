from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import zscore

from xbench.maps import GridMap, Layout, on_encoder_grid
from xbench.metrics.agreement import pearson, pearson_paper
from xbench.metrics.batch import Maps, weighted_means
from xbench.metrics.pearson_batch import pearson_of_many
from xbench.references.reliability import (
    Ceiling,
    ceiling_pearson,
    ceiling_pearson_paper,
    row_reliability,
    structural,
    utterance_reliability,
    weighted_ceiling_pearson,
)
from xbench.spec import Scoring

DEFAULT = Scoring()


def layout(rows: int, frames: int, *, special: int = 0, stride: int = 2) -> Layout:
    names = tuple(str(row) for row in range(rows))
    content = tuple(range(rows - special))
    return Layout(tuple(range(rows)), names, content, frames, stride * frames, stride, 0.01)


RISING = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([1, 3, 2], 2 / 3),  # r = 1/2
        ([2, 4, 6], 1),  # r = 1
        ([1, 5, 1], 0),  # r = 0
        ([3, 1, 2], -1),  # r = -1/2: the formula says -2
        ([3, 2, 1], -1),  # r = -1: the formula says minus infinity
    ],
)
def test_spearman_brown_by_hand(other: list[float], expected: float) -> None:
    (value,) = row_reliability(RISING[None], np.array([other], dtype=np.float64))
    assert value == pytest.approx(expected, abs=1e-14)


def test_spearman_brown_below_zero_by_hand() -> None:
    # Deviations (-3, 1, 1, 1) and (1, -3, 1, 1): r = -4/12 = -1/3, SB = -1 exactly;
    # deviations (-1, 0, 1, 0) and (1, 2, 0, -3): r = -1 / sqrt(2 * 14), above the bound.
    first = np.array([[-3.0, 1, 1, 1], [-1, 0, 1, 0]])
    second = np.array([[1.0, -3, 1, 1], [1, 2, 0, -3]])
    r = -1 / sqrt(28)
    assert row_reliability(first, second) == pytest.approx((-1, 2 * r / (1 + r)), rel=1e-14)


def test_constant_rows_have_no_reliability() -> None:
    first = np.array([[1.0, 2, 3], [5, 5, 5], [1, 2, 3]])
    second = np.array([[1.0, 3, 2], [1, 2, 3], [0, 0, 0]])
    assert row_reliability(first, second) == (pytest.approx(2 / 3), None, None)


def halves(rows_a: list[list[float]], rows_b: list[list[float]]) -> tuple[GridMap, GridMap]:
    return GridMap(np.array(rows_a, dtype=np.float64)), GridMap(np.array(rows_b, dtype=np.float64))


def test_utterance_reliability_is_the_mean_of_corrected_rows() -> None:
    # Rows 2/3 and 1, a constant one, and an end-of-text row that must not count.
    a, b = halves(
        [[1, 2, 3], [0, 0, 1], [4, 4, 4], [1, 2, 3]], [[1, 3, 2], [5, 5, 6], [1, 2, 3], [3, 2, 1]]
    )
    result = utterance_reliability(a, b, layout(4, 3, special=1))
    assert result.value == pytest.approx(5 / 6, rel=1e-14)  # the correction of the mean says 6/7
    assert result.rows == (pytest.approx(2 / 3), pytest.approx(1), None)
    assert result.constant_rows == 1
    assert result.reason is None


@pytest.mark.parametrize(
    ("rows_a", "rows_b", "special", "reason"),
    [
        ([[1, 2, 3]], [[1, 3, 2]], 1, "empty-hypothesis"),
        ([[1, 2]], [[1, 3]], 0, "too-few-frames"),
        ([[1, 2, np.nan]], [[1, 3, 2]], 0, "non-finite"),
        ([[1, 2, 3]], [[1, 3, np.inf]], 0, "non-finite"),
        ([[1, 1, 1]], [[1, 3, 2]], 0, "constant-reference"),
        ([[1, 2, 3]], [[2, 2, 2]], 0, "constant-reference"),
        ([[1, 2, 3], [1, 1, 1]], [[2, 2, 2], [1, 2, 3]], 0, "constant-reference"),
    ],
)
def test_reliability_and_ceilings_say_why_they_are_null(
    rows_a: list[list[float]], rows_b: list[list[float]], special: int, reason: str
) -> None:
    a, b = halves(rows_a, rows_b)
    grid = layout(len(rows_a), len(rows_a[0]), special=special)
    result = utterance_reliability(a, b, grid)
    assert (result.value, result.reason) == (None, reason)
    for ceiling in (ceiling_pearson, ceiling_pearson_paper):
        assert ceiling(a, a, b, grid, DEFAULT) == Ceiling(None, None, None, reason)


def sparse_truth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw maps as saliency looks: mostly near zero, few peaks."""
    return rng.gamma(0.4, size=shape)


@pytest.mark.parametrize("noise", [0.3, 0.5, 0.8, 1.2])
def test_reliability_predicts_independent_references(noise: float) -> None:
    rng = np.random.default_rng(0)
    truth = sparse_truth(rng, (10, 60))
    grid = layout(10, 60)
    predicted, observed = [], []
    for _ in range(60):
        a, b, c, d = truth + noise * rng.normal(size=(4, 10, 60))
        predicted.append(utterance_reliability(GridMap(a), GridMap(b), grid).value)
        observed.append(pearson(GridMap((a + b) / 2), GridMap((c + d) / 2), grid, DEFAULT).value)
    assert np.mean(predicted) == pytest.approx(np.mean(observed), abs=0.02)


@pytest.mark.parametrize("noise", [0.2, 0.3])
def test_reliability_of_max_pooled_references(noise: float) -> None:
    rng = np.random.default_rng(1)
    # Neighbouring cells belong together, as segments and words make them.
    truth = np.repeat(np.repeat(sparse_truth(rng, (6, 10, 4)), 8, axis=1), 4, axis=2)
    grid = layout(6, 20, stride=4)
    predicted, observed = [], []
    for _ in range(40):
        a, b, c, d = truth + noise * rng.normal(size=(4, *truth.shape))
        pooled = [on_encoder_grid(x, grid, DEFAULT) for x in (a, b, (a + b) / 2, (c + d) / 2)]
        predicted.append(utterance_reliability(pooled[0], pooled[1], grid).value)
        observed.append(pearson(pooled[2], pooled[3], grid, DEFAULT).value)
    assert np.mean(observed) >= 0.8
    assert np.mean(predicted) == pytest.approx(np.mean(observed), abs=0.02)


@pytest.mark.parametrize(
    ("noise", "says", "is_", "redrawn"),
    [(0.05, 0.93, 0.94, 0.80), (0.1, 0.77, 0.81, 0.27), (0.15, 0.56, 0.63, 0.04)],
)
def test_the_reliability_of_max_pooled_references_is_too_low(
    noise: float, says: float, is_: float, redrawn: float
) -> None:
    """The figures of docs/validity.md: tokens that a few of 16 superpixels of their frames matter for."""
    rng = np.random.default_rng(0)
    place = rng.integers(5, 55, 200)[:, None]
    in_time = np.exp(-0.5 * ((np.arange(60) - place) / 2) ** 2)
    truth = in_time[:, :, None] * (rng.random((200, 1, 16)) < 0.3) * rng.random((200, 1, 16))
    a, b, c, d = truth + noise * sqrt(2) * rng.normal(size=(4, *truth.shape))
    grid = layout(200, 60)
    predicted = utterance_reliability(GridMap(a.max(2)), GridMap(b.max(2)), grid).value
    whole = (GridMap(((a + b) / 2).max(2)), GridMap(((c + d) / 2).max(2)))
    assert predicted == pytest.approx(says, abs=0.015)
    assert pearson(*whole, grid, DEFAULT).value == pytest.approx(is_, abs=0.015)
    # Noise of the estimated size drawn anew around the map, shrunk by the reliability of its cells, is no better guess.
    mean, spread = (a + b) / 2, (a - b).std(axis=(1, 2), keepdims=True) / 2
    of_cells = [value or 0.0 for value in row_reliability(a.reshape(200, -1), b.reshape(200, -1))]
    middle = mean.mean((1, 2), keepdims=True)
    shrunk = middle + np.maximum(of_cells, 0)[:, None, None] * (mean - middle)
    again = [GridMap((shrunk + spread * rng.normal(size=truth.shape)).max(2)) for _ in range(2)]
    assert pearson(*again, grid, DEFAULT).value == pytest.approx(redrawn, abs=0.02)


def mean_ceilings(truth: np.ndarray, noise: np.ndarray | float, runs: int) -> dict[str, float]:
    """Return what is estimated from two noisy halves on average, and what a map without noise then scores."""
    rng = np.random.default_rng(2)
    shape, clean = layout(*truth.shape), GridMap(truth)
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        a, b = truth + noise * rng.normal(size=(2, *truth.shape))
        halves, mean = (GridMap(a), GridMap(b)), GridMap((a + b) / 2)
        paper = ceiling_pearson_paper(mean, *halves, shape, DEFAULT)
        by_row = pearson_paper(clean, mean, shape, DEFAULT, rows="z-score").value
        row = {
            "reliability": utterance_reliability(*halves, shape).value,
            "pearson": ceiling_pearson(mean, *halves, shape, DEFAULT).upper,
            "true pearson": pearson(clean, mean, shape, DEFAULT).value,
            "structural": paper.structural,
            "structural of the mean": structural(mean, shape, DEFAULT),
            "pearson-paper": paper.upper,
            "true pearson-paper": by_row,
        }
        for name, value in row.items():
            found.setdefault(name, []).append(value or 0.0)
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize(("noise", "tolerance"), [(0.05, 0.005), (0.2, 0.02), (0.4, 0.04)])
def test_noise_does_not_raise_the_structural_limit(noise: float, tolerance: float) -> None:
    # Columns that hardly differ between tokens, as silence is, beside columns that do.
    rng = np.random.default_rng(0)
    truth = sparse_truth(rng, (12, 90)) * np.linspace(0.02, 1, 90) + rng.gamma(0.4, size=90)
    limit = structural(GridMap(truth), layout(12, 90), DEFAULT)
    found = mean_ceilings(truth, noise, 60)
    assert found["structural"] == pytest.approx(limit, abs=tolerance)
    assert found["pearson-paper"] == pytest.approx(found["true pearson-paper"], abs=tolerance)
    if noise > 0.1:  # what it was before, and the test can tell
        assert found["structural of the mean"] > limit + 2 * tolerance


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_ceilings_with_rows_that_are_noise(share: float) -> None:
    truth = sparse_truth(np.random.default_rng(3), (16, 120))
    noise = np.where(np.arange(16) < share * 16, 50.0, 0.3)[:, None]
    found = mean_ceilings(truth, noise, 60)
    assert found["pearson"] == pytest.approx(found["true pearson"], abs=0.035)
    assert found["pearson-paper"] == pytest.approx(found["true pearson-paper"], abs=0.05)
    if share == 0.75:  # the square root of the mean reliability would be far off
        assert sqrt(found["reliability"]) > found["true pearson"] + 0.15


def test_ceiling_of_pearson_by_hand() -> None:
    a, b = halves([[1, 2, 3], [0, 0, 1]], [[1, 3, 2], [5, 5, 6]])
    mean = GridMap((a.values + b.values) / 2)
    # Rows 2/3 and 1; the square root of their mean would be sqrt(5/6).
    ceiling = ceiling_pearson(mean, a, b, layout(2, 3), DEFAULT)
    assert ceiling.upper == pytest.approx((sqrt(2 / 3) + 1) / 2, rel=1e-14)
    assert (ceiling.lower, ceiling.structural, ceiling.reason) == (None, None, None)


def test_ceiling_of_pearson_by_effect_by_hand() -> None:
    a, b = halves([[1, 2, 3], [0, 0, 1], [2, 2, 2]], [[1, 3, 2], [5, 5, 6], [1, 2, 3]])
    mean = GridMap((a.values + b.values) / 2)

    def ceiling(*weights: float) -> Ceiling:
        shape = layout(3, 3)
        return weighted_ceiling_pearson(
            mean, a, b, shape, DEFAULT, np.array(weights, dtype=np.float64)
        )

    # Roots sqrt(2/3) and 1; the third row is constant in one half and counts nowhere.
    assert ceiling(1, 3, 100).upper == pytest.approx((sqrt(2 / 3) + 3) / 4, rel=1e-14)
    assert ceiling(1, 1, 1) == ceiling_pearson(mean, a, b, layout(3, 3), DEFAULT)
    assert ceiling(0, 0, 1) == Ceiling(None, reason="no-weight")


@pytest.mark.parametrize("smallest", [1.0, 0.1, 0.01])
def test_a_map_without_noise_scores_what_the_ceiling_by_effect_says(smallest: float) -> None:
    """Effects fall from 1 to the smallest one over the tokens, and with them the signal in the same noise."""
    rng = np.random.default_rng(5)
    size = np.geomspace(1, smallest, 16)[:, None]
    truth = size * sparse_truth(rng, (16, 120))
    shape, scores, plain, ceilings = layout(16, 120), [], [], []
    for _ in range(60):
        a, b = (GridMap(truth + 0.3 * rng.normal(size=truth.shape)) for _ in range(2))
        mean = GridMap((a.values + b.values) / 2)
        weights = np.maximum(mean.values.mean(1), 0.0)  # as a run knows them, with their noise
        judged = pearson_of_many(Maps.of([GridMap(truth)], shape), Maps.of([mean], shape), DEFAULT)
        scores.append(weighted_means(judged, weights)[0].value)
        plain.append(ceiling_pearson(mean, a, b, shape, DEFAULT).upper)
        ceilings.append(weighted_ceiling_pearson(mean, a, b, shape, DEFAULT, weights).upper)
    assert np.mean(ceilings) == pytest.approx(np.mean(scores), abs=0.035)
    if smallest < 0.1:  # the ceiling of the plain score would not do
        assert np.mean(plain) < np.mean(scores) - 0.1


def test_negative_reliability_gives_a_ceiling_of_zero() -> None:
    a, b = halves([[1, 2, 3], [1, 2, 4]], [[3, 1, 2], [3, 1, 2]])
    mean = GridMap((a.values + b.values) / 2)
    assert ceiling_pearson(mean, a, b, layout(2, 3), DEFAULT).upper == 0
    assert ceiling_pearson_paper(mean, a, b, layout(2, 3), DEFAULT).upper == 0


def test_halves_that_cancel_have_no_ceiling() -> None:
    a, b = halves([[1, 2, 3], [1, 2, 4]], [[3, 2, 1], [4, 3, 1]])
    mean = GridMap((a.values + b.values) / 2)
    for ceiling in (ceiling_pearson, ceiling_pearson_paper):
        assert ceiling(mean, a, b, layout(2, 3), DEFAULT).reason == "constant-reference"


def test_structural_ceiling_by_hand() -> None:
    # Row z-scores (-1, 1, 0) sqrt(3/2) and (-1, -1, 2) / sqrt 2; the standard deviation of two
    # values is half their distance: (sqrt(3/2) - sqrt(1/2)) / 2, (sqrt(3/2) + sqrt(1/2)) / 2 and
    # sqrt(2) / 2; their mean is (sqrt 6 + sqrt 2) / 6.
    reference = GridMap(np.array([[1.0, 3, 2], [0, 0, 3]]))
    assert structural(reference, layout(2, 3), DEFAULT) == pytest.approx(
        (sqrt(6) + sqrt(2)) / 6, rel=1e-14
    )


def test_paper_ceiling_is_structural_times_noise() -> None:
    rng = np.random.default_rng(5)
    truth = sparse_truth(rng, (6, 20))
    a, b = (GridMap(truth + 0.3 * rng.normal(size=(6, 20))) for _ in range(2))
    mean = GridMap((a.values + b.values) / 2)
    grid = layout(6, 20, special=1)
    ceiling = ceiling_pearson_paper(mean, a, b, grid, DEFAULT)
    first, second = (zscore(half.values[:5], axis=1) for half in (a, b))
    shared = [max(0.0, np.cov(*pair, ddof=0)[0, 1]) for pair in zip(first.T, second.T, strict=True)]
    spread = np.sqrt(shared).mean() / sqrt((first * second).mean())
    assert ceiling.structural == pytest.approx(spread, rel=1e-13)
    noise = ceiling_pearson(mean, a, b, grid, DEFAULT).upper
    assert ceiling.upper == pytest.approx(spread * noise, rel=1e-13)
    assert ceiling.lower == pearson_paper(a, b, grid, DEFAULT, rows="z-score").value
    assert ceiling.reason is None


def test_special_rows_in_the_statistics_lift_the_structural_bound() -> None:
    rng = np.random.default_rng(5)
    a, b = (GridMap(rng.gamma(0.4, size=(6, 20))) for _ in range(2))
    mean = GridMap((a.values + b.values) / 2)
    grid = layout(6, 20, special=1)
    generated = Scoring(statistics="generated")
    ceiling = ceiling_pearson_paper(mean, a, b, grid, generated)
    assert ceiling.upper == ceiling_pearson(mean, a, b, grid, DEFAULT).upper
    assert (ceiling.structural, ceiling.reason) == (None, "generated-statistics")
    # A loud end-of-text row lets the content rows keep part of their column means.
    loud = np.concatenate([zscore(mean.values[:5], axis=1), np.full((1, 20), 3.0)])
    score = pearson_paper(GridMap(loud, standardised=True), mean, grid, generated).value
    assert score > structural(mean, grid, DEFAULT) + 0.1


def test_single_token_has_no_paper_ceiling() -> None:
    a, b = halves([[1, 2, 3], [1, 2, 4]], [[1, 3, 2], [3, 1, 2]])
    grid = layout(2, 3, special=1)
    assert ceiling_pearson_paper(a, a, b, grid, DEFAULT) == Ceiling(
        None, None, None, "single-token"
    )
    assert ceiling_pearson(a, a, b, grid, DEFAULT).upper == pytest.approx(sqrt(2 / 3))


def test_half_that_is_the_same_for_each_token_has_no_lower_estimate() -> None:
    a, b = halves([[1, 2, 3], [1, 2, 3]], [[1, 3, 2], [1, 2, 4]])
    mean = GridMap((a.values + b.values) / 2)
    ceiling = ceiling_pearson_paper(mean, a, b, layout(2, 3), DEFAULT)
    assert (ceiling.lower, ceiling.reason) == (None, "token-constant")
    assert ceiling.upper is not None


@pytest.mark.parametrize("scoring", [DEFAULT, Scoring(min_max=True)])
@pytest.mark.parametrize("seed", range(3))
def test_no_frame_wise_map_beats_the_structural_ceiling(seed: int, scoring: Scoring) -> None:
    rng = np.random.default_rng(seed)
    reference = GridMap(sparse_truth(rng, (3, 5)))
    grid = layout(3, 5)
    bound = structural(reference, grid, scoring)

    def negative_score(flat: np.ndarray) -> float:
        method = GridMap(flat.reshape(3, 5), standardised=True)
        return -(pearson_paper(method, reference, grid, scoring).value or 0.0)

    found = [minimize(negative_score, rng.normal(size=15), method="L-BFGS-B") for _ in range(4)]
    best = -min(result.fun for result in found)
    assert best <= bound + 1e-12
    assert best == pytest.approx(bound, abs=1e-6)
    target = zscore(reference.values, axis=1)
    if scoring.min_max:
        target = (target - target.min(1, keepdims=True)) / np.ptp(target, axis=1, keepdims=True)
    assert -negative_score(target.ravel()) == pytest.approx(bound, rel=1e-12)


def test_constant_columns_can_pass_the_structural_ceiling() -> None:
    # The bound is about maps that vary in every frame. Here the reference varies in one frame only
    # in what it says about tokens; a map that is constant elsewhere wastes no variance there.
    rng = np.random.default_rng(0)
    values = 1e-3 * rng.normal(size=(6, 12)) + 10 * np.eye(12)[3] * rng.uniform(-1, 1, size=(6, 1))
    reference, grid = GridMap(values), layout(6, 12)
    peaked = np.zeros((6, 12))
    peaked[:, 3] = zscore(values, axis=1)[:, 3]
    score = pearson_paper(GridMap(peaked), reference, grid, DEFAULT).value
    assert score > structural(reference, grid, DEFAULT) + 0.1


@pytest.mark.parametrize(("noise", "tolerance"), [(0.2, 0.01), (0.5, 0.03), (0.9, 0.06)])
def test_a_map_without_noise_scores_what_the_ceilings_say(noise: float, tolerance: float) -> None:
    rng = np.random.default_rng(2)
    truth = sparse_truth(rng, (12, 50))
    grid = layout(12, 50)
    perfect = GridMap(truth)
    rows, columns, by_row, upper, lower = [], [], [], [], []
    for _ in range(60):
        a, b = (GridMap(truth + noise * rng.normal(size=truth.shape)) for _ in range(2))
        mean = GridMap((a.values + b.values) / 2)
        rows.append(pearson(perfect, mean, grid, DEFAULT).value)
        columns.append(pearson_paper(perfect, mean, grid, DEFAULT, rows="z-score").value)
        by_row.append(ceiling_pearson(mean, a, b, grid, DEFAULT).upper)
        ceiling = ceiling_pearson_paper(mean, a, b, grid, DEFAULT)
        upper.append(ceiling.upper)
        lower.append(ceiling.lower)
    assert np.mean(by_row) == pytest.approx(np.mean(rows), abs=0.035)
    assert np.mean(lower) < np.mean(columns)
    assert np.mean(upper) == pytest.approx(np.mean(columns), abs=tolerance)
