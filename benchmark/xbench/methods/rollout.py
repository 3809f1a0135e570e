"""Attention rollout: attention multiplied through the layers, half of it replaced by the residual.

With E_l, S_l and A_l the head means of encoder self-, decoder self- and cross-attention of layer l,
all positions, padding included:

    encoder-rollout   R = E'_L ... E'_1,   E'_l = (E_l + I) / 2;   map = mean over layers of A_l, times R
    full-rollout      M_0 = 0,   M_l = (A_l R + S'_l M_(l-1)) / 2,   S'_l = (S_l + I) / 2;   map = M_L

The second is the recursion of ALTI+ with attention weights: the cross-attention block adds half of
A_l to half of its own stream, whose past is mixed by S'_l. (A + I) / 2 already has rows that sum to one.
Products are taken from the token's side (A R = (A E'_L) E'_(L-1) ...), so no [frame, frame] matrix is
ever formed; the prefix and the padding are cut off at the end (`Trace.crop`).
Sources: Abnar & Zuidema 2020, arXiv 2005.00928, section 3; the recursion: Ferrando et al. 2022b,
arXiv 2205.11631, section 3.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.trace import AttentionBlock, Trace

_PIECE = 128  # query positions whose attention is formed at a time


@torch.no_grad()
def encoder_rollout(trace: Trace, *, layers: str) -> Float[Tensor, "token frame"]:
    """Push the mean cross-attention of the chosen decoder layers through the encoder's layers."""
    cross = trace.stack("cross", layers)
    rows = torch.stack([block.attention().mean(0) for block in cross]).mean(0)
    return trace.crop(_through_encoder(rows, trace))


@torch.no_grad()
def full_rollout(trace: Trace) -> Float[Tensor, "token frame"]:
    """Roll out decoder self-attention, cross-attention and encoder self-attention."""
    rows: Tensor | None = None
    for own, cross in zip(trace.stack("decoder"), trace.stack("cross"), strict=True):
        added = cross.attention().mean(0)
        rows = (added if rows is None else added + mixed(own) @ rows) / 2
    assert rows is not None
    return trace.crop(_through_encoder(rows, trace))


def mixed(block: AttentionBlock) -> Float[Tensor, "position position"]:
    """Return (mean over heads of the self-attention + identity) / 2, for a short stack."""
    attention = block.attention().mean(0)
    return (attention + torch.eye(len(attention), device=attention.device)) / 2


def through(
    rows: Float[Tensor, "row position"], block: AttentionBlock
) -> Float[Tensor, "row position"]:
    """Return rows times (mean over heads of the self-attention + identity) / 2."""
    moved = torch.zeros_like(rows)
    for piece in block.pieces(_PIECE):
        moved += (rows[:, piece] @ block.attention(piece)).mean(0)
    return (moved + rows) / 2


def _through_encoder(
    rows: Float[Tensor, "position source"], trace: Trace
) -> Float[Tensor, "position source"]:
    for block in reversed(trace.stack("encoder")):
        rows = through(rows, block)
    return rows
