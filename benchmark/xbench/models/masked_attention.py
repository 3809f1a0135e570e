"""Cross-attention over zeroed encoder frames, exactly, without projecting or copying them per mask.

Zeroing frame j of the encoder output H makes its key b_k and its value b_v (the projection biases). With the
clean projections K = H W_k + b_k and V = H W_v + b_v, and keep m in {0, 1}:

    scores = m (Q (K - b_k)^T) + Q b_k^T
    output = (a m) (V - b_v) + b_v          a = softmax(scores), since every row of a sums to one

so one K and V serve all masks. Registered with transformers' attention interface: calls without
`frame_keep` are its own SDPA attention.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "xbench-masked-frames"


def attention(
    module: Any,
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "_ head source channel"],
    value: Float[Tensor, "_ head source channel"],
    attention_mask: Tensor | None,
    *,
    frame_keep: Float[Tensor, "batch frame"] | None = None,
    **arguments: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend to kept frames where `frame_keep` is given and this is a cross-attention module."""
    is_cross = frame_keep is not None and key.shape[0] == 1 and not module.is_causal
    if not is_cross:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **arguments
        )
        return plain
    assert frame_keep is not None
    return _masked(
        module, query * arguments.get("scaling", 1.0), key[0], value[0], frame_keep
    ), None


def _masked(
    module: Any,
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "head source channel"],
    value: Float[Tensor, "head source channel"],
    keep: Float[Tensor, "batch source"],
) -> Float[Tensor, "batch position head channel"]:
    batch, heads, positions, channels = query.shape
    stacked = query.transpose(0, 1).reshape(heads, batch * positions, channels)
    key_bias, value_bias = (_bias(p, heads, channels) for p in (module.k_proj, module.v_proj))
    if key_bias is not None:
        key = key - key_bias
    scores = (stacked @ key.transpose(1, 2)).view(heads, batch, positions, -1)
    scores *= keep[:, None]
    if key_bias is not None:
        scores += (stacked @ key_bias.transpose(1, 2)).view(heads, batch, positions, 1)
    weights = scores.softmax(-1)
    weights *= keep[:, None]
    if value_bias is not None:
        value = value - value_bias
    output = weights.view(heads, batch * positions, -1) @ value
    if value_bias is not None:
        output += value_bias
    return output.view(heads, batch, positions, channels).permute(1, 2, 0, 3)


def _bias(
    projection: nn.Linear, heads: int, channels: int
) -> Float[Tensor, "head 1 channel"] | None:
    return None if projection.bias is None else projection.bias.view(heads, 1, channels)


def cross_cache(
    modules: list[Any], encoded: Float[Tensor, "1 source dim"]
) -> list[tuple[Tensor, Tensor]]:
    """Project the encoder output once for every cross-attention module: [1, head, source, channel]."""

    def heads(module: Any, projection: nn.Linear) -> Tensor:
        states: Tensor = projection(encoded)
        return states.view(1, -1, module.num_heads, module.head_dim).transpose(1, 2).contiguous()

    return [(heads(m, m.k_proj), heads(m, m.v_proj)) for m in modules]


def decoder_cache(projected: list[tuple[Tensor, Tensor]]) -> EncoderDecoderCache:
    """Return a cache whose cross-attention half holds these keys and values, so that none are made."""
    cross = DynamicCache()
    for layer, (key, value) in enumerate(projected):
        cross.update(key, value, layer)
    return EncoderDecoderCache(DynamicCache(), cross)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
