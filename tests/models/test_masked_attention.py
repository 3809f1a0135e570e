"""Sharing projections between masks is exact, and so is every other way attention is computed here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xbench.errors import XbenchError
from xbench.models import masked_attention
from xbench.models.loading import load_model
from xbench.models.masked_attention import _two_parts, _written_out, attention
from xbench.spec import Decoding


class CrossAttention(nn.Module):
    """What transformers' attention function sees of a cross-attention module."""

    is_causal = False

    def __init__(self, heads: int, channels: int, key_bias: bool) -> None:
        super().__init__()
        dim = heads * channels
        self.k_proj = nn.Linear(dim, dim, bias=key_bias)
        self.v_proj = nn.Linear(dim, dim)


@pytest.mark.parametrize("key_bias", [False, True])
def test_masked_attention_equals_attention_over_zeroed_frames(key_bias: bool) -> None:
    torch.manual_seed(0)
    heads, channels, frames, masks, positions = 2, 3, 7, 4, 5
    module = CrossAttention(heads, channels, key_bias)
    encoded = torch.randn(1, frames, heads * channels)
    query = torch.randn(masks, heads, positions, channels)
    keep = (torch.rand(masks, frames) > 0.6).float()

    def split(states: torch.Tensor) -> torch.Tensor:
        return states.view(len(states), frames, heads, channels).transpose(1, 2)

    zeroed = encoded * keep[..., None]
    key, value = split(module.k_proj(zeroed)), split(module.v_proj(zeroed))
    weights = (0.5 * query @ key.transpose(-1, -2)).softmax(-1)
    expected = (weights @ value).transpose(1, 2)

    shared = split(module.k_proj(encoded)), split(module.v_proj(encoded))
    output, _ = attention(module, query, *shared, None, frame_keep=keep, scaling=0.5)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-5)


def test_logits_under_masks_equal_logits_of_zeroed_frames(
    tiny: Any, clip: Callable[..., np.ndarray]
) -> None:
    features = tiny.features(clip(0.8, 3))
    hypothesis = tiny.decode(features, "en", None, Decoding())
    with torch.inference_mode():
        encoded = tiny.encode(features.values[None])
        generator = torch.Generator().manual_seed(1)
        keep = (torch.rand(6, encoded.shape[1], generator=generator) > 0.7).float()
        keep[0] = 1
        shared = tiny.frame_masking(encoded, hypothesis)(keep)
        plain = tiny.logits(encoded * keep[..., None], hypothesis)
        clean = tiny.logits(encoded, hypothesis)[0]
    assert (plain[1:] - clean).abs().max() > 0.1
    torch.testing.assert_close(shared, plain, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(shared[0], clean, atol=1e-4, rtol=1e-5)


def test_another_attention_function_is_refused_and_not_ignored(
    another_tiny_whisper: Callable[..., Path], tmp_path: Path, clip: Callable[..., np.ndarray]
) -> None:
    model: Any = load_model(f"whisper:{another_tiny_whisper(tmp_path / 'model', 5)}", device="cpu")
    features = model.features(clip(0.8, 3))
    hypothesis = model.decode(features, "en", None, Decoding(beams=1))
    model.network.set_attn_implementation("eager")
    with torch.inference_mode(), pytest.raises(XbenchError, match="switched to 'eager'"):
        model.frame_masking(model.encode(features.values[None]), hypothesis)


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
