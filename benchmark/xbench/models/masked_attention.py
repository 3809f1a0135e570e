"""Cross-attention over encoder frames of which each mask zeroes others, from one set of keys and values for all masks.

The plain way zeroes frames of the encoder output H in one copy per mask and projects every copy to keys and values,
which takes time and memory. But a zeroed frame has the key b_k and the value b_v, the biases of the projections,
whichever frame it is. So with K = H W_k + b_k and V = H W_v + b_v made once, a mask that zeroes n frames is softmax
over the kept frames and one *virtual key* that stands for all n:

    scores = (Q K^T of each kept frame, Q b_k^T + log n)        output = softmax(scores) (V of each kept frame, b_v)

This is exact. A mask may also keep a share m of a frame's value, between 0 and 1. Then it is, for all frames,

    a      = softmax(m (Q (K - b_k)^T) + Q b_k^T)
    output = (a m) (V - b_v) + b_v                          since every row of a sums to one

A frame may also be *removed*: its key is taken out of the softmax by the mask, and there is no virtual key. Only where
a mask leaves no frame at all, padding included, the virtual key stands for all of them, as if they were zeroed.

The function below is registered with transformers' attention interface. Its other calls are computed

- with `rest` (frames that no mask changes before this layer, `Rest`): what they attend to among themselves is added
  from one computation;
- with `over_states` (cross-attention to encoder states in the place of keys and values): scores Q (H W_k)^T as
  (Q W_k^T) H^T and output softmax(scores) (H W_v) as (softmax(scores) H) W_v;
- with `shared` (a key and a value per layer that every sequence attends to beside its own): softmax over both parts,
  without copying the shared one per sequence (`models.optional.FreezesPadding`);
- with one key and value for several queries' sequences (beams of one clip, `families.whisper_beams`): once for all;
- over long sources in bfloat16 on a CPU: written out as products, which is faster than SDPA there
  (`perf/reference_speed.md`);
- else transformers' own SDPA attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    EncoderDecoderCache,
)

from xbench.models.device import device_of
from xbench.models.private import cache_keyword, sdpa_attention_forward, sdpa_mask

NAME = "xbench-masked-frames"
# The attribute of a cross-attention module that says in which type its fused kernel computes, where it is not the
# type of its inputs: a twin in a lower precision sets it (`hiding.twin`).
FUSED_DTYPE = "xbench_fused_dtype"
KeyValue = tuple[Tensor, Tensor]

# Source positions from which written-out attention is worth it.
_LONG = 128
# Columns of ones beside the values: one would do, but products of an odd width are slow.
_ONES = 16
# Sums of exponentials between this and its inverse lose nothing to overflow or underflow.
_SAFE = 1e30


def attention(
    module: Any,
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "_ _ source width"],
    value: Float[Tensor, "_ _ source width"],
    attention_mask: Tensor | None,
    *,
    frame_keep: Bool[Tensor, "batch frame"] | Float[Tensor, "batch frame"] | None = None,
    frame_removed: bool = False,
    shared: Sequence[KeyValue] | None = None,
    rest: Rest | None = None,
    over_states: bool = False,
    **arguments: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend to kept frames where `frame_keep` is given and this is a cross-attention module.

    frame_removed: the other frames are taken out of the softmax, not zeroed; `frame_keep` must then be boolean.
    shared: per layer of this module's stack, key and value [1, head, source, channel] beside its own.
    """
    if not module.is_causal:
        scaling = arguments.get("scaling", 1.0)
        if frame_keep is not None and key.shape[0] == 1:
            scaled = query * scaling
            return _masked(module, scaled, key[0], value[0], frame_keep, frame_removed), None
        if over_states:
            return _over_states(module, query * scaling, key[:, 0]), None
        if rest is not None:
            return _beside_rest(query * scaling, key, value, rest), None
        if shared is not None:
            return _two_parts(query * scaling, key, value, *shared[module.layer_idx or 0]), None
        if attention_mask is None and key.shape[0] == 1 < query.shape[0]:
            return _same_source(query * scaling, key, value), None
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
        and device_of(query.device).written_out is not None
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
    """Compute softmax(scale Q K^T) V as two products with an exponential between them.

    exp(x) is computed as 2^(x / ln 2), which is faster; 1 / ln 2 goes into the scale, which the product applies before
    it rounds its output. The sums that a softmax divides by come out of the second product, through columns of ones
    beside the values, and divide its output. The maximum that a softmax subtracts first is left out; where 2^x then
    overflows or underflows, the batch is computed again with a softmax.
    """
    batch, heads, positions, channels = query.shape
    source = key.shape[2]
    values = torch.cat([value, value.new_ones(batch, heads, source, _ONES)], -1).flatten(0, 1)
    queries, keys = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
    summed = query.new_empty(*queries.shape[:2], values.shape[-1])
    at_once = device_of(query.device).written_out or batch * heads * positions * source
    together = max(1, at_once // (positions * source))
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
    """Attend to two sources under one softmax: each sequence's own, and one that all of them share."""
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


def _same_source(
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "1 head source channel"],
    value: Float[Tensor, "1 head source channel"],
) -> Float[Tensor, "batch position head channel"]:
    """Attend from several sequences to one source, which is read once: their positions stand in one row."""
    batch, heads, positions, channels = query.shape
    stacked = query.transpose(0, 1).reshape(1, heads, batch * positions, channels)
    output = nn.functional.scaled_dot_product_attention(stacked, key, value, scale=1.0)
    return output.view(heads, batch, positions, channels).permute(1, 2, 0, 3)


