"""What all agreement metrics share: batches, refusals, means over tokens; and that batches change nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import pearsonr, rankdata

from xbench import registry
from xbench.description import MetricDescription, load_object
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout
from xbench.metrics import Score
from xbench.metrics.batch import (
    Judged,
    Maps,
    Spans,
    batches,
    judge,
    mean_over_tokens,
    runs,
    score_all,
    weighted_means,
)
from xbench.metrics.ranking import topk_overlap
from xbench.spec import Call, Scoring

DEFAULT = Scoring()
AGREEMENT = [d.name for d in registry.metrics.descriptions() if d.family == "agreement"]


def layout(rows: int, frames: int, special: int = 0) -> Layout:
    names = tuple(str(row) for row in range(rows))
    content = tuple(range(rows - special))
    return Layout(tuple(range(rows)), names, content, frames, 2 * frames, 2, 0.01)


def spans_of(rows: int, frames: int) -> Spans:
    step = 0.02 * frames / rows
    return tuple((row * step, (row + 1) * step) for row in range(rows))


def resolved(name: str) -> tuple[MetricDescription, dict[str, Any]]:
    description, call = registry.metrics.resolve(Call(name))
    return description, call.given


def scored(
    name: str,
    method: np.ndarray,
    reference: np.ndarray,
    *,
    special: int = 0,
    scoring: Scoring = DEFAULT,
    **params: Any,
) -> Score:
    """Score one map by the plain function of a registered metric."""
    description, defaults = resolved(name)
    axes = layout(*method.shape, special)
    given = defaults | params
    if "words" in description.needs:
        given.setdefault("spans", spans_of(*method.shape))
    compute = description.load()
    found: Score = compute(GridMap(method), GridMap(reference), axes, scoring, **given)
    return found


# -- a batch gives what single maps give ----------------------------------------------------------


def mixed_grids(rng: np.random.Generator, rows: int, frames: int) -> list[GridMap]:
    """Maps of every sort in one batch: signed ones, distributions, ties, degenerate ones."""
    plain = rng.gamma(0.5, size=(rows, frames))
    sparse = np.where(plain > 1, plain, 0.0)
    sparse[:, 0] += 0.1
    flat_row = plain.copy()
    flat_row[1] = 0.3
    broken = plain.copy()
    broken[0, 0] = np.nan
    special_broken = plain.copy()
    special_broken[-1, 0] = np.inf
    return [
        GridMap(plain),
        GridMap(plain / plain.sum(1, keepdims=True)),
        GridMap(rng.normal(size=(rows, frames)), standardised=True),
        GridMap(sparse / sparse.sum(1, keepdims=True)),
        GridMap(np.round(plain)),
        GridMap(flat_row),
        GridMap(np.full((rows, frames), 1 / frames)),
        GridMap(np.tile(plain[:1], (rows, 1))),
        GridMap(broken),
        GridMap(special_broken),
    ]


SCORINGS = [
    DEFAULT,
    Scoring(min_max=True),
    Scoring(statistics="generated"),
    Scoring(statistics="generated", ddof=1),
]


@pytest.mark.parametrize("scoring", SCORINGS, ids=["default", "min-max", "generated", "ddof"])
@pytest.mark.parametrize("name", AGREEMENT)
def test_a_batch_gives_what_the_plain_function_gives(name: str, scoring: Scoring) -> None:
    rng = np.random.default_rng(1)
    rows, frames = 6, 17
    axes, grids = layout(rows, frames, 1), mixed_grids(rng, rows, frames)
    flat = rng.gamma(0.5, size=(rows, frames))
    flat[2] = 7.0
    references = [
        GridMap(rng.gamma(0.5, size=(rows, frames)) + 3),
        GridMap(rng.normal(size=(rows, frames)), standardised=True),
        GridMap(flat),
        GridMap(np.full((rows, frames), np.nan)),
        GridMap(np.ones((rows, frames))),
    ]
    description, params = resolved(name)
    assert description.batched, "every built-in is fast"
    spans = spans_of(rows, frames)
    given = {**params, "spans": spans} if "words" in description.needs else params
    maps = Maps.of(grids, axes)
    for reference in references:
        target = Maps.of([reference], axes)
        together = score_all(description, params, maps, target, scoring, spans).scores
        for grid, found in zip(grids, together, strict=True):
            alone = description.load()(grid, reference, axes, scoring, **given)
            assert found.reason == alone.reason
            if alone.value is not None:
                assert found.value == pytest.approx(alone.value, abs=1e-12)
            by_itself = score_all(
                description, params, Maps.of([grid], axes), target, scoring, spans
            )
            assert by_itself.scores == (found,), "the company of other maps changed a bit"


def test_a_metric_without_a_batched_form_is_called_map_by_map() -> None:
    description, params = resolved("topk-overlap")
    rng = np.random.default_rng(2)
    grids = [GridMap(rng.gamma(0.5, size=(3, 9))) for _ in range(3)]
    maps, target = Maps.of(grids, layout(3, 9)), Maps.of(grids[:1], layout(3, 9))
    plain = score_all(replace(description, batched=None), params, maps, target, DEFAULT, None)
    assert plain.scores == score_all(description, params, maps, target, DEFAULT, None).scores
    assert plain.tokens is None
    assert plain.scores[0].value == 1


@pytest.mark.parametrize(("count", "tokens", "frames"), [(7, 4, 10), (3, 1000, 1500), (1, 1, 3)])
def test_batches_cover_every_map_once(count: int, tokens: int, frames: int) -> None:
    grid = GridMap(np.zeros((tokens, frames)))
    found = batches([grid] * count, layout(tokens, frames))
    assert [index for batch in found for index in batch] == list(range(count))
    assert (len(found) == 1) == (count * tokens * frames <= 1 << 20)


def test_maps_that_do_not_fit_are_refused() -> None:
    one, other = GridMap(np.ones((2, 4))), GridMap(np.ones((2, 5)))
    with pytest.raises(UsageError, match="judged together over 2 tokens"):
        Maps.of([one, other], layout(2, 4))
    with pytest.raises(UsageError, match="over 3 tokens"):
        Maps.of([one], layout(3, 4))
    with pytest.raises(UsageError, match="cannot be compared"):
        topk_overlap(one, other, layout(2, 4), DEFAULT, share=0.5)


# -- what is shared -------------------------------------------------------------------------------

TIED = hnp.arrays(np.float64, (2, 3, 7), elements=st.integers(0, 4).map(float))


def stacked(values: np.ndarray) -> Maps:
    return Maps.of([GridMap(v) for v in values], layout(*values.shape[1:]))


@given(values=TIED)
def test_ranks_are_those_of_scipy(values: np.ndarray) -> None:
    maps = stacked(values)
    assert (maps.ranks == rankdata(values, axis=2)).all()
    assert (maps.first + 1 == rankdata(values, method="min", axis=2)).all()
    assert (maps.last + 1 == rankdata(values, method="max", axis=2)).all()


def test_runs_by_hand() -> None:
    first, last = runs(np.array([[1, 1, 2, 5, 5, 5]]))
    assert first.tolist() == [[0, 0, 2, 3, 3, 3]]
    assert last.tolist() == [[1, 1, 2, 5, 5, 5]]
    first, last = runs(np.array([[1, 2, 3]]))
    assert first is last
    assert first.tolist() == [0, 1, 2]


@given(values=TIED, k=st.integers(1, 6))
def test_the_top_is_what_random_ties_give_on_average(values: np.ndarray, k: int) -> None:
    member = stacked(values).top(np.full((1, 3), k))
    assert member.sum(2) == pytest.approx(np.full((2, 3), k))
    for row, found in zip(values.reshape(-1, 7), member.reshape(-1, 7), strict=True):
        above = (row[:, None] < row).sum(1)
        equal = (row[:, None] == row).sum(1)
        assert found == pytest.approx(np.clip((k - above) / equal, 0, 1))


def test_mass_by_hand() -> None:
    values = np.array([[1.0, 2.0, 5.0], [4.0, 4.0, 4.0]])
    maps = Maps.of([GridMap(values)], layout(2, 3))
    assert maps.mass[0, 0] == pytest.approx([0, 0.2, 0.8])
    assert (maps.mass[:, 1] == 0).all(), "a constant row says nothing about where"


# -- weighted by effect -----------------------------------------------------------------------------


def test_weighted_means_by_hand() -> None:
    values = np.array([[1.0, 2.0, 9.0], [1.0, 2.0, 9.0], [5.0, 5.0, 5.0]])
    out = np.array([[False, False, False], [False, False, True], [True, True, True]])
    judged = mean_over_tokens(values, {"constant-map": out})
    # (1 + 3 * 2 + 0 * 9) / 4; the second has no third token; the third has none, and its own reason.
    found = weighted_means(judged, np.array([1.0, 3.0, 0.0]))
    assert [s.value for s in found] == [pytest.approx(7 / 4), pytest.approx(7 / 4), None]
    assert found[2].reason == "constant-map"
    assert weighted_means(judged, np.array([0.0, 0.0, 1.0]))[1] == Score(None, "no-weight")
    assert weighted_means(Judged((Score(0.5),)), np.ones(3)) == (Score(None, "no-token-values"),)


def test_equal_weights_give_the_score_itself() -> None:
    rng = np.random.default_rng(0)
    axes = layout(6, 17, 1)
    maps = Maps.of(mixed_grids(rng, 6, 17), axes)
    reference = Maps.of([GridMap(rng.gamma(0.5, size=(6, 17)))], axes)
    for name in ("pearson", *AGAINST):
        description, params = resolved(name)
        judged = score_all(description, params, maps, reference, DEFAULT, spans_of(6, 17))
        found = weighted_means(judged, np.full(5, 0.3))
        for index, (plain, weighted) in enumerate(zip(judged.scores, found, strict=True)):
            if name == "pearson" and (maps.standardised[index] or maps.constant[index].any()):
                continue  # only with rows of variance 1 is it the mean over tokens
            assert weighted.value == pytest.approx(plain.value, abs=1e-12), name
            assert weighted.reason == plain.reason


# -- means and reasons ----------------------------------------------------------------------------


def test_means_over_tokens_by_hand() -> None:
    values = np.array([[1.0, 2.0, 9.0], [1.0, 2.0, 9.0], [5.0, 5.0, 5.0]])
    first = np.array([[False, False, True], [True, True, True], [True, False, False]])
    second = np.array([[False, False, True], [False, False, False], [False, True, True]])
    judged = mean_over_tokens(values, {"a": first, "b": second})
    assert judged.scores == (
        Score(1.5, None, (("a", 1),)),
        Score(None, "a", (("a", 3),)),
        Score(None, "no-token-defined", (("a", 1), ("b", 2))),
    )
    assert judged.tokens is not None
    assert judged.tokens.of(0) == [Score(1.0), Score(2.0), Score(None, "a")]
    assert judged.tokens.of(2) == [Score(None, "a"), Score(None, "b"), Score(None, "b")]


@pytest.mark.parametrize("name", sorted(set(AGREEMENT) - {"pearson-paper"}))
def test_per_token_values_are_behind_the_score(name: str) -> None:
    description, params = resolved(name)
    rng = np.random.default_rng(3)
    grids = [GridMap(rng.gamma(0.5, size=(5, 20))) for _ in range(2)]
    given = {"spans": spans_of(5, 20)} if "words" in description.needs else {}
    batched: Callable[..., Any] = load_object(description.batched or "")
    axes = layout(5, 20)
    maps, target = Maps.of(grids, axes), Maps.of([GridMap(rng.gamma(0.5, size=(5, 20)))], axes)
    judged = judge(batched, maps, target, DEFAULT, **params, **given)
    for index, score in enumerate(judged.scores):
        values = [token.value for token in judged.tokens.of(index)]
        assert score.value == pytest.approx(np.mean(values), abs=1e-12)


def test_per_token_pearson_is_scipys() -> None:
    rng = np.random.default_rng(4)
    ours, theirs = rng.gamma(0.5, size=(2, 4, 30))
    description, _ = resolved("pearson")
    axes = layout(4, 30)
    judged = judge(
        load_object(description.batched or ""),
        Maps.of([GridMap(ours)], axes),
        Maps.of([GridMap(theirs)], axes),
        DEFAULT,
    )
    expected = [pearsonr(a, b).statistic for a, b in zip(ours, theirs, strict=True)]
    assert [s.value for s in judged.tokens.of(0)] == pytest.approx(expected, abs=1e-12)


MAP = np.arange(12.0).reshape(3, 4) ** 1.5
ROWWISE = sorted(set(AGREEMENT) - {"pearson", "pearson-paper"})
AGAINST = sorted(set(ROWWISE) - {"onset-error"})


@pytest.mark.parametrize("name", ROWWISE)
def test_refusals_of_a_whole_map(name: str) -> None:
    broken = MAP.copy()
    broken[0, 0] = np.inf
    assert scored(name, MAP, MAP, special=3) == Score(None, "empty-hypothesis")
    assert scored(name, MAP[:, :2], MAP[:, :2]) == Score(None, "too-few-frames")
    assert scored(name, broken, MAP).reason == "non-finite"
    assert scored(name, MAP, broken) == Score(None, "non-finite")
    flat = scored(name, np.ones((3, 4)), MAP)
    assert flat.reason == "constant-map"
    assert flat.left_out == (("constant-map", 3),)


@pytest.mark.parametrize("name", AGAINST)
def test_a_constant_reference_is_told_before_a_constant_map(name: str) -> None:
    assert scored(name, np.ones((3, 4)), np.ones((3, 4))).reason == "constant-reference"
    some = MAP.copy()
    some[0] = 1
    other = MAP.copy()
    other[1:] = 1
    assert scored(name, other, some).reason == "no-token-defined"
    assert scored(name, np.ones((3, 4)), some).reason == "constant-map"


@pytest.mark.parametrize("name", AGAINST)
def test_a_constant_row_is_left_out_and_counted(name: str) -> None:
    rng = np.random.default_rng(5)
    ours, theirs = rng.gamma(0.5, size=(2, 3, 40))
    without = scored(name, ours[:2], theirs[:2])
    ours[2] = 0.25 * (1 + 1e-8 * rng.normal(size=40))  # constant but for rounding
    found = scored(name, ours, theirs)
    assert found.value == pytest.approx(without.value, abs=1e-12)
    assert found.left_out == (("constant-map", 1),)


@pytest.mark.parametrize("name", AGREEMENT)
def test_special_rows_do_not_count(name: str) -> None:
    rng = np.random.default_rng(6)
    ours, theirs = rng.gamma(0.5, size=(2, 4, 30))
    spans = spans_of(4, 30)
    given = {"spans": spans} if "words" in resolved(name)[0].needs else {}
    before = scored(name, ours, theirs, special=1, **given)
    ours[3], theirs[3] = np.nan, np.inf
    assert scored(name, ours, theirs, special=1, **given) == before


# -- invariances ----------------------------------------------------------------------------------

# Small whole numbers: rows that are constant, proportional or equal turn up often.
SMALL = hnp.arrays(np.float64, (3, 6), elements=st.integers(0, 4).map(float))
FACTORS = hnp.arrays(np.float64, (3, 1), elements=st.sampled_from([0.25, 0.5, 2.0, 1024.0]))
OFFSETS = hnp.arrays(np.float64, (3, 1), elements=st.integers(0, 8).map(float))
ORDER_ONLY = ("spearman", "kendall-tau-b", "topk-overlap", "topk-iou", "auroc", "auprc")
MASS = ("cosine", "js-divergence", "emd", "relevance-mass")


def same(first: Score, second: Score) -> bool:
    if first.value is None or second.value is None:
        return first == second
    return abs(first.value - second.value) < 1e-9 and first.left_out == second.left_out


@settings(max_examples=15)
@pytest.mark.parametrize("name", AGAINST)
@given(method=SMALL, reference=SMALL, factors=FACTORS, offsets=OFFSETS)
def test_token_scale_and_shift_change_nothing(
    name: str, method: np.ndarray, reference: np.ndarray, factors: np.ndarray, offsets: np.ndarray
) -> None:
    before = scored(name, method, reference)
    assert same(before, scored(name, factors * method, reference))
    assert same(before, scored(name, method, factors * reference))
    assert same(before, scored(name, method + offsets, reference))
    assert same(before, scored(name, method, reference + offsets))


@settings(max_examples=15)
@pytest.mark.parametrize("name", [*ORDER_ONLY, "relevance-rank"])
@given(method=SMALL, reference=SMALL)
def test_a_rising_function_of_a_row_changes_nothing_about_order(
    name: str, method: np.ndarray, reference: np.ndarray
) -> None:
    before = scored(name, method, reference)
    assert same(before, scored(name, np.exp(method), reference))
    assert same(before, scored(name, method, reference**3))


@settings(max_examples=15)
@pytest.mark.parametrize("name", sorted(set(AGAINST) - {"emd", "frontier-error"}))
@given(method=SMALL, reference=SMALL, order=st.permutations(range(6)))
def test_one_order_of_frames_is_as_good_as_another(
    name: str, method: np.ndarray, reference: np.ndarray, order: list[int]
) -> None:
    before = scored(name, method, reference)
    assert same(before, scored(name, method[:, order], reference[:, order]))


@settings(max_examples=15)
@pytest.mark.parametrize("name", AGAINST)
@given(method=SMALL, reference=SMALL, order=st.permutations(range(3)))
def test_one_order_of_tokens_is_as_good_as_another(
    name: str, method: np.ndarray, reference: np.ndarray, order: list[int]
) -> None:
    before = scored(name, method, reference)
    assert same(before, scored(name, method[order], reference[order]))


@given(method=SMALL, reference=SMALL)
def test_emd_does_not_know_the_direction_of_time(method: np.ndarray, reference: np.ndarray) -> None:
    before = scored("emd", method, reference)
    assert same(before, scored("emd", method[:, ::-1], reference[:, ::-1]))


BEST = {"js-divergence": 0.0, "emd": 0.0, "frontier-error": 0.0}


@settings(max_examples=15)
@pytest.mark.parametrize("name", sorted(set(AGAINST) - {"relevance-mass"}))
@given(values=SMALL)
def test_a_map_that_is_the_reference_is_best(name: str, values: np.ndarray) -> None:
    found = scored(name, values, values)
    if found.value is None:
        assert found.reason in ("constant-reference", "no-token-defined", "one-class")
    else:
        assert found.value == pytest.approx(BEST.get(name, 1.0), abs=1e-12)
