"""Self-attention with rotary positions, as language models of the Llama kind have it: where it is and how it is read.

Query and key of a position p are turned in planes of two channels by an angle that is proportional to p, so that their
product depends on the distance of two positions alone. Some models (Qwen3) normalise both per head before.

Source: Su et al. 2021, arXiv 2104.09864; the halves of a head are paired as in transformers' `rotate_half`.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.errors import UsageError
from xbench.models.capture import Seen, Stack

# Language models whose attention is read here, by the `model_type` of their configuration.
KNOWN = frozenset({"granite", "llama", "ministral", "mistral", "phi4_multimodal", "qwen2", "qwen3"})
# Of these, those with one projection for queries, keys and values.
_JOINT = {"phi4_multimodal": "qkv_proj"}


def self_attention(model: Any) -> Stack:
    """Return the attention modules of a language model; raises UsageError for a kind that is not known."""
    kind = model.config.model_type
    if kind not in KNOWN:
        raise UsageError(
            f"a language model of type '{kind}' cannot be read; those of type {', '.join(sorted(KNOWN))} can"
        )
    return Stack(
        [layer.self_attn for layer in model.layers],
        model.config.num_attention_heads,
        causal=True,
        output="o_proj",
        positions=rotated,
        joint=_JOINT.get(kind, ""),
    )


def rotated(
    module: Any, query: Tensor, key: Tensor, seen: Seen
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return query and key [head, position, channel] as they meet: normalised where the model does, and turned."""
    if hasattr(module, "q_norm"):
        query, key = module.q_norm(query), module.k_norm(key)
    cos, sin = (part[0] for part in seen["position_embeddings"])
    return turned(query, cos, sin), turned(key, cos, sin), None


def turned(
    states: Float[Tensor, "head position channel"],
    cos: Float[Tensor, "position turnedchannel"],
    sin: Float[Tensor, "position turnedchannel"],
) -> Float[Tensor, "head position channel"]:
    """Return x cos + (-x2, x1) sin with x = (x1, x2); channels beyond those of cos and sin stay."""
    size = cos.shape[-1]
    turning, rest = states[..., :size], states[..., size:]
    first, second = turning.chunk(2, -1)
    return torch.cat([turning * cos + torch.cat([-second, first], -1) * sin, rest], -1)
