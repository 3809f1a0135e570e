"""Evidence that is known by construction: the exact answer of each case, and what finds it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from xbench.case import Case
from xbench.methods.compute import compute_map
from xbench.references.drop import spes_encoder_drop
from xbench.references.estimation import Sampling
from xbench.references.sampled import SampledReference
from xbench.references.spes import spes_encoder, spes_input
from xbench.runner.plan import Method
from xbench.spec import Decoding
from xbench.testing.planted import Planted

FRAMES, GAIN, VOCABULARY = 8, 3.0, 6
# Single, jointly needed, redundant, in the padding, in the text.
MODEL = Planted(
    frames=((2,), (1, 4), (3, 6), (), ()),
    evidence=("all", "all", "any", "padding", "previous"),
    total=FRAMES,
    gain=GAIN,
    vocabulary=VOCABULARY,
)
SINGLE, JOINT, REDUNDANT, PADDING, TEXT = range(5)


@pytest.fixture
def case(case_of: Callable[..., Case]) -> Case:
    made = case_of(MODEL)
    return replace(made, trace=MODEL.trace(made.features, made.hypothesis, set()))


@pytest.fixture
def all_masks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Masks are all subsets of the frames, once in each half: at p = 1/2 the estimate is exact."""
    masks = np.array(list(product((0, 1), repeat=FRAMES)), dtype=bool)

    def draw(key: int, index: int, size: int, p: float, *, mirrored: bool) -> np.ndarray:
        return masks[index // 2]

    monkeypatch.setattr("xbench.hiding.masks.draw_mask", draw)
    return 2 * len(masks)


def divergence(left: float) -> float:
    """KL when a logit of GAIN among zeros falls to GAIN * left."""
    others = VOCABULARY - 1
    clean, masked = math.exp(GAIN) + others, math.exp(GAIN * left) + others
    return math.exp(GAIN) / clean * GAIN * (1 - left) - math.log(clean / masked)


def drop(left: float) -> float:
    """The fall of the token's probability."""

    def probability(share: float) -> float:
        return math.exp(GAIN * share) / (math.exp(GAIN * share) + VOCABULARY - 1)

    return probability(1) - probability(left)


@pytest.mark.parametrize(
    ("estimate", "lost"), [(spes_encoder, divergence), (spes_encoder_drop, drop)]
)
def test_the_exact_answer_of_every_case(
    case: Case,
    all_masks: int,
    estimate: Callable[..., SampledReference],
    lost: Callable[[float], float],
) -> None:
    """With D the effect of losing all evidence, d that of losing one of two frames, and p = 1/2."""
    p, everything, one = 0.5, lost(0), lost(0.5)
    expected = np.zeros((5, FRAMES))
    expected[SINGLE] = p * everything
    expected[SINGLE, 2] = everything
    expected[JOINT] = 2 * p * (1 - p) * one + p * p * everything
    expected[JOINT, [1, 4]] = (1 - p) * one + p * everything
    expected[REDUNDANT] = p * p * everything
    expected[REDUNDANT, [3, 6]] = p * everything
    found = estimate(case, Sampling(), masks=all_masks, p=p)
    np.testing.assert_allclose(found.mean(), expected, rtol=1e-4, atol=1e-6)


def test_the_text_alone_decides_where_it_is_the_evidence(case: Case) -> None:
    encoded = MODEL.encode(case.features.values[None])
    other = replace(case.hypothesis, tokens=(1, 2, 3, 3, 5))
    with_it, without = (MODEL.logits(encoded, h)[0, TEXT, 5] for h in (case.hypothesis, other))
    assert (with_it.item(), without.item()) == (GAIN, 0)
    assert MODEL.logits(0 * encoded, case.hypothesis)[0, TEXT, 5] == GAIN


def test_the_padding_alone_decides_where_it_is_the_evidence(case: Case) -> None:
    encoded = MODEL.encode(case.features.values[None])
    loud = encoded.clone()
    loud[:, FRAMES:] = 1.0
    silent, filled = (MODEL.logits(e, case.hypothesis)[0, PADDING, 4] for e in (encoded, loud))
    assert (silent.item(), filled.item()) == (GAIN, 0)


def method_map(name: str, case: Case) -> np.ndarray:
    method = Method.of(name)
    return compute_map(method.description, method.call, case)


# Each of them looks at one change of the input at a time.
@pytest.mark.parametrize(
    "name", ["saliency-encoder", "input-x-gradient-encoder", "feature-ablation-encoder:segments=8"]
)
def test_local_methods_do_not_see_redundant_evidence(name: str, case: Case) -> None:
    values = np.abs(method_map(name, case))
    assert int(values[SINGLE].argmax()) == 2
    assert set(np.argsort(values[JOINT])[-2:].tolist()) == {1, 4}
    assert values[REDUNDANT].max() < 1e-6


def test_paths_and_subsets_see_redundant_evidence(case: Case) -> None:
    for name in ("integrated-gradients-encoder", "rise-encoder:cell=1"):
        assert set(np.argsort(method_map(name, case)[REDUNDANT])[-2:].tolist()) == {3, 6}
    # Complete: log p falls from its value to that of the baseline, shared equally.
    log_p = math.log(math.exp(GAIN) / (math.exp(GAIN) + VOCABULARY - 1))
    shares = method_map("integrated-gradients-encoder:steps=200", case)[REDUNDANT]
    np.testing.assert_allclose(shares[[3, 6]], (log_p + math.log(VOCABULARY)) / 2, rtol=1e-3)


def test_attention_points_somewhere_where_no_audio_is_needed(case: Case) -> None:
    """The reference is constant there, so that the token is left out; the map of the method is not."""
    values = method_map("mean-heads", case)
    assert values[TEXT].argmax() == 0
    assert values[TEXT].max() == 1


def test_the_input_reference_finds_single_and_redundant_evidence(case: Case) -> None:
    loudest = spes_input(
        case,
        Sampling(),
        masks=1200,
        p=0.5,
        rates="200+300+400",
        compactness=0.1,
        sigma=0.0,
        cap_seconds=7.5,
        precision="float32",
    ).mean()
    in_time = loudest[:, :, list(MODEL.band)].mean(2).reshape(5, FRAMES, 2).mean(2)
    assert int(in_time[SINGLE].argmax()) == 2
    for row, frames in ((JOINT, {1, 4}), (REDUNDANT, {3, 6})):
        assert set(np.argsort(in_time[row])[-2:].tolist()) == frames
    assert np.abs(loudest[[PADDING, TEXT]]).max() < 1e-6


def test_a_planted_model_without_kinds_is_what_it_was() -> None:
    plain = Planted()
    assert [plain.kind(row) for row in range(3)] == ["all"] * 3
    encoded = torch.rand(1, 15, 12)
    hypothesis = plain.decode(plain.features(np.zeros(1, np.float32)), "en", None, Decoding())
    heard = encoded[0, [1, 2]][:, [4, 5, 6, 7]].mean()
    torch.testing.assert_close(plain.logits(encoded, hypothesis)[0, 0, 1], 6 * heard)
