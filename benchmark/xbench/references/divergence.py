"""How far a perturbed pass moves the output: KL per token, and whether the token stayed the most likely.

d[i] = KL( p_i || q_i ) = sum_v p_i(v) (log p_i(v) - log q_i(v))      in nats, full next-token distribution
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

# Bytes of logits per batch that keep every log-softmax temporary small beside the model itself.
_BATCH_BYTES = 64 * 2**20
_LARGEST_BATCH = 64


@dataclass(frozen=True)
class Shift:
    """What a batch of perturbed passes did to every token.

    divergence: KL from the clean distribution, in nats. kept: the hypothesis token stayed the most likely one.
    """

    divergence: Float[Tensor, "batch token"]
    kept: Bool[Tensor, "batch token"]


# hidden cells [batch, *cells] to what hiding them does
Measure = Callable[[Bool[Tensor, "batch *cells"]], Shift]
Perturbed = Callable[[Bool[Tensor, "batch *cells"]], Float[Tensor, "batch token vocab"]]


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


def batch_size(clean: Float[Tensor, "token vocab"]) -> int:
    """Return how many masks one pass takes."""
    return int(max(1, min(_LARGEST_BATCH, _BATCH_BYTES // (4 * clean.numel()))))
