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


def against(
    clean: Float[Tensor, "token vocab"], tokens: Int[Tensor, " token"], perturbed: Perturbed
) -> Measure:
    """Return the function from hidden cells to the shift away from the clean logits."""
    log_clean = clean.float().log_softmax(-1)

    def measure(hidden: Bool[Tensor, "batch *cells"]) -> Shift:
        log_masked = perturbed(hidden).float().log_softmax(-1)
        return Shift(kl_divergence(log_clean, log_masked), log_masked.argmax(-1) == tokens)

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
    # p E: the mean change in one product, where the products below round no more than this one.
    expected = p @ embeddings if embeddings.dtype == torch.float32 else None

    def measure(hidden: Bool[Tensor, "batch *cells"]) -> Shift:
        change = perturbed(hidden).float() - clean_states.float()
        log_sum, mean, kept = _moved(
            log_p, None if expected is not None else p, change, embeddings, tokens
        )
        if expected is not None:
            mean = (change * expected).sum(-1)
        return Shift((log_sum - mean).clamp_min(0), kept)

    return measure


def _moved(
    log_p: Float[Tensor, "token vocab"],
    p: Float[Tensor, "token vocab"] | None,
    change: Float[Tensor, "batch token dim"],
    embeddings: Float[Tensor, "vocab dim"],
    tokens: Int[Tensor, " token"],
) -> tuple[Float[Tensor, "batch token"], Float[Tensor, "batch token"], Bool[Tensor, "batch token"]]:
    """Go through the vocabulary in blocks; d_v = change . E_v is the change of logit v.

    Returns log sum_v p_v exp(d_v); sum_v p_v d_v from the same rounded d (zero without p: a divergence is of
    second order in d, so a mean from other roundings would be wrong in the first); and whether no other token
    is above the own one.
    """
    rows = change.to(embeddings.dtype).flatten(0, 1)
    highest = change.new_full(change.shape[:2], -torch.inf)
    own, total, mean = highest.clone(), torch.zeros_like(highest), torch.zeros_like(highest)
    width = max(256, _BLOCK // len(rows))
    for first in range(0, len(embeddings), width):
        block = embeddings[first : first + width]
        moved = (rows @ block.T).float().unflatten(0, change.shape[:2])
        if p is not None:
            mean += torch.einsum("btv,tv->bt", moved, p[:, first : first + width])
        z = moved.add_(log_p[:, first : first + width])
        # From the same product, so that an unmoved maximum is not lost to rounding.
        inside = (tokens >= first) & (tokens < first + len(block))
        at = (tokens - first).clamp(0, len(block) - 1).expand(len(change), -1)
        own = torch.where(inside, z.gather(-1, at[..., None])[..., 0], own)
        now = torch.maximum(highest, z.amax(-1))
        total = total * (highest - now).exp() + z.sub_(now[..., None]).exp_().sum(-1)
        highest = now
    return highest + total.log(), mean, own >= highest
