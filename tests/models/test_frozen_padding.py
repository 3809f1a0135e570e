"""Frozen padding: exact where nothing is hidden, and where padding does not hear the audio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xbench.models import masked_attention
from xbench.models.loading import load_model
from xbench.models.masked_attention import _two_parts, _written_out
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


def test_two_parts_equal_attention_over_both() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, n, 4) for n in (5, 6, 6))
    shared_key, shared_value = torch.randn(1, 2, 7, 4), torch.randn(1, 2, 7, 4)

    def joined(own: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        return torch.cat([own, shared.expand(3, -1, -1, -1)], 2)

    expected = torch.nn.functional.scaled_dot_product_attention(
        query, joined(key, shared_key), joined(value, shared_value), scale=1.0
    )
    found = _two_parts(query, key, value, shared_key, shared_value)
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 4.0, -4.0])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_written_out_attention_is_attention(
    dtype: torch.dtype, allowed: float, offset: float
) -> None:
    """offset: moves the scores of one sequence out of the range of 2^x, above or below (2 * 4 * 4 * 8 = 256)."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, 8).to(dtype).float() for n in (5, 9, 9))
    query[1], key[1] = query[1].round() + abs(offset), key[1].round() + offset  # exact in bfloat16
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=2.0)
    found = _written_out(query.to(dtype), key.to(dtype), value.to(dtype), 2.0).float()
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=allowed, rtol=allowed)


@pytest.mark.parametrize("scores", [1, 3 * 5 * 9, 2 * 3 * 5 * 9, 10**6])
def test_written_out_attention_takes_any_number_of_sequences_at_a_time(
    scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One, one, two of five (a single one is left over), all."""
    monkeypatch.setattr(masked_attention, "_SCORES", scores)
    torch.manual_seed(0)
    query, key, value = (torch.randn(5, 3, n, 8) for n in (5, 9, 9))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.3)
    found = _written_out(query, key, value, 0.3)
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=1e-5, rtol=1e-5)