def _over_states(
    module: Any,
    query: Float[Tensor, "batch head position channel"],
    states: Float[Tensor, "batch source dim"],
) -> Float[Tensor, "batch position head channel"]:
    """Attend to states in the place of keys and values, in the precision of the states, softmax in float32."""
    batch, heads, positions, channels = query.shape
    of_key, of_value = (
        p.weight.view(heads, channels, -1).to(states.dtype) for p in (module.k_proj, module.v_proj)
    )

    def by_head(x: Tensor) -> Tensor:
        return x.view(batch, heads, positions, -1).transpose(0, 1).reshape(heads, -1, x.shape[-1])

    def by_sequence(x: Tensor) -> Tensor:
        width = x.shape[-1]
        return x.view(heads, batch, positions, width).transpose(0, 1).reshape(batch, -1, width)

    back = by_sequence(by_head(query.to(states.dtype)) @ of_key)
    # A bias of the keys adds the same to all scores of a query, which changes no softmax.
    scores = (back @ states.transpose(1, 2)).float()
    weights = scores.softmax(-1).to(states.dtype)
    attended = by_head(weights @ states) @ of_value.transpose(1, 2)
    output = attended.to(query.dtype).view(heads, batch, positions, channels).permute(1, 2, 0, 3)
    if module.v_proj.bias is not None:
        output = output + module.v_proj.bias.view(heads, channels).to(query.dtype)
    return output


@dataclass(frozen=True)
class Rest:
    """Frames of a self-attention layer that are the same under every mask, and what they attend to among themselves.

    changed: how many frames come before them. highest: the largest score of each among its like. summed: sums of
    e^(score - highest), times the values and, in the last column, alone.
    """

    changed: int
    query: Float[Tensor, "1 head rest channel"]
    highest: Float[Tensor, "1 head rest 1"]
    summed: Float[Tensor, "1 head rest column"]


def unchanged_rest(module: Any, states: Float[Tensor, "1 frame dim"], changed: int) -> Rest:
    """Return the frames from number `changed` on of what a self-attention layer reads in the clean pass."""
    beyond = states[:, changed:]
    ((key, value),) = cross_cache([module], beyond)
    query = (module.q_proj(beyond) * module.scaling).view(1, -1, *key.shape[1::2]).transpose(1, 2)
    scores = query.float() @ key.float().transpose(2, 3)
    highest = scores.amax(-1, keepdim=True)
    weights = (scores - highest).exp()
    summed = torch.cat([weights @ value.float(), weights.sum(-1, keepdim=True)], -1)
    return Rest(changed, query, highest, summed)


def _beside_rest(
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "batch head position channel"],
    value: Float[Tensor, "batch head position channel"],
    rest: Rest,
) -> Float[Tensor, "batch position head channel"]:
    """Let frames that change attend to all, and the rest to the frames that change, added to what it has."""
    own = slice(rest.changed)
    if _better_written_out(query, key):
        changed = _written_out(query[:, :, own], key, value, 1.0)
    else:
        attended = nn.functional.scaled_dot_product_attention(
            query[:, :, own], key, value, scale=1.0
        )
        changed = attended.transpose(1, 2)
    scores = rest.query.to(key.dtype) @ key[:, :, own].transpose(2, 3)
    weights = scores.sub_(rest.highest.to(scores.dtype)).exp_()
    ones = value.new_ones(*value.shape[:2], rest.changed, 1)
    summed = (weights @ torch.cat([value[:, :, own], ones], -1)).float() + rest.summed
    if not summed[..., -1].isfinite().all():
        plain = nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        return plain.transpose(1, 2)
    unchanged = (summed[..., :-1] / summed[..., -1:]).to(changed.dtype).transpose(1, 2)
    return torch.cat([changed, unchanged], 1)


