"""Cross-attention over zeroed encoder frames, exactly, without projecting or copying them per mask.

Zeroing frame j of the encoder output H makes its key b_k and its value b_v (the projection biases). With the
clean projections K = H W_k + b_k and V = H W_v + b_v, and keep m in {0, 1}:

    scores = m (Q (K - b_k)^T) + Q b_k^T
    output = (a m) (V - b_v) + b_v          a = softmax(scores), since every row of a sums to one

so one K and V serve all masks. Registered with transformers' attention interface; other calls of it are

- with `shared` (a key and a value per layer that every sequence attends to beside its own): softmax over both parts,
  without copying the shared one per sequence (`models.optional.FreezesPadding`);
- over long sources in bfloat16 on a CPU: written out as products, which is faster than SDPA there
  (`perf/reference_speed.md`);
- else transformers' own SDPA attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    EncoderDecoderCache,
)

from xbench.models.private import cache_keyword, sdpa_attention_forward, sdpa_mask

NAME = "xbench-masked-frames"
KeyValue = tuple[Tensor, Tensor]

# Source positions from which written-out attention is worth it.
_LONG = 128
# Columns of ones beside the values: one would do, but products of an odd width are slow.
_ONES = 16
# Scores that are looked at together, in whole sequences: those of a batch would be the largest tensor of all, and
# those of one short sequence are less work than its calls.
_SCORES = 1_500_000
# Sums of exponentials between this and its inverse lose nothing to overflow or underflow.
_SAFE = 1e30


def attention(
    module: Any,
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "_ head source channel"],
    value: Float[Tensor, "_ head source channel"],
    attention_mask: Tensor | None,
    *,
    frame_keep: Float[Tensor, "batch frame"] | None = None,
    shared: Sequence[KeyValue] | None = None,
    **arguments: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend to kept frames where `frame_keep` is given and this is a cross-attention module.

    shared: per layer of this module's stack, key and value [1, head, source, channel] beside its own.
    """
    if not module.is_causal:
        scaling = arguments.get("scaling", 1.0)
        if frame_keep is not None and key.shape[0] == 1:
            keep = frame_keep.to(query.dtype)
            return _masked(module, query * scaling, key[0], value[0], keep), None
        if shared is not None:
            return _two_parts(query * scaling, key, value, *shared[module.layer_idx or 0]), None
        if attention_mask is None and _better_written_out(query, key):
            return _written_out(query, key, value, scaling), None
    plain: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, **arguments
    )
    return plain


def _better_written_out(query: Tensor, key: Tensor) -> bool:
    """Say whether product, softmax, product beat SDPA: no gradient keeps the scores, and there are many."""
    return (
        query.dtype == torch.bfloat16
        and query.device.type == "cpu"
        and not query.requires_grad
        and query.shape[1:] == key.shape[1:]
        and key.shape[2] >= _LONG
    )


def _written_out(
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "batch head source channel"],
    value: Float[Tensor, "batch head source channel"],
    scale: float,
) -> Float[Tensor, "batch position head channel"]:
    """Product, exponential, product.

    The scale meets the scores before they are rounded, over ln 2, since 2^x is faster than e^x. The weights are
    normalised afterwards, by columns of ones beside the values. This leaves out the maximum that a softmax subtracts,
    so scores beyond the range of 2^x take the softmax instead.
    """
    batch, heads, positions, channels = query.shape
    source = key.shape[2]
    values = torch.cat([value, value.new_ones(batch, heads, source, _ONES)], -1).flatten(0, 1)
    queries, keys = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
    summed = query.new_empty(*queries.shape[:2], values.shape[-1])
    together = heads * max(1, _SCORES // (heads * positions * source))
    scores = query.new_empty(together, positions, source)
    for first in range(0, len(queries), together):
        part = slice(first, first + together)
        weights = scores[: len(queries[part])]
        torch.baddbmm(
            weights, queries[part], keys[part], beta=0, alpha=scale / math.log(2), out=weights
        )
        torch.bmm(weights.exp2_(), values[part], out=summed[part])
    total = summed[..., channels, None]
    output = query.new_empty(batch, positions, heads, channels)
    weighted = output.transpose(1, 2)
    if total.min() > 1 / _SAFE and total.max() < _SAFE:
        torch.div(
            summed[..., :channels].view_as(weighted), total.view_as(weighted[..., :1]), out=weighted
        )
    else:
        for row in range(batch):
            scores = (query[row] * scale) @ key[row].transpose(1, 2)
            weighted[row] = scores.softmax(-1) @ value[row]
    return output


def _two_parts(
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "batch head source channel"],
    value: Float[Tensor, "batch head source channel"],
    shared_key: Float[Tensor, "1 head shared channel"],
    shared_value: Float[Tensor, "1 head shared channel"],
) -> Float[Tensor, "batch position head channel"]:
    """Softmax over a source of each sequence's own and one that all share."""
    batch, heads, positions, channels = query.shape
    stacked = query.transpose(0, 1).reshape(heads, batch * positions, channels)
    common = (stacked @ shared_key[0].transpose(1, 2)).view(heads, batch, positions, -1)
    own = (query @ key.transpose(2, 3)).transpose(0, 1)
    weights = torch.cat([own, common], -1).softmax(-1)
    split = weights.split([own.shape[-1], common.shape[-1]], -1)
    output = split[0].transpose(0, 1) @ value
    from_shared = split[1].reshape(heads, batch * positions, -1) @ shared_value[0]
    return (output.transpose(0, 1) + from_shared.view(heads, batch, positions, channels)).permute(
        1, 2, 0, 3
    )


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


def cross_cache(modules: list[Any], encoded: Float[Tensor, "batch source dim"]) -> list[KeyValue]:
    """Project states once for every attention module: [batch, head, source, channel]."""

    def heads(module: Any, projection: nn.Linear) -> Tensor:
        states: Tensor = projection(encoded)
        split = states.view(len(encoded), -1, module.num_heads, module.head_dim)
        return split.transpose(1, 2).contiguous()

    return [(heads(m, m.k_proj), heads(m, m.v_proj)) for m in modules]


def projected_once(decoder: Any, projected: list[KeyValue]) -> dict[str, EncoderDecoderCache]:
    """Return the arguments with which a decoder takes these keys and values for its cross-attention.

    They fill the cross-attention half of a cache, so the decoder makes none of its own.
    """
    cross = DynamicCache()
    for layer, (key, value) in enumerate(projected):
        cross.update(key, value, layer)
    return {cache_keyword(decoder): EncoderDecoderCache(DynamicCache(), cross)}


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
