"""How far a perturbed pass moves the output: KL per token, and whether the token stayed the most likely.

d[i] = KL( p_i || q_i ) = sum_v p_i(v) (log p_i(v) - log q_i(v))      in nats, full next-token distribution
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Elements of rows times vocabulary that are looked at together: in float32 they fit a core's share of cache.
_BLOCK = 2**20


@dataclass(frozen=True)
class Shift:
    """What a batch of perturbed passes did to every token.

    divergence: KL from the clean distribution, in nats. kept: the hypothesis token stayed the most likely one.
    """

    divergence: Float[Tensor, "batch token"]
    kept: Bool[Tensor, "batch token"]


# hidden cells [batch, *cells] to what hiding them does
Measure = Callable[[Bool[Tensor, "batch *cells"]], Shift]
# hidden cells to what the model's `logits` gives: logits [batch, token, vocab], of a twin states [batch, token, dim]
Perturbed = Callable[[Bool[Tensor, "batch *cells"]], Float[Tensor, "batch token output"]]
# first and last of a block of the vocabulary to d there, which `_shift` may overwrite
Block = Callable[[int, int], Float[Tensor, "batch token block"]]


def against(
    clean: Float[Tensor, "token vocab"], tokens: Int[Tensor, " token"], perturbed: Perturbed
) -> Measure:
    """Return the function from hidden cells to the shift away from the clean logits."""
    log_p = clean.float().log_softmax(-1)
    p, top = log_p.exp(), log_p.argmax(-1)

    def measure(hidden: Bool[Tensor, "batch *cells"]) -> Shift:
        logits = perturbed(hidden).float()
        change = logits - clean.float()
        at_top = change.gather(-1, top.expand(len(change), -1)[..., None])
        moved = _shift(log_p, p, tokens, len(change), lambda i, j: change[..., i:j] - at_top)
        return Shift(moved.divergence, logits.argmax(-1) == tokens)

    return measure


def kl_divergence(
    log_p: Float[Tensor, "token vocab"], log_q: Float[Tensor, "batch token vocab"]
) -> Float[Tensor, "batch token"]:
    """Return KL(p || q) = sum_v p_v (log p_v - log q_v) in nats; rounding below zero becomes zero."""
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp_min(0)


def against_states(
    clean: Float[Tensor, "token vocab"],
    clean_states: Float[Tensor, "token dim"],
    embeddings: Float[Tensor, "vocab dim"],
    tokens: Int[Tensor, " token"],
    perturbed: Perturbed,
) -> Measure:
    """Return the function from hidden cells to the shift away from the clean logits, from states alone.

    clean_states: what the perturbed passes give when nothing is hidden, in their precision.
    """
    log_p = clean.float().log_softmax(-1)
    p = log_p.exp()
    top = embeddings[log_p.argmax(-1)].float()

    def measure(hidden: Bool[Tensor, "batch *cells"]) -> Shift:
        change = (perturbed(hidden).float() - clean_states.float()).to(embeddings.dtype)
        rows, at_top = change.flatten(0, 1), (change.float() * top).sum(-1, keepdim=True)

        def block(first: int, last: int) -> Float[Tensor, "batch token block"]:
            moved = (rows @ embeddings[first:last].T).float().unflatten(0, change.shape[:2])
            return moved.sub_(at_top)

        return _shift(log_p, p, tokens, len(change), block)

    return measure


def _shift(
    log_p: Float[Tensor, "token vocab"],
    p: Float[Tensor, "token vocab"],
    tokens: Int[Tensor, " token"],
    batch: int,
    block: Block,
) -> Shift:
    """Go through the vocabulary in blocks.

    With d_v the change of logit v less that of the clean maximum (which a divergence does not see),

        KL = log sum_v p_v e^d_v - sum_v p_v d_v = (log(1 + a) - a) + sum_v p_v (e^d_v - 1 - d_v)
        a = sum_v p_v (e^d_v - 1)

    The last sum has no negative term, so nothing of first order cancels: the first form is noise in float32 for
    divergences of 1e-5 nats and less. It is taken where a >= 1 (KL is not small), and blockwise where e^d overflows.
    Both sums take the same rounded d. The mean of exact ones would need no pass over the vocabulary, but the rounding
    of what all logits share would then stay in the other sum, squared.
    """
    width = max(256, _BLOCK // (batch * len(log_p)))
    bounds = [(i, min(i + width, log_p.shape[1])) for i in range(0, log_p.shape[1], width)]
    mean, excess = (log_p.new_zeros(batch, len(log_p)) for _ in range(2))
    highest, own = (torch.full_like(mean, -torch.inf) for _ in range(2))
    for first, last in bounds:
        d = block(first, last)
        z = d + log_p[:, first:last]
        # From the same product, so that an unmoved maximum is not lost to rounding.
        inside = (tokens >= first) & (tokens < last)
        at = (tokens - first).clamp(0, last - first - 1).expand(batch, -1)
        own = torch.where(inside, z.gather(-1, at[..., None])[..., 0], own)
        highest = torch.maximum(highest, z.amax(-1))
        # Not einsum: a batch of strided matrix-vector products takes five times as long.
        here = p[:, first:last]
        excess += torch.expm1(d, out=z).sub_(d).mul_(here).sum(-1)
        mean += d.mul_(here).sum(-1)
    a = excess + mean
    divergence = a.log1p() - torch.where(a < 1, a - excess, mean)
    rest = ~divergence.isfinite().all(1)
    if rest.any():
        total = torch.zeros_like(mean[rest])
        for first, last in bounds:
            z = block(first, last)[rest] + log_p[:, first:last]
            total += (z - highest[rest][..., None]).exp().sum(-1)
        divergence[rest] = highest[rest] + total.log() - mean[rest]
    return Shift(divergence.clamp_min(0), own >= highest)