def _masked(
    module: Any,
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "head source channel"],
    value: Float[Tensor, "head source channel"],
    keep: Bool[Tensor, "batch source"] | Float[Tensor, "batch source"],
    removed: bool,
) -> Float[Tensor, "batch position head channel"]:
    heads, _, channels = key.shape
    of_key, of_value = (_bias(p, heads, channels, key) for p in (module.k_proj, module.v_proj))
    if keep.dtype == torch.bool:
        dtype = getattr(module, FUSED_DTYPE, query.dtype)
        return hidden_frames(query, key, value, keep, of_key, of_value, dtype, removed=removed)
    assert not removed  # `models.optional.RemovesFrames`: a share of a key is not defined
    return faded_frames(query, key, value, keep.to(query.dtype), of_key, of_value)


def hidden_frames(
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "head source channel"],
    value: Float[Tensor, "head source channel"],
    keep: Bool[Tensor, "batch source"],
    key_bias: Float[Tensor, "head 1 channel"],
    value_bias: Float[Tensor, "head 1 channel"],
    fused_dtype: torch.dtype,
    *,
    removed: bool = False,
) -> Float[Tensor, "batch position head channel"]:
    """Attend to kept frames and to the virtual key of the hidden ones (see the head of this module).

    removed: the hidden ones have no key, unless all are hidden.
    fused_dtype: of the fused kernel, where the device has one; products that are written out keep that of the query.
    """
    key, value = torch.cat([key, key_bias], 1), torch.cat([value, value_bias], 1)
    # The mask that is added to the scores: log 1 for what is kept, log 0 for what is hidden, log n for the virtual key.
    virtual = ~keep.any(1, keepdim=True) if removed else (~keep).sum(1, keepdim=True)
    bias = torch.cat([keep, virtual], 1).to(query.dtype).log()[:, None]
    batch, heads, positions, channels = query.shape
    at_once = device_of(query.device).written_out
    if at_once is None:
        output: Tensor = nn.functional.scaled_dot_product_attention(
            query.to(fused_dtype),
            key.to(fused_dtype).expand(batch, -1, -1, -1),
            value.to(fused_dtype).expand(batch, -1, -1, -1),
            attn_mask=bias[:, None].to(fused_dtype),
            scale=1.0,
        )
        return output.transpose(1, 2).to(query.dtype)
    output = query.new_empty(batch, positions, heads, channels)
    together = max(1, at_once // (heads * positions * key.shape[1]))
    for first in range(0, batch, together):
        part = slice(first, first + together)
        rows = query[part].transpose(0, 1).reshape(heads, -1, channels)
        scores = rows @ key.transpose(1, 2)
        scores.view(heads, -1, positions, key.shape[1]).add_(bias[part])
        attended = scores.softmax(-1) @ value
        output[part] = attended.view(heads, -1, positions, channels).permute(1, 2, 0, 3)
    return output


def faded_frames(
    query: Float[Tensor, "batch head position channel"],
    key: Float[Tensor, "head source channel"],
    value: Float[Tensor, "head source channel"],
    keep: Float[Tensor, "batch source"],
    key_bias: Float[Tensor, "head 1 channel"],
    value_bias: Float[Tensor, "head 1 channel"],
) -> Float[Tensor, "batch position head channel"]:
    """Attend to frames of which shares are kept (see the head of this module)."""
    batch, heads, positions, channels = query.shape
    stacked = query.transpose(0, 1).reshape(heads, batch * positions, channels)
    scores = (stacked @ (key - key_bias).transpose(1, 2)).view(heads, batch, positions, -1)
    scores *= keep[:, None]
    scores += (stacked @ key_bias.transpose(1, 2)).view(heads, batch, positions, 1)
    weights = scores.softmax(-1)
    weights *= keep[:, None]
    output = weights.view(heads, batch * positions, -1) @ (value - value_bias) + value_bias
    return output.view(heads, batch, positions, channels).permute(1, 2, 0, 3)


def _bias(
    projection: nn.Linear, heads: int, channels: int, like: Tensor
) -> Float[Tensor, "head 1 channel"]:
    """Return what a projection makes of a frame of zeros."""
    if projection.bias is None:
        return like.new_zeros(heads, 1, channels)
    return projection.bias.view(heads, 1, channels).to(like.dtype)


def cross_cache(modules: list[Any], encoded: Float[Tensor, "batch source dim"]) -> list[KeyValue]:
    """Return the key and value that each attention module makes of encoder states: [batch, head, source, channel]."""

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
