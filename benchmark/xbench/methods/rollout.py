"""Attention rollout: attention multiplied through the layers, half of it replaced by the residual.

With E_l, S_l and A_l the head means of encoder self-, decoder self- and cross-attention of layer l,
all positions, padding included:

    encoder-rollout   R = E'_L ... E'_1,   E'_l = (E_l + I) / 2;   map = mean over layers of A_l, times R
    full-rollout      M_0 = 0,   M_l = (A_l R + S'_l M_(l-1)) / 2,   S'_l = (S_l + I) / 2;   map = M_L

    prefix-rollout    R = S'_L ... S'_1 over the one stack of a decoder-only model; map = its audio columns

    entropy-rollout   the second, with weighted instead of plain means over heads:  w_h = mean over rows of
                      1 - H(row of head h) / log(n of the row), of all blocks, weights divided by their sum

The second is the recursion of ALTI+ with attention weights: the cross-attention block adds half of
A_l to half of its own stream, whose past is mixed by S'_l. (A + I) / 2 already has rows that sum to one.
Products are taken from the token's side (A R = (A E'_L) E'_(L-1) ...), so no [frame, frame] matrix is
ever formed; the prefix and the padding are cut off at the end (`Trace.crop`).

H is the entropy of a row of attention, n the number of sources that the position may look at (for decoder
self-attention those before it and itself; 2 where there is only one). Rows that weigh heads are those of content
tokens, and in the encoder those of valid frames. A weight that
rounding alone makes is 0; if all are, heads weigh alike.
So heads that look everywhere count little, in the encoder as in the decoder.
Sources: Abnar & Zuidema 2020, arXiv 2005.00928, section 3; the recursion: Ferrando et al. 2022b,
arXiv 2205.11631, section 3; the weights: ours, as in `entropy-weighted`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.maps import CONSTANT
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


@torch.no_grad()
def prefix_rollout(trace: Trace) -> Float[Tensor, "token frame"]:
    """Roll out the self-attention of a decoder-only model and keep what comes from the audio positions."""
    stack = trace.stack("self")
    positions = stack[0].query.shape[1]
    first = trace.prompt_length - 1
    # From the tokens' side, so that only their rows are carried through the layers.
    rows = torch.eye(positions, device=stack[0].query.device)[first:]
    for block in reversed(stack):
        rows = through(rows, block)
    above = rows.new_zeros(first, positions)
    return trace.crop(torch.cat([above, rows]))


@torch.no_grad()
def entropy_rollout(trace: Trace) -> Float[Tensor, "token frame"]:
    """Roll out all attention, sharp heads weighing more than heads that look everywhere."""
    first = trace.prompt_length - 1
    content = [first + i for i in trace.layout.content or range(len(trace.layout.tokens))]
    rows: Tensor | None = None
    for own, cross in zip(trace.stack("decoder"), trace.stack("cross"), strict=True):
        added = _mean_over_heads(cross.attention(), sharpness(cross, content))
        past = mixed(own, sharpness(own, content))
        rows = (added if rows is None else added + past @ rows) / 2
    assert rows is not None
    frames = list(range(trace.layout.frames))
    for block in reversed(trace.stack("encoder")):
        rows = through(rows, block, sharpness(block, frames))
    return trace.crop(rows)


def sharpness(block: AttentionBlock, positions: Sequence[int]) -> Float[Tensor, " head"]:
    """Return the weights of a block's heads by the entropy of these rows (non-negative, sum one)."""
    counted = torch.zeros(block.query.shape[1], dtype=torch.bool, device=block.query.device)
    counted[list(positions)] = True
    total = torch.zeros(len(block.query), device=block.query.device)
    for piece in block.pieces(_PIECE):
        rows = counted[piece].nonzero()[:, 0]
        if not len(rows):
            continue
        attention = block.attention(piece)[:, rows]
        sources = rows + piece.start + 1 if block.causal else torch.tensor(block.key.shape[1])
        highest = sources.clamp_min(2).log().to(attention)
        total += (1 - torch.special.entr(attention).sum(-1) / highest).sum(-1)
    weights = torch.where(total > CONSTANT * len(positions), total, 0)
    if not weights.any():
        weights = torch.ones_like(weights)
    return weights / weights.sum()


def mixed(
    block: AttentionBlock, weights: Float[Tensor, " head"] | None = None
) -> Float[Tensor, "position position"]:
    """Return (mean over heads of the self-attention + identity) / 2, for a short stack."""
    attention = _mean_over_heads(block.attention(), weights)
    return (attention + torch.eye(len(attention), device=attention.device)) / 2


def through(
    rows: Float[Tensor, "row position"],
    block: AttentionBlock,
    weights: Float[Tensor, " head"] | None = None,
) -> Float[Tensor, "row position"]:
    """Return rows times (mean over heads of the self-attention + identity) / 2."""
    moved = torch.zeros_like(rows)
    for piece in block.pieces(_PIECE):
        moved += _mean_over_heads(rows[:, piece] @ block.attention(piece), weights)
    return (moved + rows) / 2


def _mean_over_heads(
    values: Float[Tensor, "head row column"], weights: Float[Tensor, " head"] | None
) -> Float[Tensor, "row column"]:
    """Return the plain mean, or the one with these weights, which sum to one."""
    return values.mean(0) if weights is None else torch.einsum("h,hrc->rc", weights, values)


def _through_encoder(
    rows: Float[Tensor, "position source"], trace: Trace
) -> Float[Tensor, "position source"]:
    for block in reversed(trace.stack("encoder")):
        rows = through(rows, block)
    return rows
