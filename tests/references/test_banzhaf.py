"""SPES as a weighted Banzhaf value: proved by enumerating all masks of 8 to 10 frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from xbench.case import Case
from xbench.hiding.segments import Segmentation
from xbench.models.protocol import SpeechModel
from xbench.references.estimation import Sampling
from xbench.references.sampled import SampledReference
from xbench.references.spes import spes_encoder

CaseOf = Callable[..., Case]
# Tokens with two pieces of evidence, with three, with one, and the same two as another.
PIECES = ((1, 2), (4, 5, 6), (7,), (1, 2))


def every_mask(frames: int) -> np.ndarray:
    return np.array(list(product((0, 1), repeat=frames)), dtype=np.int64)


def effects(model: Any, case: Case, masks: np.ndarray) -> np.ndarray:
    """The divergence of each token under each mask, by the definition, in float64: [mask, token]."""
    encoded = model.encode(case.features.values[None]).double()
    keep = torch.ones(len(masks), encoded.shape[1], dtype=torch.float64)
    keep[:, : masks.shape[1]] = torch.from_numpy(1 - masks).double()
    clean = model.logits(encoded, case.hypothesis).softmax(-1).numpy()
    masked = model.logits(encoded * keep[..., None], case.hypothesis).softmax(-1).numpy()
    divergence: np.ndarray = entropy(clean, masked, axis=-1)
    return divergence


def marginal(masks: np.ndarray, effect: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Return v(T with the frame) - v(T) for every set T of other frames: [set, token], and the sizes of the sets."""
    weights = 2 ** np.arange(masks.shape[1])[::-1]
    without = np.flatnonzero(masks[:, frame] == 0)  # rows are the binary numbers in order
    return effect[without + weights[frame]] - effect[without], masks[without].sum(1)


def banzhaf(masks: np.ndarray, effect: np.ndarray, p: float) -> np.ndarray:
    """beta_c = sum over T of p^|T| (1 - p)^(K - 1 - |T|) (v(T + c) - v(T)): [token, frame]."""
    others = masks.shape[1] - 1
    values = []
    for frame in range(masks.shape[1]):
        gain, size = marginal(masks, effect, frame)
        values.append((p**size * (1 - p) ** (others - size)) @ gain)
    return np.stack(values, axis=1)


def spes(masks: np.ndarray, effect: np.ndarray, p: float) -> tuple[np.ndarray, np.ndarray]:
    """Return E[d | frame hidden] [token, frame] and E[d] [token], masks weighted by their probability."""
    hidden = masks.sum(1)
    probability = p**hidden * (1 - p) ** (masks.shape[1] - hidden)
    joint = probability[:, None] * masks
    return effect.T @ joint / joint.sum(0), probability @ effect


@pytest.fixture
def case_and_model(planted: Any, case_of: CaseOf) -> Callable[[int], tuple[Case, SpeechModel]]:
    def build(frames: int) -> tuple[Case, SpeechModel]:
        model = replace(planted, total=frames, frames=PIECES, gain=3.0)
        return case_of(model), model

    return build


