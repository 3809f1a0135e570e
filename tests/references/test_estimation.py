from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xbench.case import Case
from xbench.errors import UtteranceError
from xbench.hiding.batching import Start, batched_measure
from xbench.hiding.effect import Measure, Shift
from xbench.hiding.masks import Design, draw_mask, mask_key, number
from xbench.hiding.segments import Segmentation, frame_segments
from xbench.maps import Layout, on_encoder_grid
from xbench.metrics.agreement import pearson
from xbench.references import estimation
from xbench.references.estimation import (
    Accumulated,
    Recipe,
    Sampling,
    as_used,
    block_size,
    estimate,
)
from xbench.references.reliability import Reliability
from xbench.references.sampled import SampledReference
from xbench.spec import Scoring

CaseOf = Callable[..., Case]
FRAMES, TOKENS = 40, 4
DESIGNS: tuple[Design, ...] = ("independent", "antithetic")
ESTIMATORS = ("masked-mean", "least-squares", "control-variate", "window-control-variate")


def planted_measure(noise: float = 20.0, frames: int = FRAMES) -> Measure:
    """Every token needs a few frames of its own; pairs of frames interact by `noise`."""
    rng = np.random.default_rng(5)
    main = torch.from_numpy(rng.gamma(0.3, size=(TOKENS, frames))).float()
    pairs = torch.from_numpy(rng.normal(size=(TOKENS, frames, frames))).float() / frames

    def measure(hidden: torch.Tensor) -> Shift:
        m = hidden.flatten(1).float()
        centred = m - 0.7
        curved = torch.einsum("bs,tsr,br->bt", centred, pairs, centred)
        kept = m.sum(1, keepdim=True).expand(-1, TOKENS) < frames // 2
        return Shift(m @ main.T + noise * curved + 4 * noise, kept)

    return measure


@pytest.fixture
def case(planted: Any, case_of: CaseOf) -> Case:
    pieces = tuple((i,) for i in range(TOKENS))
    return case_of(replace(planted, total=FRAMES, frames=pieces))


def made(
    case: Case, recipe: Recipe, sampling: Sampling | None = None, **changes: Any
) -> SampledReference:
    segmentation = changes.get("segmentation", frame_segments(FRAMES))
    measure = batched_measure(
        changes.get("measure", planted_measure()), Start(changes.get("batch_size", 64))
    )
    return estimate(
        measure, segmentation, case, sampling or Sampling(), recipe, neutral="zero vector"
    )


# -- blocks ---------------------------------------------------------------------------------------


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    levels=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    masks=st.integers(6, 90),
    batch=st.integers(1, 40),
    block=st.integers(1, 60),
    design=st.sampled_from(["independent", "antithetic"]),
    estimator=st.sampled_from(["masked-mean", "control-variate", "window-control-variate"]),
)
def test_neither_batch_size_nor_blocks_change_a_map(
    case: Case,
    levels: list[int],
    masks: int,
    batch: int,
    block: int,
    design: Any,
    estimator: str,
) -> None:
    labels = np.stack([np.arange(12) % size for size in levels]).astype(np.int32)
    segmentation = Segmentation(labels, tuple(levels))
    recipe = Recipe(masks, 0.5, estimator, design)
    measure = planted_measure(frames=12)
    one, other = (
        made(case, recipe, s, segmentation=segmentation, measure=measure, batch_size=b)
        for s, b in ((Sampling(), masks), (Sampling(block=block), batch))
    )
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_allclose(
        one.mean(), other.mean(), rtol=0, atol=1e-5 * np.abs(one.mean()).max()
    )
    assert one.masks == other.masks
    np.testing.assert_array_equal(one.kept, other.kept)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_first_masks_of_many_are_the_masks_of_few(case: Case, estimator: str) -> None:
    seen: dict[int, SampledReference | None] = {}

    def watch(sums: Accumulated) -> None:
        seen[sums.drawn] = sums.reference(estimator)

    made(case, Recipe(1500, 0.7, estimator), Sampling(watch=watch))
    few = made(case, Recipe(1000, 0.7, estimator))
    assert list(seen) == [500, 1000, 1500]
    so_far = seen[1000]
    assert so_far is not None
    np.testing.assert_array_equal(so_far.sums, few.sums)
    np.testing.assert_array_equal(so_far.counts, few.counts)
    assert so_far.masks == few.masks


@pytest.mark.parametrize(("levels", "expected"), [(1, 500), (2, 504), (3, 504), (5, 500)])
def test_blocks_hold_whole_units_of_levels_halves_and_pairs(levels: int, expected: int) -> None:
    assert block_size(levels) == expected
    assert expected % (4 * levels) == 0


# -- designs --------------------------------------------------------------------------------------


