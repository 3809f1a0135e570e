from __future__ import annotations

import subprocess
import sys
from functools import partial
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import pearsonr, zscore

from xbench.description import load_object
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout, on_encoder_grid
from xbench.metrics import Score
from xbench.metrics.agreement import pearson, pearson_paper
from xbench.metrics.agreement_catalogue import PEARSON, PEARSON_PAPER
from xbench.spec import Scoring

DEFAULT = Scoring()
METRICS = [pearson, pearson_paper]


def layout(rows: int, frames: int, *, special: int = 0) -> Layout:
    """Make a grid whose last `special` rows are not content."""
    names = tuple(str(row) for row in range(rows))
    return Layout(
        tuple(range(rows)), names, tuple(range(rows - special)), frames, 2 * frames, 2, 0.01
    )


# Worked by hand below: two content rows and an end-of-text row that must not matter.
METHOD = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 4.0], [4.0, 3.0, 2.0]])
REFERENCE = np.array([[1.0, 3.0, 2.0], [0.0, 0.0, 3.0], [50.0, -20.0, 7.0]])
HAND = layout(3, 3, special=1)
# Row z-scores: E = [(-1, 0, 1) sqrt(3/2), (-1, -1, 2) / sqrt 2],
#               S = [(-1, 1, 0) sqrt(3/2), (-1, -1, 2) / sqrt 2]; both have squared norm 6.


def test_pearson_by_hand() -> None:
    # Row 0: (-1, 0, 1).(-1, 1, 0) / 2 = 1/2; row 1: 1; mean 3/4.
    score = pearson(GridMap(METHOD), GridMap(REFERENCE), HAND, DEFAULT)
    assert score.value == pytest.approx(3 / 4, rel=1e-14)
    assert score.reason is None


def test_pearson_paper_by_hand() -> None:
    # Rows of sum 6 and columns (1, 1), (2, 1), (3, 4), which become (0, 0), (1, -1), (-1, 1): norm 2.
    # E.S = sqrt(3/2) + (1 + 2) / sqrt 2; r = that / (2 sqrt 6) = (1 + sqrt 3) / 4.
    for factors in ([[1.0], [1.0], [1.0]], [[5.0], [0.01], [7.0]]):
        score = pearson_paper(GridMap(factors * METHOD), GridMap(REFERENCE), HAND, DEFAULT)
        assert score.value == pytest.approx((1 + sqrt(3)) / 4, rel=1e-14)


def test_pearson_paper_of_z_scored_rows_by_hand() -> None:
    # Columns of the row z-scores, two values each, become (-1, 1), (1, -1), (-1, 1): norm sqrt 6.
    # E.S = 2 sqrt(3/2) + (-1 + 1 + 2) / sqrt 2 = sqrt 6 + sqrt 2; r = that / 6.
    score = pearson_paper(GridMap(METHOD), GridMap(REFERENCE), HAND, DEFAULT, rows="z-score")
    assert score.value == pytest.approx((sqrt(6) + sqrt(2)) / 6, rel=1e-14)


def test_column_statistics_over_generated_rows_by_hand() -> None:
    # Of sum 6, all three rows have the columns (1, 1, 8/3), (2, 1, 2), (3, 4, 4/3). Content rows kept,
    # sqrt 2 E = [(-1, 1, 2/7), (-1, -2, 11/7)], centred norm^2 28/3;
    # sqrt 2 E.S = 2 sqrt(3/2) + (1 + 2 + 22/7) / sqrt 2; r = that / sqrt(6 * 28/3).
    scoring = Scoring(statistics="generated")
    score = pearson_paper(GridMap(METHOD), GridMap(REFERENCE), HAND, scoring)
    assert score.value == pytest.approx((sqrt(6) + 43 / 7 / sqrt(2)) / sqrt(56), rel=1e-14)
    assert pearson(GridMap(METHOD), GridMap(REFERENCE), HAND, scoring).value == pytest.approx(0.75)


def test_min_max_by_hand() -> None:
    # S = [(0, 1, 1/2), (0, 0, 1)]: sum 5/2, centred norm^2 9/4 - 25/24 = 29/24.
    # E.S = sqrt(3/2) / 2 + 2 / sqrt 2; r = that / sqrt(6 * 29/24).
    score = pearson(GridMap(METHOD), GridMap(REFERENCE), HAND, Scoring(min_max=True))
    assert score.value == pytest.approx((sqrt(1.5) / 2 + sqrt(2)) / sqrt(29 / 4), rel=1e-14)


