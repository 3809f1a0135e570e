"""Cross-attention weighted by gradients, and gradients composed through the network.

    grad-attention      mean over layers and heads of (df_i/dA * A)^+
    attention-gradcam   mean over layers of ( mean over heads of  w_h A_h )^+,  w_h = mean of df_i/dA_h
    chefer              with Abar = mean over heads of (df_i/dA * A)^+ of a block, R_ii = Id, R_qq = Id, R_qi = 0:
                          encoder block           R_ii += Abar R_ii
                          decoder self-attention  R_qq += Abar R_qq,  R_qi += Abar R_qi
                          cross-attention         R_qi += N(R_qq)^T Abar N(R_ii)
                        a decoder-only model has the second rule alone; its map is R_qq at the audio positions
                        N(R) = rows of R - Id divided by their sums, plus Id; a row of Id has nothing to
                        divide and stays Id (the original's NaN becomes a map of 0)

The map of token i is the row of the position that predicts it, over valid frames. A is the attention as
the model used it (padding included, no renormalisation): a gradient belongs to these weights.

R_ii is never formed: only the row u^T N(R_ii) is asked for, and u^T N(R_ii) = w^T (R_ii - Id) + u^T with
w = u / rowsum(R_ii - Id), so two vectors go through the layers instead of a matrix of frames by frames.

Sources: Chefer, Gur and Wolf, ICCV 2021 (arXiv 2103.15679), equations 5-10 and the authors' baselines;
Barkan et al. 2021; Selvaraju et al. 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.case import Case
from xbench.description import indices
from xbench.hiding.effect import read_out
from xbench.models.attention_gradients import BlockGradient, attention_gradients
from xbench.models.optional import ReadsPrefix, offers

_PIECE = 32  # positions whose gradients are formed at a time

# One block, a token of the chunk, its position: relevance of every source.
Row = Callable[[BlockGradient, int, int], Float[Tensor, " source"]]


def grad_attention(case: Case, *, layers: str, target: str) -> Float[Tensor, "token frame"]:
    """Return the positive part of gradient times attention, averaged over heads and layers."""
    return _cross_rows(case, _gradient_times_attention, layers, target)


def attention_gradcam(case: Case, *, layers: str, target: str) -> Float[Tensor, "token frame"]:
    """Return attention with heads weighted by their mean gradient, negative totals set to 0."""
    return _cross_rows(case, _gradcam, layers, target)


def _gradient_times_attention(
    block: BlockGradient, token: int, position: int
) -> Float[Tensor, " source"]:
    gradient = torch.einsum("hc,hjc->hj", block.context[token, :, position], block.value)
    return (gradient * block.attention[:, position]).clamp_min(0).mean(0)


def _gradcam(block: BlockGradient, token: int, position: int) -> Float[Tensor, " source"]:
    # The mean of <context[p], value[j]> over all p and j.
    weight = (block.context[token].mean(1) * block.value.mean(1)).sum(-1)
    return (weight[:, None] * block.attention[:, position]).mean(0).clamp_min(0)


def _cross_rows(case: Case, row: Row, layers: str, target: str) -> Float[Tensor, "token frame"]:
    rows = []
    for tokens, blocks in attention_gradients(
        case.model,
        case.features,
        case.hypothesis,
        partial(read_out, case.hypothesis, target),
        whole_network=False,
    ):
        cross = blocks["self" if "self" in blocks else "cross"]
        chosen = [cross[layer] for layer in indices("layer", layers, len(cross))]
        for token in range(tokens.stop - tokens.start):
            position = len(case.hypothesis.prompt) - 1 + tokens.start + token
            rows.append(torch.stack([row(block, token, position) for block in chosen]).mean(0))
    return _columns(case, torch.stack(rows))


def _columns(case: Case, rows: Float[Tensor, "token source"]) -> Float[Tensor, "token frame"]:
    """Keep the valid frames: those of a decoder-only model stand behind the text before its audio."""
    model = case.model
    first = model.audio_positions(case.hypothesis).start if offers(model, ReadsPrefix) else 0
    return rows[:, first : first + case.features.frames]


def chefer(case: Case, *, target: str) -> Float[Tensor, "token frame"]:
    """Return generic attention explainability with the encoder-decoder rules."""
    rows = []
    for tokens, blocks in attention_gradients(
        case.model,
        case.features,
        case.hypothesis,
        partial(read_out, case.hypothesis, target),
        whole_network=True,
    ):
        for token in range(tokens.stop - tokens.start):
            position = len(case.hypothesis.prompt) - 1 + tokens.start + token
            if "self" in blocks:
                only = (_relevance(block, token) for block in blocks["self"])
                rows.append(one_stack_row(only, position))
                continue
            encoder, decoder, cross = (
                [_relevance(block, token) for block in blocks[stack]]
                for stack in ("encoder", "decoder", "cross")
            )
            rows.append(chefer_row(encoder, decoder, cross, position))
    return _columns(case, torch.stack(rows))


def one_stack_row(
    blocks: Iterable[Float[Tensor, "position position"]], position: int
) -> Float[Tensor, " position"]:
    """Return one row of R_qq - Id from the Abar of the blocks of a decoder-only model, first layer first."""
    excess: Tensor | None = None
    for block in blocks:
        excess = block if excess is None else excess + block + block @ excess
    assert excess is not None
    return excess[position]


def _relevance(block: BlockGradient, token: int) -> Float[Tensor, "position source"]:
    """Return Abar of one block, a few positions at a time: what they take stays in a processor's cache."""
    _, positions, sources = block.attention.shape
    relevance = block.attention.new_empty(positions, sources)
    for start in range(0, positions, _PIECE):
        piece = slice(start, start + _PIECE)
        shares = block.weights(token, piece).mul_(block.attention[:, piece]).clamp_min_(0)
        torch.mean(shares, 0, out=relevance[piece])
    return relevance


def chefer_row(
    encoder: Sequence[Float[Tensor, "source source"]],
    decoder: Sequence[Float[Tensor, "position position"]],
    cross: Sequence[Float[Tensor, "position source"]],
    position: int,
) -> Float[Tensor, " source"]:
    """Return one row of R_qi from the Abar of all blocks.

    Matrices are kept without their identity: adding small numbers to 1 and taking 1 away again
    would lose them.
    """
    excess_qq = torch.zeros_like(decoder[0])  # R_qq - Id
    before = torch.zeros_like(cross[0])  # R_qi without its right factor N(R_ii)
    for self_attention, cross_attention in zip(decoder, cross, strict=True):
        excess_qq = excess_qq + self_attention + self_attention @ excess_qq
        before = before + self_attention @ before
        sums = excess_qq.sum(1)
        before = before + cross_attention + _divided(excess_qq, sums[:, None]).T @ cross_attention
    row = before[position]

    sums = torch.zeros_like(row)  # of the rows of R_ii - Id
    for block in encoder:
        sums = sums + block.sum(1) + block @ sums
    weights = _divided(row, sums)
    mixed = torch.zeros_like(row)  # weights^T (R_ii - Id)
    for block in reversed(encoder):
        mixed = mixed + (weights + mixed) @ block
    return row + mixed


def _divided(values: Tensor, sums: Tensor) -> Tensor:
    """Divide, with 0 where the sum (and so every value) is 0."""
    return torch.where(sums > 0, values / torch.where(sums > 0, sums, 1), 0)