@given(levels=st.integers(1, 5), start=st.integers(0, 200))
def test_both_masks_of_a_pair_share_stream_level_half_and_block(levels: int, start: int) -> None:
    unit = 4 * levels
    indices = np.arange(start * unit, (start + 1) * unit)
    pairs: dict[int, list[tuple[int, int, bool]]] = {}
    numbering = number(indices, levels, "antithetic")
    for level, half, drawn, mirrored in zip(
        numbering.level, numbering.half, numbering.drawn, numbering.mirrored, strict=True
    ):
        pairs.setdefault(int(drawn), []).append((int(level), int(half), bool(mirrored)))
    assert len(pairs) == 2 * levels
    for first, second in pairs.values():
        assert first[:2] == second[:2]
        assert (first[2], second[2]) == (False, True)
    assert (number(indices, levels, "independent").drawn == indices).all()


@pytest.mark.parametrize("p", [0.3, 0.5, 0.7])
def test_a_mirrored_mask_is_as_likely_to_hide(p: float) -> None:
    key = mask_key(0, "mirror")
    pairs = [
        (draw_mask(key, n, 50, p), draw_mask(key, n, 50, p, mirrored=True)) for n in range(1000)
    ]
    masks, mirrored = (np.stack(side) for side in zip(*pairs, strict=True))
    assert mirrored.mean() == pytest.approx(p, abs=0.01)
    if p == 0.5:
        np.testing.assert_array_equal(mirrored, ~masks)
    both = (masks & mirrored).mean()
    assert both == pytest.approx(max(0.0, 2 * p - 1), abs=0.01)  # as far apart as p allows


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_mirrored_masks_keep_the_ends_of_p(p: float) -> None:
    assert all(draw_mask(1, i, 30, p, mirrored=True).mean() == p for i in range(20))