def test_order_of_pooling_and_z_scoring_by_hand() -> None:
    # Max-pooled, the reference is that of the other tests (up to the end-of-text row).
    cells = np.array([[0.0, 1, 0, 3, 0, 2], [0, 0, 0, 0, 3, 3], [1, 2, 3, 4, 5, 6]])[:, :, None]
    pooled_first = on_encoder_grid(cells, HAND, DEFAULT)
    assert pearson(GridMap(METHOD), pooled_first, HAND, DEFAULT).value == pytest.approx(0.75)
    # Row 0: mean 1, variance 8/6, so S_0 = (0, 2, 1) sqrt(3)/2; row 1: mean 1, variance 2, so
    # S_1 = (-1, -1, 2) / sqrt 2: sum 3 sqrt(3)/2, centred norm^2 27/4 - 9/8 = 45/8.
    # E.S = 3 / (2 sqrt 2) + 3; r = that / sqrt(6 * 45/8).
    scoring = Scoring(order="normalise-first")
    normalised_first = on_encoder_grid(cells, HAND, scoring)
    score = pearson(GridMap(METHOD), normalised_first, HAND, scoring)
    assert score.value == pytest.approx((3 + 3 / (2 * sqrt(2))) / sqrt(270 / 8), rel=1e-14)


def test_constant_rows_enter_as_zeros_by_hand() -> None:
    # E_1 = 0: E.S = 3 * 1/2, norms sqrt 3 and sqrt 6: r = (1/2) sqrt(1/2).
    flat_row = METHOD.copy()
    flat_row[1] = 5
    score = pearson(GridMap(flat_row), GridMap(REFERENCE), HAND, DEFAULT)
    assert score.value == pytest.approx(0.5 * sqrt(0.5), rel=1e-14)
    flat_reference = REFERENCE.copy()
    flat_reference[1] = 5
    score = pearson(GridMap(METHOD), GridMap(flat_reference), HAND, DEFAULT)
    assert score.value == pytest.approx(0.5 * sqrt(0.5), rel=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_both_agree_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    method, reference = rng.gamma(0.5, size=(2, 7, 30))
    target = zscore(reference, axis=1).ravel()
    grid, shape = GridMap(reference), layout(7, 30)
    by_row = pearsonr(zscore(method, axis=1).ravel(), target).statistic
    assert pearson(GridMap(method), grid, shape, DEFAULT).value == pytest.approx(by_row, abs=1e-13)
    shares = method / method.sum(1, keepdims=True)
    by_column = pearsonr(zscore(shares, axis=0).ravel(), target).statistic
    scored = pearson_paper(GridMap(method), grid, shape, DEFAULT)
    assert scored.value == pytest.approx(by_column, abs=1e-13)
    by_both = pearsonr(zscore(zscore(method, axis=1), axis=0).ravel(), target).statistic
    scored = pearson_paper(GridMap(method), grid, shape, DEFAULT, rows="z-score")
    assert scored.value == pytest.approx(by_both, abs=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_flattened_pearson_is_the_mean_over_tokens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    method, reference = rng.gamma(0.5, size=(2, 7, 30)) * rng.gamma(0.3, size=(2, 7, 1))
    per_token = [pearsonr(m, r).statistic for m, r in zip(method[:-1], reference[:-1], strict=True)]
    score = pearson(GridMap(method), GridMap(reference), layout(7, 30, special=1), DEFAULT)
    assert score.value == pytest.approx(np.mean(per_token), abs=1e-13)


@pytest.mark.parametrize("metric", [*METRICS, partial(pearson_paper, rows="z-score")])
@pytest.mark.parametrize(
    "scoring", [DEFAULT, Scoring(min_max=True), Scoring(statistics="generated")]
)
def test_ddof_has_no_effect(metric, scoring: Scoring) -> None:
    rng = np.random.default_rng(3)
    method, reference = rng.gamma(0.5, size=(2, 6, 12))
    population, sample = (
        metric(
            GridMap(method),
            GridMap(reference),
            layout(6, 12, special=1),
            Scoring(min_max=scoring.min_max, statistics=scoring.statistics, ddof=ddof),
        ).value
        for ddof in (0, 1)
    )
    assert population == pytest.approx(sample, abs=1e-13)


# Small whole numbers: rows and columns that are constant, proportional or equal turn up often.
MAPS = hnp.arrays(np.float64, (5, 6), elements=st.integers(0, 4).map(float))
FACTORS = hnp.arrays(np.float64, (5, 1), elements=st.floats(1e-4, 1e4))
OFFSETS = hnp.arrays(np.float64, (5, 1), elements=st.floats(-5, 5))


def same(first: Score, second: Score) -> bool:
    if first.value is None or second.value is None:
        return first == second
    return abs(first.value - second.value) < 1e-9


@pytest.mark.parametrize("metric", [*METRICS, partial(pearson_paper, rows="z-score")])
@given(method=MAPS, reference=MAPS, factors=FACTORS, offsets=OFFSETS)
def test_token_scale_and_shift_of_a_map_change_nothing(
    metric, method: np.ndarray, reference: np.ndarray, factors: np.ndarray, offsets: np.ndarray
) -> None:
    grid = layout(5, 6, special=1)
    before = metric(GridMap(method), GridMap(reference), grid, DEFAULT)
    assert same(before, metric(GridMap(factors * method), GridMap(reference), grid, DEFAULT))
    assert same(before, metric(GridMap(method), GridMap(factors * reference), grid, DEFAULT))
    if metric is not pearson_paper:  # a sum sees what is added to a row
        assert same(before, metric(GridMap(method + offsets), GridMap(reference), grid, DEFAULT))


def test_without_one_scale_loud_tokens_would_rule_the_columns() -> None:
    rng = np.random.default_rng(0)
    reference = rng.gamma(0.5, size=(12, 60)) + 1
    loud = reference * 10.0 ** rng.uniform(-1, 1, size=(12, 1))
    grid = layout(12, 60)
    honest = pearson_paper(GridMap(loud), GridMap(reference), grid, DEFAULT).value
    # A map that was z-scored before pooling is taken as it is.
    raw = pearson_paper(GridMap(loud, standardised=True), GridMap(reference), grid, DEFAULT).value
    assert honest == pytest.approx(
        pearson_paper(GridMap(reference), GridMap(reference), grid, DEFAULT).value
    )
    assert honest > 0.8
    assert raw < 0.3


@pytest.mark.parametrize("metric", METRICS)
def test_reversed_sign_reverses_the_score(metric) -> None:
    forward = metric(GridMap(METHOD), GridMap(REFERENCE), HAND, DEFAULT).value
    backward = metric(GridMap(-METHOD), GridMap(REFERENCE), HAND, DEFAULT).value
    assert backward == pytest.approx(-forward, rel=1e-13)


def reasons(
    method: np.ndarray, reference: np.ndarray, grid: Layout
) -> tuple[str | None, str | None]:
    return tuple(
        metric(GridMap(method), GridMap(reference), grid, DEFAULT).reason for metric in METRICS
    )


def with_value(values: np.ndarray, row: int, value: float) -> np.ndarray:
    changed = values.copy()
    changed[row, 0] = value
    return changed


@pytest.mark.parametrize(
    ("method", "reference", "grid", "expected"),
    [
        (METHOD, REFERENCE, layout(3, 3, special=3), ("empty-hypothesis",) * 2),
        (METHOD[:, :2], REFERENCE[:, :2], layout(3, 2, special=1), ("too-few-frames",) * 2),
        (with_value(METHOD, 0, np.nan), REFERENCE, HAND, ("non-finite",) * 2),
        (METHOD, with_value(REFERENCE, 1, np.inf), HAND, ("non-finite",) * 2),
        (with_value(METHOD, 2, np.nan), with_value(REFERENCE, 2, np.nan), HAND, (None, None)),
        (METHOD, REFERENCE, layout(3, 3, special=2), (None, "single-token")),
        (METHOD, np.ones((3, 3)), HAND, ("constant-reference",) * 2),
        (METHOD, np.array([[1.0], [2.0], [3.0]]) * np.ones(3), HAND, ("constant-reference",) * 2),
        (np.zeros((3, 3)), REFERENCE, HAND, ("constant-map",) * 2),
        (METHOD[[0, 0, 2]], REFERENCE, HAND, (None, "token-constant")),
        (METHOD[[0, 0, 2]] * [[1.0], [7.0], [1.0]], REFERENCE, HAND, (None, "token-constant")),
    ],
)
def test_reasons(
    method: np.ndarray, reference: np.ndarray, grid: Layout, expected: tuple[str | None, str | None]
) -> None:
    assert reasons(method, reference, grid) == expected


def test_uniform_is_constant_whatever_the_rounding() -> None:
    rng = np.random.default_rng(1)
    reference = GridMap(rng.gamma(0.5, size=(6, 40)))
    noise = 1 + 1e-8 * rng.normal(size=(6, 40))
    for values in (np.full((6, 40), 1 / 40), np.full((6, 40), 1 / 40) * noise):
        for metric in METRICS:
            found = metric(GridMap(values), reference, layout(6, 40), DEFAULT)
            assert found == Score(None, "constant-map")


@pytest.mark.parametrize("rows", ["sum", "z-score"])
@pytest.mark.parametrize("contrast", [1.0, 1e-2])
@pytest.mark.parametrize("seed", range(3))
def test_a_map_that_is_the_same_for_each_token(seed: int, contrast: float, rows: str) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.gamma(0.5, size=(8, 41))
    # One frame lies on the row mean, where rounding is all that is left after the row z-score.
    energy = 1 + contrast * np.concatenate([[0.0], rng.uniform(-1, 1, size=40)])
    energy[1] -= energy.sum() - 41
    noisy = energy * (1 + 1e-8 * rng.normal(size=(8, 41)))
    for values in (np.tile(energy, (8, 1)), noisy, noisy.astype(np.float32)):
        method = GridMap(values)
        paper = pearson_paper(method, GridMap(reference), layout(8, 41), DEFAULT, rows=rows)
        assert paper == Score(None, "token-constant")
        expected = np.mean([pearsonr(energy, row).statistic for row in reference])
        score = pearson(method, GridMap(reference), layout(8, 41), DEFAULT)
        assert score.value == pytest.approx(expected, abs=1e-4)


def test_single_token_has_column_statistics_among_generated_rows() -> None:
    # Rows (1, 2, 3) / 6 and (4, 3, 2) / 9: the content row is lower, equal, higher: (-1, 0, 1).
    # S = (-1, 1, 0) sqrt(3/2): r = sqrt(3/2) / (sqrt 2 sqrt 3).
    grid = layout(2, 3, special=1)
    method, reference = METHOD[[0, 2]], REFERENCE[[0, 2]]
    generated = Scoring(statistics="generated")
    score = pearson_paper(GridMap(method), GridMap(reference), grid, generated)
    assert score.value == pytest.approx(0.5, rel=1e-14)
    # With all content rows alike and end-of-text lower in every frame, every cell is the same.
    flat = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 1.0, 1.0]])
    score = pearson_paper(GridMap(flat, standardised=True), GridMap(REFERENCE), HAND, generated)
    assert score == Score(None, "token-constant")


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be compared"):
        pearson(GridMap(METHOD), GridMap(REFERENCE[:, :2]), HAND, DEFAULT)
    with pytest.raises(UsageError, match="over 4 tokens"):
        pearson(GridMap(METHOD), GridMap(REFERENCE), layout(4, 3), DEFAULT)


@pytest.mark.parametrize("arguments", [(None, None), (0.5, "constant-map"), (float("nan"), None)])
def test_a_score_has_a_finite_value_or_a_reason(arguments: tuple) -> None:
    with pytest.raises(ValueError, match="a score"):
        Score(*arguments)


def test_descriptions_point_to_the_code() -> None:
    assert (PEARSON.name, PEARSON.load()) == ("pearson", pearson)
    assert (PEARSON_PAPER.name, PEARSON_PAPER.load()) == ("pearson-paper", pearson_paper)
    for description in (PEARSON, PEARSON_PAPER):
        name = description.implementation.rpartition(":")[2]
        assert load_object(description.ceiling).__name__ == f"ceiling_{name}"
        assert description.higher_is_better


def test_scoring_imports_no_torch() -> None:
    modules = "xbench.stats, xbench.metrics.agreement_catalogue, xbench.references.reliability"
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
