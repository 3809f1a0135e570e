"""One captured teacher-forced forward pass, and the only place where attention is cropped.

Row i is the position that predicts token i. Prompt positions are dropped, padding frames are cropped
and each row is renormalised here and nowhere else; the mass that lay on padding is kept beside it.
Special tokens (end-of-text) stay as rows until scoring, which selects content rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.maps import Layout

# What a method may ask for beside cross-attention.
CAPTURES = frozenset(
    {
        "decoder-attention",
        "encoder-attention",
        "cross-projections",
        "decoder-projections",
        "encoder-projections",
    }
)


@dataclass(frozen=True)
class AttentionBlock:
    """The projections of one attention block, all positions, padding included.

    Its output is reproduced by softmax(scale * query key^T + mask) value, heads concatenated,
    times output_weight^T plus output_bias.
    """

    query: Float[Tensor, "head position channel"]
    key: Float[Tensor, "head source channel"]
    value: Float[Tensor, "head source channel"]
    output: Float[Tensor, "position dim"]
    output_weight: Float[Tensor, "dim dim"]
    output_bias: Float[Tensor, " dim"]
    scale: float
    causal: bool

    def attention(self) -> Float[Tensor, "head position source"]:
        """Return softmax(scale * query key^T), causal where the block is."""
        scores = self.scale * self.query.float() @ self.key.float().transpose(-1, -2)
        if self.causal:
            above = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(above, float("-inf"))
        return scores.softmax(-1)


@dataclass(frozen=True)
class Trace:
    """A captured pass, ready for methods.

    cross_attention: valid frames only, rows sum to one. padding_mass: share of each row that lay
    on padding before the crop. decoder_attention, encoder_attention: all positions (prompt and
    padding included), where asked for. blocks: projections per layer under "cross", "decoder",
    "encoder", where asked for. prompt_length: row i of a map is position prompt_length - 1 + i.
    """

    layout: Layout
    cross_attention: Float[Tensor, "layer head token frame"]
    padding_mass: Float[Tensor, "layer head token"]
    prompt_length: int
    decoder_attention: Float[Tensor, "layer head position position"] | None = None
    encoder_attention: Float[Tensor, "layer head source source"] | None = None
    blocks: Mapping[str, tuple[AttentionBlock, ...]] = field(default_factory=dict)


def crop(
    attention: Float[Tensor, "layer head position source"], prompt_length: int, layout: Layout
) -> tuple[Float[Tensor, "layer head token frame"], Float[Tensor, "layer head token"]]:
    """Keep the rows that predict generated tokens and the valid frames; renormalise rows.

    Returns the cropped attention and the mass it had on padding. A row with no mass at all on
    valid frames stays zero (and is then counted as constant by the metrics).
    """
    first = prompt_length - 1
    rows = attention[:, :, first : first + len(layout.tokens)]
    valid = rows[..., : layout.frames]
    mass = valid.sum(-1, keepdim=True)
    cropped = torch.where(mass > 0, valid / mass.clamp_min(torch.finfo(mass.dtype).tiny), valid)
    return cropped, (1 - mass.squeeze(-1) / rows.sum(-1)).clamp(0, 1)


def build_trace(
    blocks: Mapping[str, tuple[AttentionBlock, ...]],
    layout: Layout,
    prompt_length: int,
    needs: frozenset[str] | set[str],
) -> Trace:
    """Make a trace out of captured blocks ("cross" always, others as `needs` says)."""
    cross = torch.stack([block.attention() for block in blocks["cross"]])
    cross_attention, padding_mass = crop(cross, prompt_length, layout)

    def attention(stack: str) -> Tensor | None:
        if f"{stack}-attention" not in needs:
            return None
        return torch.stack([block.attention() for block in blocks[stack]])

    kept = {name: stack for name, stack in blocks.items() if f"{name}-projections" in needs}
    return Trace(
        layout=layout,
        cross_attention=cross_attention,
        padding_mass=padding_mass,
        prompt_length=prompt_length,
        decoder_attention=attention("decoder"),
        encoder_attention=attention("encoder"),
        blocks=kept,
    )
