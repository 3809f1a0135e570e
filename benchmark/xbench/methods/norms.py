"""Norms of what attention moves: weights times transformed value vectors, not weights alone.

The output of an attention block at position i is, up to the bias of the output projection, a sum over
sources: y_i = sum_j F_ij with F_ij = sum_h a^h_ij (v^h_j W_O^h), v_j with its own bias. Per decoder layer:

    value-norm         n_ij = |F_ij| (heads=together), or sum_h a^h_ij |v^h_j W_O^h| (heads=separate);
                       cropped, rows normalised, mean over layers
    value-norm-resln   n_ij = |L(F_ij)|;   r_i = |L(y_i)| / (|L(y_i)| + |L(x_i)|);
                       map = sum over layers of r_i n_ij / sum_j n_ij
    globenc            C N_L ... N_1, with C the mean over layers of |F_ij| (rows normalised), and N_l the
                       rows of |L(F_ij) + [i = j] L(x_i)| of encoder layer l, normalised

|.| is the Euclidean norm, x_i the residual stream that the block's output is added to. L(z) = g (z - mean z)
is the linear part of a LayerNorm with weight g; its deviation is that of the whole position, so it scales a
row and falls out of every ratio above.

Kobayashi 2021 and GlobEnc are about BERT, whose LayerNorm stands *after* the residual sum. Here (pre-LN) it
stands before the block, position by position, and so is inside v_j already; nothing normalises x_i + y_i but
the LayerNorms that read the stream. Therefore value-norm-resln folds in the next one that reads it (before the
feed-forward block), and globenc, which in the paper goes on to the output LayerNorm of the layer and
skips the feed-forward block, the one that reads the stream after the layer (the next layer's first, or
the encoder's last). r_i is the paper's mixing ratio: for cross-attention all frames are context, the
token's own position is what they are weighed against; so a layer counts by how much it adds.

No [position, source, dim] array is formed: |sum_h a^h f^h|^2 = sum_hg a^h a^g <f^h, f^g>, a few positions at a time.
Sources: Kobayashi et al. 2020, arXiv 2004.10102, section 3; Kobayashi et al. 2021, arXiv 2109.07152,
sections 3 and 4; Modarressi et al. 2022 (GlobEnc), arXiv 2205.03286, section 3.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.trace import AttentionBlock, Stream, Trace

_PIECE = 16  # query positions at a time
_TINY = torch.finfo(torch.float32).tiny


@torch.no_grad()
def value_norm(trace: Trace, *, layers: str, heads: str) -> Float[Tensor, "token frame"]:
    """Return the mean over layers of the norms of the transformed values, rows normalised."""
    norms = []
    for block in trace.source_stack(layers):
        vectors = block.transformed()
        if heads == "together":
            norms.append(vector_norms(block, vectors))
        else:
            norms.append(torch.einsum("hps,sh->ps", block.attention(), vectors.norm(dim=-1)))
    return trace.crop_heads(torch.stack(norms)[:, None]).mean((0, 1))


@torch.no_grad()
def value_norm_resln(trace: Trace, *, layers: str) -> Float[Tensor, "token frame"]:
    """Return the norms after the next LayerNorm, each layer weighed by its mixing ratio."""
    relevance = 0
    for block in trace.stack("cross", layers):
        stream = trace.stream(block)
        fold = stream.next_norm.linear
        norms = vector_norms(block, fold(block.transformed()))
        context = fold(block.output.float() - block.output_bias.float()).norm(dim=-1)
        ratio = context / (context + fold(stream.before).norm(dim=-1)).clamp_min(_TINY)
        relevance = relevance + ratio[:, None] * _normalised(norms)
    return trace.crop(relevance)


@torch.no_grad()
def globenc(trace: Trace, *, layers: str) -> Float[Tensor, "token frame"]:
    """Push cross-attention value norms through the norm-based mixing of the encoder's layers."""
    cross = trace.stack("cross", layers)
    norms = [_normalised(vector_norms(b, b.transformed())) for b in cross]
    rows = torch.stack(norms).mean(0)
    for block in reversed(trace.stack("encoder")):
        rows = rows @ mixing(block, trace.stream(block))
    return trace.crop(rows)


def mixing(block: AttentionBlock, stream: Stream) -> Float[Tensor, "position position"]:
    """Return the row-normalised norms of what each position gives to each, the residual included."""
    vectors = stream.layer_norm.linear(block.transformed())
    residual = stream.layer_norm.linear(stream.before)
    return _normalised(vector_norms(block, vectors, residual))


def vector_norms(
    block: AttentionBlock,
    vectors: Float[Tensor, "source head dim"],
    residual: Float[Tensor, "position dim"] | None = None,
) -> Float[Tensor, "position source"]:
    """Return |sum_h attention[h, i, j] vectors[j, h]| for all i and j, by the heads' inner products.

    residual: is added to the diagonal's vectors before their norm is taken.
    """
    products = torch.einsum("shd,sgd->hgs", vectors, vectors)
    norms = vectors.new_empty(block.query.shape[1], len(vectors))
    for piece in block.pieces(_PIECE):
        attention = block.attention(piece)
        squared = torch.zeros_like(attention[0])
        for weights, product in zip(attention, products, strict=True):
            squared += weights * (attention * product[:, None]).sum(0)
        norms[piece] = squared.clamp_min_(0).sqrt_()
        if residual is not None:
            own = attention.diagonal(piece.start, 1, 2)  # [head, position]
            moved = torch.einsum("hp,phd->pd", own, vectors[piece])
            norms.diagonal()[piece] = (moved + residual[piece]).norm(dim=-1)
    return norms


def _normalised(norms: Float[Tensor, "position source"]) -> Float[Tensor, "position source"]:
    return norms / norms.sum(-1, keepdim=True).clamp_min(_TINY)
