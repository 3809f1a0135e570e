"""Rounding that has nothing to do with the mask costs masks; rounding that follows it would move the map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xbench.hiding import checks
from xbench.hiding.checks import Rounding, rounding

TOKENS, FRAMES = 25, 120


def planted(
    masks: int = checks.MORE_MASKS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Return effects [token, mask] of which the mask explains a third, and the masks."""
    rng = np.random.default_rng(seed)
    hidden = (rng.random((masks, FRAMES)) < 0.7).astype(float)
    linear = standard(rng.gamma(0.3, size=(TOKENS, FRAMES)) @ hidden.T)
    rest = standard(rng.normal(size=(TOKENS, masks)))
    return np.sqrt(1 / 3) * linear + np.sqrt(2 / 3) * rest, hidden, rng


def standard(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(1, keepdims=True)
    normal: np.ndarray = centred / centred.std(1, keepdims=True)
    return normal


def following(hidden: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An error of variance one that is a map of its own: linear in the mask."""
    return standard(rng.normal(size=(TOKENS, FRAMES)) @ hidden.T)


def accepted(found: Rounding | None) -> bool:
    assert found is not None
    return found.accepted


@pytest.mark.parametrize("seed", range(5))
def test_noise_passes_and_is_told(seed: int) -> None:
    d, hidden, rng = planted(seed=seed)
    found = rounding(d, d + np.sqrt(0.004) * rng.normal(size=d.shape), hidden)
    assert found is not None
    assert found.noise == pytest.approx(0.004, rel=0.15)
    assert abs(found.following) < 3 * found.spread
    assert found.accepted


@pytest.mark.parametrize("seed", range(5))
def test_an_error_that_follows_the_mask_is_refused_at_the_same_size(seed: int) -> None:
    d, hidden, rng = planted(seed=seed)
    found = rounding(d, d + np.sqrt(0.004) * following(hidden, rng), hidden)
    assert found is not None
    assert found.noise == pytest.approx(0.004, rel=0.15)
    assert found.following == pytest.approx(0.004, rel=0.4)
    assert not found.accepted
    assert not found.undecided


def test_following_is_the_share_that_was_planted_whatever_the_noise() -> None:
    shares = []
    for seed in range(20):
        d, hidden, rng = planted(seed=seed)
        error = np.sqrt(0.01) * following(hidden, rng) + np.sqrt(0.02) * rng.normal(size=d.shape)
        found = rounding(d, d + error, hidden)
        assert found is not None
        shares.append(found.following)
    assert np.mean(shares) == pytest.approx(0.01, rel=0.1)


def test_the_spread_is_that_of_repetition() -> None:
    drawn = []
    for seed in range(60):
        d, hidden, rng = planted(seed=seed)
        drawn.append(rounding(d, d + 0.1 * rng.normal(size=d.shape), hidden))
    told = np.mean([found.spread for found in drawn if found])
    assert np.std([found.following for found in drawn if found]) == pytest.approx(told, rel=0.3)


def test_a_scale_harms_no_map() -> None:
    d, hidden, _ = planted()
    found = rounding(d, 1.1 * d + 3, hidden)
    assert found is not None
    assert found.noise < 1e-12
    assert found.accepted


def test_much_noise_is_refused_however_independent() -> None:
    d, hidden, rng = planted()
    found = rounding(d, d + np.sqrt(0.2) * rng.normal(size=d.shape), hidden)
    assert not accepted(found)
    assert found is not None
    assert not found.undecided  # more masks would not help


def test_few_masks_leave_middling_noise_undecided_and_more_decide() -> None:
    d, hidden, rng = planted()
    fast = d + np.sqrt(0.01) * rng.normal(size=d.shape)
    few = slice(checks.MASKS)
    first = rounding(d[:, few], fast[:, few], hidden[few])
    assert first is not None
    assert first.undecided
    assert accepted(rounding(d, fast, hidden))


def test_what_cannot_be_judged_is_none() -> None:
    d, hidden, rng = planted()
    fast = d + 0.01 * rng.normal(size=d.shape)
    assert rounding(np.where(np.arange(TOKENS)[:, None] == 3, 1.0, d), fast, hidden) is None
    broken = fast.copy()
    broken[0, 0] = np.nan
    assert rounding(d, broken, hidden) is None
    assert rounding(d, fast, np.ones_like(hidden)) is None
    assert rounding(d[:0], fast[:0], hidden) is None


def test_shares_of_frames_by_hand() -> None:
    cells = torch.tensor([[[True, False], [True, True]], [[False, False], [False, True]]])
    np.testing.assert_array_equal(checks.frame_shares(cells), [[0.5, 1], [0, 0.5]])
    np.testing.assert_array_equal(checks.frame_shares(cells[:, :, 0]), [[1, 1], [0, 0]])
