from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from xbench.references.estimators import (
    ESTIMATORS,
    FOLDS,
    Moments,
    Needs,
)
from xbench.references.estimators import expected_features as expected_features_of
from xbench.references.estimators import features as features_of


def features(hidden: np.ndarray, windows: tuple[int, ...]) -> np.ndarray:
    return features_of(torch.from_numpy(hidden), windows).numpy()


def expected_features(segments: int, windows: tuple[int, ...], p: float) -> np.ndarray:
    return expected_features_of(segments, windows, p).numpy()


def add(moments: Moments, half: int, fold: int, hidden: np.ndarray, outcome: np.ndarray) -> None:
    moments.add(half, fold, torch.from_numpy(hidden), torch.from_numpy(outcome))


def sums_of(name: str, moments: Moments, p: float) -> np.ndarray | None:
    sums = ESTIMATORS[name](moments, p)
    return None if sums is None else sums.numpy()


FRAMES = 8
MASKS = np.array(list(product((0, 1), repeat=FRAMES)), dtype=bool)


def divergence_of(masks: np.ndarray) -> np.ndarray:
    """Three tokens: additive, two frames that replace each other, and a cliff; never negative."""
    m = masks.astype(np.float64)
    additive = m @ np.linspace(0.1, 0.8, FRAMES)
    redundant = 2 * m[:, 1] * m[:, 2] + 0.3 * m[:, 5]
    cliff = 3.0 * (m[:, 3:].sum(1) >= 4) + 0.2 * m[:, 0]
    return np.stack([additive, redundant, cliff], axis=1)


DIVERGENCE = divergence_of(MASKS)


def probabilities(p: float) -> np.ndarray:
    hidden = MASKS.sum(1)
    weights: np.ndarray = p**hidden * (1 - p) ** (FRAMES - hidden)
    return weights


def truth(p: float) -> np.ndarray:
    """E[d | frame hidden] by enumeration, masks weighted by p^|m| (1 - p)^(K - |m|)."""
    joint = probabilities(p)[:, None] * MASKS
    expected: np.ndarray = (DIVERGENCE.T @ joint) / joint.sum(0)
    return expected


# Of 8 frames the windows that `window-control-variate` asks for would be all of them.
WINDOWS = (2, 4)
FEATURES = features(MASKS, WINDOWS)


def moments_of(counts: np.ndarray) -> Moments:
    """Moments when mask number k of the enumeration was drawn counts[half, fold, k] times."""
    crossed = np.tensordot(counts, DIVERGENCE[:, :, None] * FEATURES[:, None], 1)
    squared = np.tensordot(counts, FEATURES[:, :, None] * FEATURES[:, None], 1)
    return Moments(
        masks=torch.from_numpy(counts.sum(2).astype(np.int64)),
        hidden=torch.from_numpy(counts @ FEATURES),
        divergence=torch.from_numpy(counts @ DIVERGENCE),
        cross=torch.from_numpy(crossed),
        gram=torch.from_numpy(squared),
        segments=FRAMES,
        windows=WINDOWS,
    )


def estimates(name: str, p: float, masks: int, repeats: int) -> np.ndarray:
    """Return [repeat, token, frame] maps of all masks from independent draws."""
    rng = np.random.default_rng(0)
    per_fold = masks // (2 * FOLDS)
    drawn = rng.multinomial(per_fold, probabilities(p), size=(repeats, 2, FOLDS)).astype(np.float64)
    maps = []
    for counts in drawn:
        moments = moments_of(counts)
        sums = sums_of(name, moments, p)
        assert sums is not None
        maps.append(sums.sum(0) / moments.counts.sum(0).numpy())
    return np.array(maps)


@pytest.mark.slow
@pytest.mark.parametrize("p", [0.5, 0.7])
@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_bias_against_the_enumeration_is_under_a_tenth_of_the_standard_error(
    name: str, p: float
) -> None:
    # 1,000 masks are the fewest that `until` stops at.
    found = estimates(name, p, masks=1000, repeats=2000)
    bias = found.mean(0) - truth(p)
    # The measured bias itself has an error of 0.022 standard errors; 1e-6 is for the additive token, which a
    # regression finds exactly.
    assert (np.abs(bias) / np.maximum(found.std(0), 1e-6)).max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["masked-mean", "control-variate", "window-control-variate"])
