"""ALTI and ALTI+: how much nearer each source brings a block's result, multiplied through the layers.

A block's result is a sum over sources: y_i = x_i + b_O + sum_j F_ij, with F_ij = sum_h a^h_ij v^h_j W_O^h. Let T_ij
be the share of source j: F_ij, and for self-attention F_ii + x_i on the diagonal. In cross-attention x_i, the decoder's
own stream, is one more source. The contribution of a source is its share of

    c_ij proportional to max(0, |y_i|_1 - |y_i - T_ij|_1),   rows sum to one

Encoder layers give C_l; no identity is added, the residual is inside T_ii. Cross-attention of decoder layer l gives
P_l (frames) and p_l (own stream), decoder self-attention D_l:

    alti        (mean over decoder layers of P_l) C_L ... C_1
    alti-plus   M_0 = 0,   M_l = P_l C_L ... C_1 + diag(p_l) D_l M_(l-1);   map = M_L

alti-plus also splits off the share of the target prefix, which is what is missing from the sums of the rows of M; the
map is its source part, rows normalised. In alti, layers count by the share that they take from the frames.
Whisper is pre-LN, as ALTI+'s models are: y is the residual stream itself, and the LayerNorm before the block is
inside v_j. A row in which no source brings y nearer stays zero (its relevance is lost).
Distances are taken in tiles of positions by sources; beside one layer's [frame, frame] contributions nothing
large is held. Products are taken from the token's side.
Sources: Ferrando et al. 2022a (ALTI), arXiv 2203.04212, section 3; Ferrando et al. 2022b (ALTI+), arXiv
2205.11631, section 3.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.trace import AttentionBlock, Stream, Trace

# Size of one tile of y_i - T_ij: it should stay in a processor's cache, an accelerator wants more.
TILE_BYTES = {"cpu": 2**20, "other": 2**28}
_PIECE = 128  # query positions of a tile
_TINY = torch.finfo(torch.float32).tiny


@torch.no_grad()
def alti(trace: Trace, *, layers: str) -> Float[Tensor, "token frame"]:
    """Push the mean cross-attention contributions of the chosen layers through the encoder's."""
    shares = [cross_contributions(b, trace.stream(b))[0] for b in trace.stack("cross", layers)]
    return trace.crop(_through_encoder(torch.stack(shares).mean(0), trace))


@torch.no_grad()
def alti_plus(trace: Trace) -> Float[Tensor, "token frame"]:
    """Follow contributions through decoder and encoder; return the part of the source."""
    return trace.crop(_through_encoder(decoder_contributions(trace)[0], trace))


def decoder_contributions(
    trace: Trace,
) -> tuple[Float[Tensor, "position source"], Float[Tensor, "position position"]]:
    """Return what encoder outputs and what decoder inputs contribute to each decoder output."""
    source: Tensor | None = None
    target: Tensor | None = None
    for own, cross in zip(trace.stack("decoder"), trace.stack("cross"), strict=True):
        frames, kept = cross_contributions(cross, trace.stream(cross))
        past = kept[:, None] * self_contributions(own, trace.stream(own))
        source = frames if source is None else frames + past @ source
        target = past if target is None else past @ target
    assert source is not None
    assert target is not None
    return source, target


def self_contributions(block: AttentionBlock, stream: Stream) -> Float[Tensor, "position position"]:
    """Return the contributions of each position to each, the residual on the diagonal."""
    nearer = _nearer(block, stream, residual_on_diagonal=True)
    return nearer / nearer.sum(-1, keepdim=True).clamp_min(_TINY)


def cross_contributions(
    block: AttentionBlock, stream: Stream
) -> tuple[Float[Tensor, "position source"], Float[Tensor, " position"]]:
    """Return the contributions of the frames and of the position's own stream; together one."""
    nearer = _nearer(block, stream, residual_on_diagonal=False)
    after, before = stream.after.float(), stream.before.float()
    own = (after.abs().sum(-1) - (after - before).abs().sum(-1)).clamp_min(0)
    total = (nearer.sum(-1) + own).clamp_min(_TINY)
    return nearer / total[:, None], own / total


def _nearer(
    block: AttentionBlock, stream: Stream, *, residual_on_diagonal: bool
) -> Float[Tensor, "position source"]:
    """Return max(0, |y_i|_1 - |y_i - T_ij|_1)."""
    vectors = block.transformed()
    after, before = stream.after.float(), stream.before.float()
    sizes = after.abs().sum(-1, keepdim=True)
    nearer = after.new_empty(len(after), len(vectors))
    tile = TILE_BYTES["cpu" if after.device.type == "cpu" else "other"]
    step = max(1, tile // (4 * min(_PIECE, len(after)) * after.shape[1]))
    for piece in block.pieces(_PIECE):
        attention = block.attention(piece)
        for start in range(0, len(vectors), step):
            sources = slice(start, start + step)
            weights = attention[..., sources].permute(2, 1, 0)  # [source, position, head]
            left = torch.baddbmm(after[piece][None], weights, vectors[sources], alpha=-1)
            if residual_on_diagonal:
                low = max(piece.start, start)
                high = max(low, min(piece.stop, start + len(left)))
                here = torch.arange(low, high, device=left.device)
                left[here - start, here - piece.start] -= before[here]
            # Not `vector_norm`, whose sum of absolute values takes several times as long on a CPU.
            distance = left.abs_().sum(-1)
            nearer[piece, sources] = (sizes[piece] - distance.T).clamp_min_(0)
    return nearer


def _through_encoder(
    rows: Float[Tensor, "position source"], trace: Trace
) -> Float[Tensor, "position source"]:
    for block in reversed(trace.stack("encoder")):
        rows = rows @ self_contributions(block, trace.stream(block))
    return rows
