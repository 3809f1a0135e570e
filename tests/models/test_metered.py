"""Costs are counted as they happen, by sequences that meet the decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from xbench.models.metered import MeteredModel, Passes
from xbench.spec import Decoding


def test_passes_forward_and_backward_are_counted(
    tiny: Any, clip: Callable[..., np.ndarray]
) -> None:
    metered = MeteredModel(tiny)
    features = metered.features(clip(0.8, 3))
    hypothesis = metered.decode(features, "en", None, Decoding(beams=1))
    assert metered.passes == Passes(0, 0)

    metered.trace(features, hypothesis, frozenset())
    assert metered.passes == Passes(1, 0)

    values = features.values[None].repeat(3, 1, 1).requires_grad_()
    encoded = metered.encode(values)
    metered.logits(encoded, hypothesis).sum().backward()
    assert values.grad is not None
    assert metered.passes == Passes(4, 3)

    with torch.inference_mode():
        masked = metered.frame_masking(metered.encode(features.values[None]), hypothesis)
        masked(torch.ones(5, encoded.shape[1]))
    assert metered.passes == Passes(9, 3)


def test_a_randomised_model_counts_with_its_original(
    tiny: Any, clip: Callable[..., np.ndarray]
) -> None:
    metered = MeteredModel(tiny)
    features = metered.features(clip(0.8, 3))
    hypothesis = metered.decode(features, "en", None, Decoding(beams=1))
    other = metered.randomised(0)
    trained = metered.trace(features, hypothesis, frozenset()).cross_attention
    random = other.trace(features, hypothesis, frozenset()).cross_attention
    assert metered.passes == Passes(2, 0)
    assert (trained - random).abs().max() > 1e-3
    again = metered.randomised(0).trace(features, hypothesis, frozenset()).cross_attention
    torch.testing.assert_close(again, random)
    assert (
        metered.randomised(1).trace(features, hypothesis, frozenset()).cross_attention - random
    ).abs().max() > 1e-4