@pytest.mark.parametrize("p", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("frames", [8, 9, 10])
def test_a_row_of_spes_is_affine_in_the_weighted_banzhaf_value(
    case_and_model: Any, frames: int, p: float
) -> None:
    """S_c = E[d] + (1 - p) beta_c, with the same E[d] for all frames of a token."""
    case, model = case_and_model(frames)
    masks = every_mask(frames)
    effect = effects(model, case, masks)
    saliency, mean = spes(masks, effect, p)
    beta = banzhaf(masks, effect, p)
    assert beta.max() > 0.1
    np.testing.assert_allclose(saliency, mean[:, None] + (1 - p) * beta, rtol=1e-9)
    # A frame that changes nothing has the Banzhaf value 0, and so the relevance E[d].
    np.testing.assert_allclose(beta[:, 0], 0, atol=1e-12)
    np.testing.assert_allclose(saliency[:, 0], mean, rtol=1e-9)
    # Frames that can take each other's place have equal values.
    np.testing.assert_allclose(beta[0, 1], beta[0, 2], rtol=1e-9)


def test_the_reference_itself_is_affine_in_the_banzhaf_value(
    case_and_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The implementation over all 256 masks of 8 frames, each once per half, at p = 1/2."""
    case, model = case_and_model(8)
    masks = every_mask(8)

    def draw(key: int, index: int, size: int, p: float, *, mirrored: bool) -> np.ndarray:
        return masks[index // 2].astype(bool)  # numbers 2k and 2k + 1 are in different halves

    monkeypatch.setattr("xbench.hiding.masks.draw_mask", draw)
    reference = spes_encoder(case, Sampling(), masks=2 * len(masks), p=0.5)
    effect = effects(model, case, masks)
    expected = effect.mean(0)[:, None] + 0.5 * banzhaf(masks, effect, 0.5)
    for found in (reference.mean(), reference.half(0), reference.half(1)):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_slopes_of_the_best_linear_fit_are_the_banzhaf_values(case_and_model: Any) -> None:
    """Least squares over all masks, weighted by their probability: b_c = beta_c."""
    case, model = case_and_model(9)
    masks = every_mask(9)
    effect, p = effects(model, case, masks), 0.7
    hidden = masks.sum(1)
    root = np.sqrt(p**hidden * (1 - p) ** (9 - hidden))[:, None]
    design = np.column_stack([np.ones(len(masks)), masks])
    slopes = np.linalg.lstsq(root * design, root * effect, rcond=None)[0][1:].T
    np.testing.assert_allclose(slopes, banzhaf(masks, effect, p), atol=1e-9)


def test_the_mean_over_all_p_is_the_shapley_value(case_and_model: Any) -> None:
    """Averaged over p from 0 to 1 the values are Shapley's, which add up to the effect of hiding everything."""
    case, model = case_and_model(8)
    masks = every_mask(8)
    effect = effects(model, case, masks)
    shapley = []
    for frame in range(8):
        gain, size = marginal(masks, effect, frame)
        shapley.append(np.array([1 / (8 * comb(7, s)) for s in size]) @ gain)
    nodes, weights = np.polynomial.legendre.leggauss(
        8
    )  # exact for the polynomials in p that these are
    mean = sum(
        w / 2 * banzhaf(masks, effect, (x + 1) / 2) for x, w in zip(nodes, weights, strict=True)
    )
    np.testing.assert_allclose(mean, np.stack(shapley, axis=1), atol=1e-12)
    np.testing.assert_allclose(np.sum(shapley, axis=0), effect[-1], rtol=1e-9)
    # At one p they need not: three frames that make up for each other.
    assert banzhaf(masks, effect, 0.7)[1].sum() != pytest.approx(effect[-1, 1], rel=0.05)


def test_over_several_levels_a_cell_has_the_mean_of_its_segments_values() -> None:
    """Two ways to divide four cells: S = mean over levels of E[d], plus (1 - p) times the mean of beta."""
    p = 0.5
    labels = np.array([[0, 0, 1, 1], [0, 1, 1, 2]], dtype=np.int32)
    sizes = (2, 3)

    def effect_of(cells: np.ndarray) -> np.ndarray:
        c = cells.astype(np.float64)
        return (c[:, 0] + 2 * c[:, 1] * c[:, 2] + 0.5 * c[:, 3])[:, None]

    sums, counts, means, betas = [], [], [], []
    for level, size in enumerate(sizes):
        masks = every_mask(size)
        effect = effect_of(masks[:, labels[level]])
        times = 8 // len(masks)  # as many masks of either level
        sums.append(times * effect.T @ masks)
        counts.append(times * masks.sum(0))
        means.append(effect.mean(0))
        betas.append(banzhaf(masks, effect, p)[:, labels[level]])
    half = np.zeros((1, 5))
    reference = SampledReference(
        Segmentation(labels, sizes),
        sums=np.stack([np.concatenate(sums, axis=1), half]),
        counts=np.stack([np.concatenate(counts), np.zeros(5, dtype=np.int64)]),
        masks=(16, 0),
        kept=np.ones(1),
        neutral="none",
    )
    expected = np.mean(means, axis=0)[:, None] + (1 - p) * np.mean(betas, axis=0)
    np.testing.assert_allclose(reference.mean(), expected, rtol=1e-12)