def test_bias_stays_that_small_with_four_masks_per_segment(name: str) -> None:
    found = estimates(name, 0.7, masks=64, repeats=3000)
    bias = found.mean(0) - truth(0.7)
    assert (np.abs(bias) / found.std(0)).max() < 0.1


def test_least_squares_and_control_variate_have_less_variance() -> None:
    spread = {name: estimates(name, 0.7, 1000, 60).std(0) for name in ESTIMATORS}
    contrast = {name: s.mean(1) for name, s in spread.items()}
    for name in ("least-squares", "control-variate", "window-control-variate"):
        # The additive token is predicted all but exactly, the others in part.
        assert contrast[name][0] < 0.1 * contrast["masked-mean"][0]
        assert (contrast[name][1:] < 0.85 * contrast["masked-mean"][1:]).all()


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_all_masks_in_their_shares_give_the_enumeration(name: str) -> None:
    # At p = 1/4 the counts 3^(K-|m|) are exact shares.
    hidden = MASKS.sum(1)
    counts = np.broadcast_to(3.0 ** (FRAMES - hidden), (2, FOLDS, len(MASKS)))
    moments = moments_of(counts)
    sums = sums_of(name, moments, 0.25)
    assert sums is not None
    for half in (0, 1):
        found = sums[half] / moments.counts[half].numpy()
        np.testing.assert_allclose(found, truth(0.25), rtol=1e-6)


def test_features_by_hand() -> None:
    hidden = np.array([[True, True, False, True]])
    assert features(hidden, (2, 4)).tolist() == [[1, 1, 0, 1, 1, 0, 0, 0]]
    expected = expected_features(3, (2,), 0.5)
    assert expected.tolist() == [
        [1, 0.5, 0.5, 0.5, 0.25],
        [0.5, 1, 0.5, 0.5, 0.5],
        [0.5, 0.5, 1, 0.25, 0.5],
    ]


@pytest.mark.parametrize("p", [0.3, 0.7])
def test_expected_features_are_those_of_the_enumeration(p: float) -> None:
    joint = probabilities(p)[:, None] * MASKS
    expected = (joint.T @ FEATURES) / joint.sum(0)[:, None]
    np.testing.assert_allclose(expected_features(FRAMES, WINDOWS, p), expected, rtol=1e-12)


def test_windows_take_away_what_two_neighbours_do_together() -> None:
    """The second token is 2 m1 m2 + 0.3 m5: a product that m alone does not predict."""
    spread = {
        name: estimates(name, 0.7, 1000, 60).std(0)[1].mean()
        for name in ("control-variate", "window-control-variate")
    }
    assert spread["window-control-variate"] < 0.2 * spread["control-variate"]


def test_windows_wider_than_the_segments_are_left_out() -> None:
    needs = ESTIMATORS["window-control-variate"].needs
    assert Moments.empty(3, 1, needs).windows == ()
    assert Moments.empty(8, 1, needs).hidden.shape[-1] == 8 + 5 + 1


def test_masked_mean_by_hand() -> None:
    moments = Moments.empty(2, 1, Needs())
    add(moments, 0, 0, np.array([[True, False], [True, True]]), np.array([[1.0], [3.0]]))
    add(moments, 0, 3, np.array([[False, True]]), np.array([[5.0]]))
    sums = sums_of("masked-mean", moments, 0.5)
    assert sums is not None
    assert sums[0].tolist() == [[4.0, 8.0]]
    assert moments.counts[0].tolist() == [2, 2]


def test_least_squares_by_hand() -> None:
    # d = 1 + 2 m_0 - m_1 exactly, at p = 1/4: E[d | 0 hidden] = 1 + 2 - 1/4, E[d | 1 hidden] = 1 + 1/2 - 1.
    moments = Moments.empty(2, 1, Needs(gram=True))
    masks = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=bool)
    outcome = (1 + 2 * masks[:, 0] - 1.0 * masks[:, 1])[:, None]
    for half in (0, 1):
        add(moments, half, 0, masks, outcome)
    sums = sums_of("least-squares", moments, 0.25)
    assert sums is not None
    np.testing.assert_allclose(sums[0] / 2, [[2.75, 0.5]], rtol=1e-6)


