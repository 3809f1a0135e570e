"""Every ladder against what its formula says, and what all of them promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from xbench.audit.ladders import LADDERS, Ladder, on_frames, worsened
from xbench.maps import GridMap, Layout

FRAMES, TOKENS, JUDGED = 400, 11, 10
LAYOUT = Layout(
    tokens=tuple(range(TOKENS)),
    texts=tuple("abcdefghijk"),
    content=tuple(range(JUDGED)),
    frames=FRAMES,
    melframes=2 * FRAMES,
    stride=2,
    melframe_seconds=0.01,
)
BY_NAME = {ladder.name: ladder for ladder in LADDERS}


def grid(*, raised: float = 0.0, seed: int = 0) -> GridMap:
    values = np.random.default_rng(seed).gamma(0.5, size=(TOKENS, FRAMES))
    values[:, 0] = 0.0  # the smallest of each row
    return GridMap(values / values.sum(1, keepdims=True) + raised)


def step(name: str, size: float, first: GridMap, clip: str = "a") -> np.ndarray:
    worse = worsened(first, BY_NAME[name], size, LAYOUT, seed=0, clip=clip)
    return worse.values


def row_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize("ladder", LADDERS, ids=lambda ladder: ladder.name)
@pytest.mark.parametrize("raised", [0.0, 3.0])
def test_every_step_keeps_the_sum_of_each_row_and_falls_nowhere_below_its_smallest_value(
    ladder: Ladder, raised: float
) -> None:
    first = grid(raised=raised)
    expected = first.values.sum(1)
    if ladder.name == "swap":
        expected = np.sort(expected)
    for size in ladder.sizes:
        worse = step(ladder.name, size, first)
        found = np.sort(worse.sum(1)) if ladder.name == "swap" else worse.sum(1)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        assert worse.min() >= raised - 1e-12


@pytest.mark.parametrize("ladder", LADDERS, ids=lambda ladder: ladder.name)
def test_a_step_of_a_raised_map_is_the_raised_step(ladder: Ladder) -> None:
    """The baseline stays: a metric that heeds it is told of the step and of nothing else."""
    plain, raised = grid(), grid(raised=3.0)
    for size in ladder.sizes:
        np.testing.assert_allclose(
            step(ladder.name, size, raised), step(ladder.name, size, plain) + 3.0, atol=1e-12
        )


@pytest.mark.parametrize("ladder", LADDERS, ids=lambda ladder: ladder.name)
def test_a_longer_step_lies_farther_away(ladder: Ladder) -> None:
    """The correlation with the map as it was falls from step to step, over the content rows of many maps."""
    maps = [grid(seed=seed) for seed in range(20)]
    # Independent neighbouring frames have nothing in common after any shift: give them a shape.
    shaped = [
        replace(
            m,
            values=np.exp(
                -(((np.arange(FRAMES) - 35 * np.arange(1, TOKENS + 1)[:, None]) / 12) ** 2)
            )
            + 0.02 * m.values,
        )
        for m in maps
    ]
    shaped = [replace(m, values=m.values / m.values.sum(1, keepdims=True)) for m in shaped]
    means = [
        np.mean(
            [
                row_correlations(
                    m.values[:JUDGED], step(ladder.name, size, m, clip=str(i))[:JUDGED]
                ).mean()
                for i, m in enumerate(shaped)
            ]
        )
        for size in ladder.sizes
    ]
    assert means[0] < 1 - 1e-9
    assert (np.diff(means) < 0).all(), means


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_noise_leaves_the_correlation_that_a_blend_of_independent_values_has(share: float) -> None:
    """corr(m, (1 - x) m + x m') = (1 - x) / sqrt((1 - x)^2 + x^2), up to 1 / sqrt(frames x rows x maps)."""
    found = np.mean(
        [
            row_correlations(m.values, step("noise", share, m, clip=str(seed))).mean()
            for seed, m in ((seed, grid(seed=seed)) for seed in range(40))
        ]
    )
    expected = (1 - share) / np.hypot(1 - share, share)
    assert found == pytest.approx(expected, abs=4 / np.sqrt(FRAMES * TOKENS * 40))


def test_a_shift_moves_by_whole_frames_around_the_end() -> None:
    first = grid()
    np.testing.assert_array_equal(step("shift", 80.0, first), np.roll(first.values, 4, axis=1))


def test_a_blur_of_one_peak_is_a_gaussian_in_milliseconds() -> None:
    values = np.zeros((TOKENS, FRAMES))
    values[:, 200] = 1.0
    smooth = step("blur", 80.0, GridMap(values))
    offset = np.arange(FRAMES) - 200
    assert np.sqrt((smooth[0] * offset**2).sum()) == pytest.approx(80 / 20, rel=0.01)


def test_swaps_and_shuffles_touch_the_stated_share_of_judged_rows() -> None:
    first = grid()
    for name in ("swap", "shuffle"):
        touched_before: set[int] = set()
        for share in BY_NAME[name].sizes:
            worse = step(name, share, first)
            touched = set(np.flatnonzero((worse != first.values).any(1)).tolist())
            at_least = 2 if name == "swap" else 1
            assert len(touched) == max(at_least, round(share * JUDGED))
            assert touched_before <= touched <= set(LAYOUT.content)
            touched_before = touched
        by_value = np.lexsort(first.values.T)
        if name == "swap":
            np.testing.assert_array_equal(worse[np.lexsort(worse.T)], first.values[by_value])
        else:
            np.testing.assert_allclose(np.sort(worse, 1), np.sort(first.values, 1))


def test_a_single_token_has_nothing_to_swap() -> None:
    alone = replace(LAYOUT, content=(2,))
    first = grid()
    worse = worsened(first, BY_NAME["swap"], 1.0, alone, seed=0, clip="a")
    np.testing.assert_array_equal(worse.values, first.values)


def test_a_sink_takes_its_share_in_one_frame_of_all_rows() -> None:
    first = grid(raised=3.0)
    raised = first.values - first.values.min(1, keepdims=True)
    worse = step("sink", 0.4, first)
    added = worse - 3.0 - 0.6 * raised
    (frame,) = set(np.argmax(added, axis=1).tolist())
    np.testing.assert_allclose(added[:, frame], 0.4 * raised.sum(1))
    assert np.abs(np.delete(added, frame, axis=1)).max() < 1e-9
    frames = {int(np.argmax(step("sink", 0.8, first, clip=str(n))[0])) for n in range(8)}
    assert len(frames) > 1, "the frame is drawn per clip"


def test_sharpening_keeps_the_order_of_frames() -> None:
    first = grid()
    worse = step("sharpen", 4.0, first)
    np.testing.assert_array_equal(np.argsort(worse, 1), np.argsort(first.values, 1))
    np.testing.assert_allclose(
        worse / worse.max(1, keepdims=True),
        (first.values / first.values.max(1, keepdims=True)) ** 4,
    )


@pytest.mark.parametrize("raised", [0.0, 0.01, 3.0])
def test_no_power_makes_values_equal_that_differ(raised: float) -> None:
    """On a baseline the powers of small values round to nothing; metrics of order would see ties that are not there."""
    first = grid(raised=raised)
    first.values[:, 7] = first.values[:, 8]  # equal values stay equal
    for size in BY_NAME["sharpen"].sizes:
        worse = step("sharpen", size, first)
        np.testing.assert_array_equal(rankdata(worse, axis=1), rankdata(first.values, axis=1))


def test_constant_rows_stay_constant_where_nothing_is_added() -> None:
    flat = GridMap(np.full((TOKENS, FRAMES), 2.0))
    for ladder in LADDERS:
        worse = worsened(flat, ladder, ladder.sizes[-1], LAYOUT, seed=0, clip="a").values
        np.testing.assert_allclose(worse, 2.0, rtol=1e-15)


def test_shifts_that_are_no_frame_are_left_out() -> None:
    assert on_frames(BY_NAME["shift"], 0.02).sizes == (40.0, 80.0, 160.0, 240.0, 320.0)
    assert on_frames(BY_NAME["shift"], 0.08).sizes == (80.0, 160.0, 240.0, 320.0)
    assert on_frames(BY_NAME["shift"], 0.16).sizes == (160.0, 240.0)
    assert on_frames(BY_NAME["blur"], 0.16) is BY_NAME["blur"]


def test_draws_follow_from_seed_clip_and_ladder() -> None:
    first = grid()
    np.testing.assert_array_equal(step("noise", 0.4, first), step("noise", 0.4, first))
    assert (step("noise", 0.4, first) != step("noise", 0.4, first, clip="b")).any()
