"""Frozen padding: exact where nothing is hidden, and where padding does not hear the audio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xbench.models.loading import load_model
from xbench.spec import Decoding


@pytest.mark.parametrize("seconds", [0.4, 0.805, 1.99])
def test_the_clean_pass_is_exact(
    tiny: Any, clip: Callable[..., np.ndarray], seconds: float
) -> None:
    features = tiny.features(clip(seconds, 3))
    hypothesis = tiny.decode(features, "en", None, Decoding(beams=1))
    with torch.inference_mode():
        clean = tiny.logits(tiny.encode(features.values[None]), hypothesis)
        frozen = tiny.frozen_padding(features, hypothesis)(features.valid[None])
    torch.testing.assert_close(frozen, clean, atol=1e-4, rtol=1e-4)


def test_frozen_passes_are_exact_where_padding_hears_no_audio(
    another_tiny_whisper: Callable[..., Path], tmp_path: Path, clip: Callable[..., np.ndarray]
) -> None:
    tiny: Any = load_model(f"whisper:{another_tiny_whisper(tmp_path / 'model', 5)}", device="cpu")
    features = tiny.features(clip(1.5, 3))
    hypothesis = tiny.decode(features, "en", None, Decoding(beams=1))
    generator = torch.Generator().manual_seed(0)
    hidden = torch.rand(4, *features.valid.shape, generator=generator) < 0.3
    hidden[:, -4:] = False  # the convolutions carry these into the padding
    valid = torch.where(hidden, features.valid.mean(0), features.valid)
    values = features.values.repeat(4, 1, 1)
    values[:, : features.melframes] = valid

    def ways() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            exact = tiny.logits(tiny.encode(values), hypothesis)
            return exact, tiny.frozen_padding(features, hypothesis)(valid)

    exact, frozen = ways()
    assert not torch.allclose(exact, frozen, atol=1e-2)  # otherwise an approximation
    for layer in tiny.network.model.encoder.layers:
        layer.self_attn.out_proj.weight.zero_()
    exact, frozen = ways()
    assert (exact[1:] - exact[0]).abs().max() > 0.1
    torch.testing.assert_close(frozen, exact, atol=1e-4, rtol=1e-4)