def test_least_squares_waits_for_more_masks_than_segments() -> None:
    moments = Moments.empty(2, 1, Needs(gram=True))
    masks, outcome = np.array([[1, 0], [0, 1]], dtype=bool), np.ones((2, 1))
    for half in (0, 1):
        add(moments, half, 0, masks, outcome)
    assert sums_of("least-squares", moments, 0.5) is None
    add(moments, 0, 1, masks, outcome)
    assert sums_of("least-squares", moments, 0.5) is None  # the other half still has too few
    add(moments, 1, 1, masks, outcome)
    assert sums_of("least-squares", moments, 0.5) is not None


def test_control_variate_takes_any_number_of_masks() -> None:
    moments = Moments.empty(3, 1, Needs(gram=True))
    add(moments, 1, 2, np.array([[True, False, True]]), np.array([[4.0]]))
    sums = sums_of("control-variate", moments, 0.5)
    assert sums is not None
    np.testing.assert_allclose(sums[1], [[4.0, 0.0, 4.0]])
    assert not sums[0].any()


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_the_ends_of_p_give_numbers(name: str, p: float) -> None:
    moments = Moments.empty(3, 1, Needs(gram=True, windows=(2,)))
    masks = np.full((8, 3), bool(p))
    for half, fold in product((0, 1), range(FOLDS)):
        add(moments, half, fold, masks, np.full((8, 1), 2.0))
    sums = sums_of(name, moments, p)
    assert sums is not None
    np.testing.assert_allclose(sums, 32 * 2 * p)


@pytest.mark.parametrize("changed", [0, 1])
def test_a_fit_knows_nothing_of_the_other_half(changed: int) -> None:
    rng = np.random.default_rng(3)
    moments, other = (Moments.empty(4, 2, Needs(gram=True)) for _ in range(2))
    for half, fold in product((0, 1), range(FOLDS)):
        masks, outcome = rng.random((20, 4)) < 0.5, rng.random((20, 2))
        add(moments, half, fold, masks, outcome)
        add(other, half, fold, masks, 1 - outcome**2 if half == changed else outcome)
    for name in ESTIMATORS:
        first, second = sums_of(name, moments, 0.5), sums_of(name, other, 0.5)
        assert first is not None
        assert second is not None
        np.testing.assert_array_equal(first[1 - changed], second[1 - changed])
        assert np.abs(first[changed] - second[changed]).max() > 0.01


@pytest.mark.parametrize("windows", [(), (2,)])
def test_the_control_variate_is_what_it_says_mask_by_mask(windows: tuple[int, ...]) -> None:
    """Each mask is predicted by a ridge regression on the masks of the other three folds of its half."""
    rng = np.random.default_rng(3)
    segments, p, masks = 5, 0.6, 12
    moments = Moments.empty(segments, 2, Needs(gram=True, windows=windows))
    expected = expected_features(segments, windows, p)
    sums = np.zeros((2, 2, segments))
    for half in (0, 1):
        hidden = rng.random((FOLDS, masks, segments)) < p
        divergence = rng.gamma(1.0, size=(FOLDS, masks, 2))
        for fold in range(FOLDS):
            add(moments, half, fold, hidden[fold], divergence[fold])
            others = [other for other in range(FOLDS) if other != fold]
            design = features(np.concatenate(hidden[others]), windows)
            outcome = np.concatenate(divergence[others])
            ridge = np.sqrt(segments * p * (1 - p)) * np.eye(design.shape[1])
            centre, level = design.mean(0), outcome.mean(0)
            slopes = np.linalg.lstsq(
                np.concatenate([design - centre, ridge]),
                np.concatenate([outcome - level, np.zeros((len(ridge), 2))]),
                rcond=None,
            )[0]
            for mask, d in zip(hidden[fold], divergence[fold], strict=True):
                predicted = level + (features(mask[None], windows)[0] - centre) @ slopes
                sums[half] += np.outer(d - predicted, mask)
                sums[half] += (level + (expected - centre) @ slopes).T * mask
    name = "window-control-variate" if windows else "control-variate"
    found = sums_of(name, moments, p)
    np.testing.assert_allclose(found, sums, rtol=1e-6, atol=1e-6)
