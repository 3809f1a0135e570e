"""How far a perturbed pass moves the output: KL per token, and whether the token stayed the most likely.

d[i] = KL( p_i || q_i ) = sum_v p_i(v) (log p_i(v) - log q_i(v))      in nats, full next-token distribution
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def against(
    clean: Float[Tensor, "token vocab"], tokens: Int[Tensor, " token"], perturbed: Perturbed
) -> Measure:
    """Return the function from hidden cells to the shift away from the clean logits."""
    log_p = clean.float().log_softmax(-1)

    def measure(hidden: Bool[Tensor, "batch *cells"]) -> Shift:
        logits = perturbed(hidden).float()
        moved = _shift(log_p, logits - clean.float(), tokens)
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

    def measure(hidden: Bool[Tensor, "batch *cells"]) -> Shift:
        change = (perturbed(hidden).float() - clean_states.float()).to(embeddings.dtype)
        return _shift(log_p, change, tokens, embeddings)

    return measure


def _shift(
    log_p: Float[Tensor, "token vocab"],
    change: Float[Tensor, "batch token dim"],
    tokens: Int[Tensor, " token"],
    embeddings: Float[Tensor, "vocab dim"] | None = None,
) -> Shift:
    """Go through the vocabulary in blocks; change: that of logits, or of the states that meet the embeddings.

    With d_v the change of logit v less about that of the clean maximum (which a divergence does not see),

        KL = log sum_v p_v e^d_v - sum_v p_v d_v = (log(1 + a) - a) + sum_v p_v (e^d_v - 1 - d_v)
        a = sum_v p_v (e^d_v - 1)

    The last sum has no negative term, so nothing of first order cancels: the first form is noise in float32 for
    divergences of 1e-5 nats and less. It is taken where a >= 1 (KL is not small), and blockwise where e^d overflows.
    """
    top = log_p.argmax(-1)
    if embeddings is None:
        reference = change.gather(-1, top.expand(len(change), -1)[..., None])
    else:
        reference = (change.float() * embeddings[top].float()).sum(-1, keepdim=True)

    def blocks(change: Tensor, reference: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """Yield first and last token of a block, and d there [batch, token, block]."""
        rows = change.flatten(0, 1)
        width = max(256, _BLOCK // len(rows))
        for first in range(0, log_p.shape[1], width):
            last = min(first + width, log_p.shape[1])
            if embeddings is None:
                moved = change[..., first:last]
            else:
                moved = (rows @ embeddings[first:last].T).float().unflatten(0, change.shape[:2])
            yield first, last, moved - reference

    p = log_p.exp()
    mean, excess = (torch.zeros_like(reference[..., 0]) for _ in range(2))
    highest, own = (torch.full_like(mean, -torch.inf) for _ in range(2))
    for first, last, d in blocks(change, reference):
        z = d + log_p[:, first:last]
        # From the same product, so that an unmoved maximum is not lost to rounding.
        inside = (tokens >= first) & (tokens < last)
        at = (tokens - first).clamp(0, last - first - 1).expand(len(change), -1)
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
        for first, last, d in blocks(change[rest], reference[rest]):
            total += (d + (log_p[:, first:last] - highest[rest][..., None])).exp().sum(-1)
        divergence[rest] = highest[rest] + total.log() - mean[rest]
    return Shift(divergence.clamp_min(0), own >= highest)
