"""What stands behind our names for private names of transformers is what those names promise.

Each of these is used by families, which other tests try; these fail first, and name the one that went.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    HubertConfig,
    HubertModel,
    MoonshineConfig,
    ParakeetEncoderConfig,
    WhisperConfig,
)
from transformers.activations import GELUActivation
from transformers.models.moonshine.modeling_moonshine import MoonshineRotaryEmbedding
from transformers.models.parakeet.modeling_parakeet import ParakeetEncoderAttention

from xbench.models import masked_attention, private


def test_the_attention_of_a_loaded_whisper_is_ours(tiny: Any) -> None:
    assert private.attention_name(tiny.network.config) == masked_attention.NAME
    assert private.attention_name(object()) is None


def test_a_switched_attention_is_noticed() -> None:
    config = WhisperConfig(attn_implementation="eager")
    assert private.attention_name(config) == "eager"


def test_the_keyword_of_a_cache_is_one_that_decoders_take(tiny: Any) -> None:
    class Older(nn.Module):
        def forward(self, past_key_values: object) -> None: ...

    class Newer(nn.Module):
        def forward(self, cache: object, past_key_values: object = None) -> None: ...

    assert private.cache_keyword(Older()) == "past_key_values"
    assert private.cache_keyword(Newer()) == "cache"
    assert private.cache_keyword(tiny.network.model.decoder) in ("cache", "past_key_values")


def test_activations_of_transformers_are_told_from_those_of_torch() -> None:
    assert private.is_activation(GELUActivation())
    assert not private.is_activation(nn.GELU())


@pytest.mark.parametrize("samples", [1, 9, 10, 11, 100, 999])
def test_a_convolved_length_is_that_of_the_convolutions(samples: int) -> None:
    config = HubertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        conv_dim=[4, 4],
        conv_kernel=[5, 3],
        conv_stride=[3, 2],
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=1,
    )
    expected = ((samples - 5) // 3 + 1 - 3) // 2 + 1
    assert private.convolved_length(HubertModel(config), samples) == expected


def test_a_relative_shift_sorts_by_source() -> None:
    """With n positions, column c of what is shifted holds the distance n - 1 - c of position i to its source j."""
    config = ParakeetEncoderConfig(hidden_size=8, num_attention_heads=2)
    attention = ParakeetEncoderAttention(config, layer_idx=0)
    distances = torch.arange(3.0, -4.0, -1.0).expand(1, 2, 4, 7)
    shifted = private.relative_shift(attention, distances)[..., :4]
    position, source = torch.arange(4.0)[:, None], torch.arange(4.0)
    assert torch.equal(shifted[0, 0], position - source)


def test_a_rotation_keeps_lengths_and_makes_products_depend_on_distance() -> None:
    config = MoonshineConfig(hidden_size=16, encoder_num_attention_heads=2)
    config.num_attention_heads = config.num_key_value_heads = 2
    cos, sin = MoonshineRotaryEmbedding(config)(torch.zeros(1, 1), torch.arange(6)[None])
    torch.manual_seed(0)
    query, key = (torch.randn(1, 1, 1, 8).expand(1, 1, 6, 8) for _ in range(2))
    turned = private.moonshine_rotation(query, key, cos, sin)
    torch.testing.assert_close(turned[0].norm(dim=-1), query.norm(dim=-1))
    products = (turned[0] @ turned[1].transpose(2, 3))[0, 0]
    torch.testing.assert_close(products[1:, 1:], products[:-1, :-1])
    assert not torch.allclose(products[0, 1], products[0, 0])


def test_languages_are_codes() -> None:
    assert {"en", "de"} <= set(private.canary_languages())
    assert {"en", "de"} <= set(private.cohere_asr_languages())
    assert private.omniasr_languages()["en"] == "eng_latn"


def test_the_sdpa_pair_attends_as_its_mask_says() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 3, 4) for _ in range(3))
    mask = private.sdpa_mask(batch_size=1, q_length=3, kv_length=3, allow_is_causal_skip=False)
    assert mask.dtype == torch.bool
    assert torch.equal(mask[0, 0], torch.ones(3, 3).tril().bool())
    output, weights = private.sdpa_attention_forward(
        nn.Module(), query, key, value, mask, scaling=0.5, is_causal=False
    )
    scores = (0.5 * query @ key.transpose(2, 3)).masked_fill(~mask, float("-inf"))
    torch.testing.assert_close(output, (scores.softmax(-1) @ value).transpose(1, 2))
    assert weights is None
