"""Sharing projections between masks is exact, and so is every other way attention is computed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xbench.errors import XbenchError
from xbench.models import masked_attention
from xbench.models.device import CPU, CUDA
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


def split(states: torch.Tensor, heads: int) -> torch.Tensor:
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)


FORMS = {
    "shares of frames": (torch.float32, CPU),
    "one virtual key, written out": (torch.bool, CPU),
    "one virtual key, two sequences at a time": (torch.bool, replace(CPU, written_out=160)),
    "one virtual key, fused": (torch.bool, CUDA),
}


class SelfAttention(CrossAttention):
    """What transformers' attention function sees of a self-attention module of an encoder."""

    def __init__(self, heads: int, channels: int) -> None:
        super().__init__(heads, channels, False)
        self.q_proj = nn.Linear(heads * channels, heads * channels)
        self.num_heads, self.head_dim, self.scaling = heads, channels, channels**-0.5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key_bias", [False, True])
def test_masked_attention_equals_attention_over_zeroed_frames(
    key_bias: bool, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtype, device = FORMS[form]
    monkeypatch.setattr(masked_attention, "device_of", lambda _: device)
    torch.manual_seed(0)
    heads, channels, frames, masks, positions = 2, 3, 7, 5, 5
    module = CrossAttention(heads, channels, key_bias)
    encoded = torch.randn(1, frames, heads * channels)
    query = torch.randn(masks, heads, positions, channels)
    keep = torch.rand(masks, frames) > 0.6
    keep[0], keep[1] = True, False  # nothing hidden, all hidden

    zeroed = encoded * keep[..., None]
    key, value = (split(p(zeroed), heads) for p in (module.k_proj, module.v_proj))
    weights = (0.5 * query @ key.transpose(-1, -2)).softmax(-1)
    expected = (weights @ value).transpose(1, 2)

    shared = [split(p(encoded), heads) for p in (module.k_proj, module.v_proj)]
    output, _ = attention(module, query, *shared, None, frame_keep=keep.to(dtype), scaling=0.5)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-5)


def test_a_frame_of_which_a_share_is_kept_is_that_share_of_it() -> None:
    torch.manual_seed(0)
    module = CrossAttention(2, 3, True)
    encoded, query, keep = torch.randn(1, 7, 6), torch.randn(4, 2, 5, 3), torch.rand(4, 7)
    key, value = (split(p(encoded * keep[..., None]), 2) for p in (module.k_proj, module.v_proj))
    expected = ((query @ key.transpose(-1, -2)).softmax(-1) @ value).transpose(1, 2)
    shared = [split(p(encoded), 2) for p in (module.k_proj, module.v_proj)]
    output, _ = attention(module, query, *shared, None, frame_keep=keep, scaling=1.0)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("form", [name for name in FORMS if "virtual" in name])
