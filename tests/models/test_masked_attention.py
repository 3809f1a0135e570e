"""Sharing projections between masks is exact: the same logits as zeroing the encoder output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xbench.errors import XbenchError
from xbench.models.loading import load_model
from xbench.models.masked_attention import attention
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