def test_antithetic_masks_estimate_the_same_map(case: Case) -> None:
    expected, found = (
        made(
            case,
            Recipe(4000, 0.7, "control-variate", design),
            Sampling(seed=seed),
            measure=planted_measure(2.0),
        ).mean()
        for seed, design in enumerate(DESIGNS)
    )
    for one, other in zip(expected, found, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.99
    assert expected.mean() == pytest.approx(found.mean(), rel=0.02)


# -- equal levels ---------------------------------------------------------------------------------


def test_equal_levels_are_one_level_with_more_masks(case: Case) -> None:
    labels = np.zeros((3, FRAMES), dtype=np.int32)
    labels[:] = np.arange(FRAMES)
    labels[1] //= 2
    segmentation = Segmentation(labels, (FRAMES, FRAMES // 2, FRAMES))
    assert segmentation.distinct == (0, 1, 0)
    reference = made(case, Recipe(240, 0.7), segmentation=segmentation)
    assert not reference.counts[:, -FRAMES:].any()
    assert reference.counts[:, :FRAMES].mean() == pytest.approx(80 * 0.7, rel=0.1)
    # The masked mean is the same as with levels kept apart: sums and counts only move.
    key, sums, counts = mask_key(0, case.key), np.zeros((TOKENS, FRAMES)), np.zeros(FRAMES)
    for n in range(240):
        level = n % 3
        hidden = draw_mask(key, n, segmentation.sizes[level], 0.7)[labels[level]]
        shift = planted_measure()(torch.from_numpy(hidden[None]))
        sums += shift.value.numpy().T * hidden
        counts += hidden
    np.testing.assert_allclose(reference.mean(), sums / counts, rtol=1e-5)


# -- enough masks ---------------------------------------------------------------------------------


def test_least_squares_with_too_few_masks_is_refused_before_any_pass(case: Case) -> None:
    def never(hidden: torch.Tensor) -> Shift:
        raise AssertionError("a pass was made")

    with pytest.raises(UtteranceError, match="40 masks per half for 40 segments") as caught:
        made(case, Recipe(80, 0.7, "least-squares"), measure=never)
    assert caught.value.reason == "too-few-masks"
    assert made(case, Recipe(82, 0.7, "least-squares")).mean().shape == (TOKENS, FRAMES)


# -- until ----------------------------------------------------------------------------------------


def test_it_stops_in_whole_blocks_once_the_map_as_used_is_reliable(case: Case) -> None:
    seen: list[float] = []

    def watch(sums: Accumulated) -> None:
        so_far = sums.reference("masked-mean")
        assert so_far is not None
        seen.append(as_used(so_far, case.layout, Scoring()).value or 0.0)

    steps: list[int] = []
    sampling = Sampling(watch=watch, progress=steps.append)
    reference = made(case, Recipe(20_000, 0.7, until=0.9), sampling)
    drawn = sum(reference.masks)
    assert reference.converged is True
    assert 1000 < drawn < 20_000
    assert drawn % 500 == 0
    assert len(seen) == drawn // 500
    assert max(seen[1:-1]) < 0.9 <= seen[-1]
    assert sum(steps) == drawn
    # The same map as that many masks without a target.
    fixed = made(case, Recipe(drawn, 0.7))
    np.testing.assert_array_equal(reference.sums, fixed.sums)
    assert fixed.converged is None


def test_it_takes_two_blocks_at_least(case: Case) -> None:
    reference = made(case, Recipe(20_000, 0.7, until=0.05))
    assert (sum(reference.masks), reference.converged) == (1000, True)


def test_a_target_that_is_never_reached_stops_at_the_maximum_and_says_so(case: Case) -> None:
    reference = made(case, Recipe(1200, 0.7, until=0.999))
    assert (sum(reference.masks), reference.converged) == (1200, False)
    few = made(case, Recipe(30, 0.7, until=0.999))
    assert (sum(few.masks), few.converged) == (30, False)


def test_it_judges_again_when_there_are_a_twentieth_more_masks(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def judged(reference: SampledReference, layout: Layout, scoring: Scoring) -> Reliability:
        looks.append(sum(reference.masks))
        return as_used(reference, layout, scoring)

    monkeypatch.setattr(estimation, "as_used", judged)
    made(case, Recipe(2600, 0.7, until=0.999), Sampling(block=100))
    every = list(range(200, 2200, 100))
    assert looks == [*every, 2300, 2500, 2600]


def test_a_constant_reference_stops_early_and_has_not_converged(case: Case) -> None:
    def constant(hidden: torch.Tensor) -> Shift:
        return Shift(torch.full((len(hidden), TOKENS), 0.5), torch.ones(len(hidden), TOKENS) > 0)

    reference = made(case, Recipe(20_000, 0.7, until=0.9), measure=constant)
    assert (sum(reference.masks), reference.converged) == (1000, False)
    assert as_used(reference, case.layout, Scoring()).reason == "constant-reference"


def test_a_single_token_can_reach_a_target(planted: Any, case_of: CaseOf) -> None:
    case = case_of(replace(planted, total=FRAMES, frames=((3, 4),)))

    def measure(hidden: torch.Tensor) -> Shift:
        shift = planted_measure()(hidden)
        return Shift(shift.value[:, :1], shift.kept[:, :1])

    assert made(case, Recipe(20_000, 0.7, until=0.7), measure=measure).converged is True


def test_the_scoring_options_decide_when_to_stop(case: Case) -> None:
    # Dropping the last frame leaves another map to judge; a target between the two tells them apart.
    whole, cut = Scoring(), Scoring(last_frame="drop")
    reference = made(case, Recipe(1000, 0.7))
    values = {s: as_used(reference, case.layout, s).value or 0.0 for s in (whole, cut)}
    target = sum(values.values()) / 2
    stops = {
        s: sum(made(case, Recipe(20_000, 0.7, until=target), Sampling(scoring=s)).masks)
        for s in (whole, cut)
    }
    assert values[whole] != values[cut]
    assert (stops[whole] == 1000) == (values[whole] >= target)
    assert (stops[cut] == 1000) == (values[cut] >= target)


# -- is the reliability true ----------------------------------------------------------------------


def as_map(reference: SampledReference, case: Case) -> Any:
    return on_encoder_grid(reference.mean(), case.layout, Scoring())


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_reliability_is_the_correlation_of_independent_references(
    case: Case, estimator: str, design: Any
) -> None:
    made_ = [
        made(case, Recipe(2000, 0.7, estimator, design), Sampling(seed=seed)) for seed in range(24)
    ]
    predicted = np.mean([as_used(r, case.layout, Scoring()).value or 0.0 for r in made_])
    maps = [as_map(r, case) for r in made_]
    observed = np.mean(
        [
            pearson(a, b, case.layout, Scoring()).value or 0.0
            for i, a in enumerate(maps)
            for b in maps[:i]
        ]
    )
    assert observed >= 0.8
    assert predicted == pytest.approx(observed, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["masked-mean", "control-variate", "window-control-variate"])
def test_optional_stopping_overstates_the_reliability_by_little(case: Case, estimator: str) -> None:
    # The truth: how a reference of as many masks correlates with others of as many (all other runs
    # that stopped there or later, cut to that size by their own fixed number of masks).
    stopped = [
        made(case, Recipe(20_000, 0.7, estimator, until=0.9), Sampling(seed=seed))
        for seed in range(40)
    ]
    bias = []
    for size in {sum(r.masks) for r in stopped}:
        fixed = [
            as_map(made(case, Recipe(size, 0.7, estimator), Sampling(seed=100 + seed)), case)
            for seed in range(12)
        ]
        for reference in (r for r in stopped if sum(r.masks) == size):
            own = as_map(reference, case)
            truth = np.mean([pearson(own, f, case.layout, Scoring()).value or 0.0 for f in fixed])
            bias.append((as_used(reference, case.layout, Scoring()).value or 0.0) - truth)
    print(f"{estimator}: bias {np.mean(bias):.4f}")
    assert abs(np.mean(bias)) < 0.02