def test_attention_without_removed_frames_is_attention_to_the_others(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all frames are removed, the output is that over zeroed ones: the bias of the values."""
    monkeypatch.setattr(masked_attention, "device_of", lambda _: FORMS[form][1])
    torch.manual_seed(0)
    module = CrossAttention(2, 3, True)
    encoded, query = torch.randn(1, 7, 6), torch.randn(5, 2, 5, 3)
    keep = torch.rand(5, 7) > 0.6
    keep[0], keep[1] = True, False
    shared = [split(p(encoded), 2) for p in (module.k_proj, module.v_proj)]
    output, _ = attention(
        module, query, *shared, None, frame_keep=keep, frame_removed=True, scaling=0.5
    )
    for row in (0, 2, 3, 4):
        key, value = (part[0][:, keep[row]] for part in shared)
        expected = (0.5 * query[row] @ key.transpose(-1, -2)).softmax(-1) @ value
        torch.testing.assert_close(output[row], expected.transpose(0, 1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(output[1], module.v_proj.bias.view(2, 3).expand(5, 2, 3))


def test_hidden_frames_of_a_clip_of_one_frame() -> None:
    torch.manual_seed(0)
    module, query = CrossAttention(2, 3, True), torch.randn(2, 2, 5, 3)
    key, value = (split(p(torch.randn(1, 1, 6)), 2) for p in (module.k_proj, module.v_proj))
    keep = torch.tensor([[True], [False]])
    output, _ = attention(module, query, key, value, None, frame_keep=keep, scaling=1.0)
    torch.testing.assert_close(output[0], value[0, :, 0].expand(5, 2, 3))
    torch.testing.assert_close(output[1], module.v_proj.bias.view(2, 3).expand(5, 2, 3))


@pytest.mark.parametrize("key_bias", [False, True])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_attention_over_states_is_attention_over_their_keys_and_values(
    key_bias: bool, dtype: torch.dtype, allowed: float
) -> None:
    torch.manual_seed(0)
    module = CrossAttention(2, 3, key_bias)
    states, query = torch.randn(4, 7, 6), torch.randn(4, 2, 5, 3)
    key, value = (split(p(states), 2) for p in (module.k_proj, module.v_proj))
    expected = ((0.5 * query @ key.transpose(-1, -2)).softmax(-1) @ value).transpose(1, 2)
    given = states.to(dtype)[:, None]
    output, _ = attention(module, query, given, given, None, over_states=True, scaling=0.5)
    assert output.dtype == query.dtype
    torch.testing.assert_close(output, expected, atol=allowed, rtol=allowed)


@pytest.mark.parametrize("spread", [1.0, 60.0])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_attention_beside_what_no_mask_changes_is_attention(
    dtype: torch.dtype, allowed: float, spread: float
) -> None:
    """spread: with the larger one, scores of frames that change leave the range of e^x, and all is computed anew."""
    torch.manual_seed(0)
    module = SelfAttention(2, 3)
    clean = torch.randn(1, 9, 6)
    states = clean.repeat(4, 1, 1)
    states[:, :5] = spread * torch.randn(4, 5, 6)
    rest = masked_attention.unchanged_rest(module, clean, 5)
    parts = [module.scaling * split(module.q_proj(states), 2)]
    parts += [split(p(states), 2) for p in (module.k_proj, module.v_proj)]
    expected = torch.nn.functional.scaled_dot_product_attention(*parts, scale=1.0)
    query, key, value = (part.to(dtype) for part in parts)
    output, _ = attention(module, query, key, value, None, rest=rest, scaling=1.0)
    wanted = expected.transpose(1, 2)
    error = (output.float() - wanted).abs().max() / wanted.abs().max()
    assert error < allowed


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


@pytest.mark.parametrize("scores", [1, 3 * 5 * 9, 6 * 5 * 9, 10**6])
def test_written_out_attention_takes_any_number_of_sequences_at_a_time(
    scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One head of a sequence, three of fifteen, six (three are left over), all."""
    small = replace(CPU, written_out=scores)
    monkeypatch.setattr(masked_attention, "device_of", lambda device: small)
    torch.manual_seed(0)
    query, key, value = (torch.randn(5, 3, n, 8) for n in (5, 9, 9))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.3)
    found = _written_out(query, key, value, 0.3)
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_one_source_for_many_sequences_is_read_once_and_means_the_same() -> None:
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(batch, 2, length, 8) for batch, length in ((5, 3), (1, 40), (1, 40))
    )
    module = CrossAttention(2, 8, key_bias=True)
    shared, _ = attention(module, query, key, value, None, scaling=0.3)
    copied = (0.3 * query @ key.transpose(2, 3)).softmax(-1) @ value
    torch.testing.assert_close(shared, copied.transpose(1, 2))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_search_that_shares_the_source_writes_what_transformers_writes(
    seed: int, tiny: Any, clip: Callable[..., np.ndarray]
) -> None:
    model = tiny.randomised(seed)  # unsure of every token, so beams overtake each other
    features = model.features(clip(0.9))
    hypothesis = model.decode(features, "en", None, Decoding(beams=5, max_tokens=20))
    plain = model.network.generate(
        input_features=features.values.T[None],
        num_beams=5,
        no_repeat_ngram_size=5,
        max_new_tokens=20,
        language="en",
        task="transcribe",
        return_dict_in_generate=True,
        force_unique_generate_call=True,
    )["sequences"][0].tolist()
    assert plain == [*hypothesis.prompt, *hypothesis.tokens]
