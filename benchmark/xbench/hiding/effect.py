"""What hiding cells does to the output, token by token.

    divergence        KL( p_i || q_i ) = sum_v p_i(v) (log p_i(v) - log q_i(v))     in nats, full distribution
    probability drop  p_i(y_i) - q_i(y_i)
    contrast          how much y_i gives way to another token z_i, its foil: two formulas, below
    log-probability   log q_i(y_i)
    logit             z_i(y_i), before the softmax

p_i is the distribution of token i in the clean pass, q_i the one while cells are hidden, y_i the hypothesis token, z_i
the most likely other token of the clean pass.

All are computed in one pass through the vocabulary (`Passage`). The pass takes either logits, or the decoder's
last states h with the output embeddings E of a twin (`hiding.twin`; logits = h E^T + b), so that not all logits are
in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xbench.models.device import compiled, device_of
from xbench.models.protocol import Hypothesis

# Per cell: whether it is hidden, or the share of its value that the neutral value takes (0: as it is, 1: hidden).
Hidden = Bool[Tensor, "batch *cells"] | Float[Tensor, "batch *cells"]
# From hidden cells to the output of the model: logits [batch, token, vocab]; of a twin, states [batch, token, dim].
Perturbed = Callable[[Hidden], Float[Tensor, "batch token output"]]


@dataclass(frozen=True)
class Shift:
    """What was measured of every token, one row per mask.

    value: the quantity that was asked for. kept: whether the hypothesis token stayed the most likely one.
    """

    value: Float[Tensor, "batch token"]
    kept: Bool[Tensor, "batch token"]


# From hidden cells to what is measured of every token while they are hidden.
Measure = Callable[[Hidden], Shift]


@dataclass(frozen=True)
class Clean:
    """The clean pass: its logits, and the ids of the hypothesis tokens."""

    logits: Float[Tensor, "token vocab"]
    tokens: Int[Tensor, " token"]

    @cached_property
    def log_p(self) -> Float[Tensor, "token vocab"]:
        """The log-distribution of every token."""
        return self.logits.float().log_softmax(-1)

    @cached_property
    def p(self) -> Float[Tensor, "token vocab"]:
        """The distribution of every token."""
        return self.log_p.exp()

    @property
    def entropy(self) -> Float[Tensor, " token"]:
        """The entropy of every token's distribution: -sum_v p(v) log p(v), in nats."""
        return torch.special.entr(self.p).sum(-1)

    @cached_property
    def foils(self) -> Int[Tensor, " token"]:
        """For each hypothesis token the most likely other token: what the model would have written instead."""
        return self.logits.scatter(-1, self.tokens[:, None], -torch.inf).argmax(-1)

    def of_tokens(self, values: Float[Tensor, "token vocab"]) -> Float[Tensor, " token"]:
        """Return the entry of each hypothesis token."""
        return values.gather(-1, self.tokens[:, None])[:, 0]


@dataclass(frozen=True)
class Passage:
    """What one pass through the vocabulary says of a batch of masks.

    d_v is the change of logit v minus the change of the logit that is largest in the clean pass. Subtracting one number
    from all logits changes no distribution. With it:

    top: change of the clean maximum. own: log p(y) + d_y. foil: the same of the foil. highest: maximum over v of
    log p_v + d_v. log_total: log sum_v p_v e^d_v. linear: sum_v p_v d_v, rounded as `log_total` is.
    """

    top: Float[Tensor, "batch token"]
    own: Float[Tensor, "batch token"]
    foil: Float[Tensor, "batch token"]
    highest: Float[Tensor, "batch token"]
    log_total: Float[Tensor, "batch token"]
    linear: Float[Tensor, "batch token"]


Quantity = Callable[[Clean, Passage], Float[Tensor, "batch token"]]


def divergence(clean: Clean, passage: Passage) -> Float[Tensor, "batch token"]:
    """Return KL(p || q) in nats; rounding below zero becomes zero."""
    return (passage.log_total - passage.linear).clamp_min(0)


def log_probability(clean: Clean, passage: Passage) -> Float[Tensor, "batch token"]:
    """Return log q(y)."""
    return passage.own - passage.log_total


def probability_drop(clean: Clean, passage: Passage) -> Float[Tensor, "batch token"]:
    """Return p(y) - q(y); negative where hiding helps the token."""
    return clean.of_tokens(clean.p) - log_probability(clean, passage).exp()


def contrast_difference(clean: Clean, passage: Passage) -> Float[Tensor, "batch token"]:
    """Return (p(y) - q(y)) - (p(z) - q(z)): what the token loses beyond what its foil z loses."""
    foil = clean.p.gather(-1, clean.foils[:, None])[:, 0]
    foil_drop = foil - (passage.foil - passage.log_total).exp()
    return probability_drop(clean, passage) - foil_drop


def contrast_relative(clean: Clean, passage: Passage) -> Float[Tensor, "batch token"]:
    """Return p(y) / (p(y) + p(z)) - q(y) / (q(y) + q(z)): the share of the token, of itself and its foil z."""
    foil = clean.log_p.gather(-1, clean.foils[:, None])[:, 0]
    before = (clean.of_tokens(clean.log_p) - foil).sigmoid()
    return before - (passage.own - passage.foil).sigmoid()


def logit(clean: Clean, passage: Passage) -> Float[Tensor, "batch token"]:
    """Return z(y): the clean logit plus its change."""
    change = passage.own - clean.of_tokens(clean.log_p) + passage.top
    return clean.of_tokens(clean.logits.float()) + change


# What gradient and perturbation methods explain, by the name of their parameter `target`.
TARGETS: Mapping[str, Quantity] = {"logit": logit, "log-probability": log_probability}


def read_out(
    hypothesis: Hypothesis, target: str, logits: Float[Tensor, "batch token vocab"]
) -> Float[Tensor, "batch token"]:
    """Return z(y), or z(y) - log sum_v exp z(v) for target `log-probability`, with gradients."""
    logits = logits.float()
    ids = torch.tensor(hypothesis.tokens, device=logits.device)
    chosen = logits.gather(-1, ids.expand(len(logits), -1)[..., None])[..., 0]
    return chosen - logits.logsumexp(-1) if target == "log-probability" else chosen


def kl_divergence(
    log_p: Float[Tensor, "token vocab"], log_q: Float[Tensor, "batch token vocab"]
) -> Float[Tensor, "batch token"]:
    """Return KL(p || q) = sum_v p_v (log p_v - log q_v) in nats; rounding below zero becomes zero."""
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp_min(0)


# -- measures -------------------------------------------------------------------------------------

# From the first and last entry of a block of the vocabulary to the change of its logits, without that of the clean top.
Block = Callable[[int, int], Float[Tensor, "batch token block"]]


def from_logits(quantity: Quantity, clean: Clean, perturbed: Perturbed) -> Measure:
    """Return the function from hidden cells to a quantity of the model's logits."""
    top = clean.log_p.argmax(-1)
    reduce = _reduction(clean)

    def measure(hidden: Hidden) -> Shift:
        logits = perturbed(hidden).float()
        change = logits - clean.logits.float()
        at_top = change.gather(-1, top.expand(len(change), -1)[..., None])
        passage = _through_vocabulary(
            clean, at_top[..., 0], lambda i, j: change[..., i:j] - at_top, reduce
        )
        return Shift(quantity(clean, passage), logits.argmax(-1) == clean.tokens)

    return measure


def from_states(
    quantity: Quantity,
    clean: Clean,
    clean_states: Float[Tensor, "token dim"],
    embeddings: Float[Tensor, "row dim"],
    perturbed: Perturbed,
) -> Measure:
    """Return the function from hidden cells to a quantity, where passes give states: logits = states times embeddings.

    clean_states: what the perturbed passes give when nothing is hidden, in their precision. Only the change from these
    is multiplied by the embeddings, so the rounding error is relative to the change, and small when the change is.
    embeddings: rows beyond the vocabulary are filling (`padded`), which is left out of every sum.
    """
    top = embeddings[clean.log_p.argmax(-1)].float()
    vocabulary = clean.logits.shape[-1]
    reduce = _reduction(clean)

    def measure(hidden: Hidden) -> Shift:
        change = (perturbed(hidden).float() - clean_states.float()).to(embeddings.dtype)
        rows, at_top = change.flatten(0, 1), (change.float() * top).sum(-1, keepdim=True)
        # What all logits share changes no distribution, so it goes into the product, which adds it before it rounds.
        shared = (-at_top).to(embeddings.dtype).flatten(0, 1)

        def block(first: int, last: int) -> Float[Tensor, "batch token block"]:
            # The last block takes the filling with it, so that the width of its product is a multiple as well.
            end = len(embeddings) if last == vocabulary else last
            moved = torch.addmm(shared, rows, embeddings[first:end].T)
            return moved[:, : last - first].unflatten(0, change.shape[:2]).float()

        passage = _through_vocabulary(clean, at_top[..., 0], block, reduce)
        return Shift(quantity(clean, passage), passage.own >= passage.highest)

    return measure


def padded(embeddings: Float[Tensor, "vocab dim"], multiple: int) -> Float[Tensor, "row dim"]:
    """Return embeddings filled up with rows of zeros to a multiple of so many rows."""
    lacking = -len(embeddings) % multiple
    if not lacking:
        return embeddings
    return torch.cat([embeddings, embeddings.new_zeros(lacking, embeddings.shape[1])])


# What a block of the vocabulary adds: to the mean of d, to `excess`, and the highest log p + d in it.
Reduce = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def _reduction(clean: Clean) -> Reduce:
    return compiled(block_sums, clean.logits.device)


def block_sums(
    d: Float[Tensor, "batch token block"],
    log_p: Float[Tensor, "token block"],
    p: Float[Tensor, "token block"],
) -> tuple[
    Float[Tensor, "batch token"], Float[Tensor, "batch token"], Float[Tensor, "batch token"]
]:
    """Return sum p d, sum p (e^d - 1 - d) and the maximum of log p + d over a block; d is overwritten."""
    z = d + log_p
    highest = z.amax(-1)
    # Not einsum: a batch of strided matrix-vector products takes five times as long.
    excess = torch.expm1(d, out=z).sub_(d).mul_(p).sum(-1)
    return d.mul_(p).sum(-1), excess, highest


def _through_vocabulary(
    clean: Clean, top: Float[Tensor, "batch token"], block: Block, reduce: Reduce
) -> Passage:
    """Go through the vocabulary in blocks.

        log_total - linear = (log(1 + a) - a) + sum_v p_v (e^d_v - 1 - d_v),     a = sum_v p_v (e^d_v - 1)

    Written plainly, log_total - sum_v p_v d_v is the difference of two nearly equal numbers: for divergences of 1e-5
    nats and less it is noise in float32. The last sum above, `excess`, has no negative term, so nothing cancels in
    it. `linear` is therefore a - excess, and the plain sum where a >= 1 (the divergence is not small) or where e^d
    overflows. Both sums take the same rounded d. The mean of the exact d could be had without a pass over the
    vocabulary, but then the rounding error that all logits share would stay in `excess`, squared.
    """
    log_p, p, batch = clean.log_p, clean.p, len(top)
    width = max(256, device_of(top.device).vocabulary_numbers // (batch * len(log_p)))
    bounds = [(i, min(i + width, log_p.shape[1])) for i in range(0, log_p.shape[1], width)]
    mean, excess = (log_p.new_zeros(batch, len(log_p)) for _ in range(2))
    highest = torch.full_like(mean, -torch.inf)
    named = (clean.tokens, clean.foils)
    found = [torch.full_like(mean, -torch.inf) for _ in named]
    for first, last in bounds:
        d = block(first, last)
        # The token's own logit comes from the same product as the maximum. Computed apart, rounding could make a token
        # that is still the most likely one look less likely than itself.
        for index, ids in enumerate(named):
            inside = (ids >= first) & (ids < last)
            at = (ids - first).clamp(0, last - first - 1)
            there = d.gather(-1, at.expand(batch, -1)[..., None])[..., 0]
            there = there + log_p[:, first:last].gather(-1, at[:, None])[:, 0]
            found[index] = torch.where(inside, there, found[index])
        of_block = reduce(d, log_p[:, first:last], p[:, first:last])
        mean += of_block[0]
        excess += of_block[1]
        highest = torch.maximum(highest, of_block[2])
    a = excess + mean
    log_total, linear = a.log1p(), torch.where(a < 1, a - excess, mean)
    rest = ~(log_total - linear).isfinite().all(1)
    if rest.any():
        total = torch.zeros_like(mean[rest])
        for first, last in bounds:
            z = block(first, last)[rest] + log_p[:, first:last]
            total += (z - highest[rest][..., None]).exp().sum(-1)
        log_total[rest], linear[rest] = highest[rest] + total.log(), mean[rest]
    own, foil = found
    return Passage(top, own, foil, highest, log_total, linear)
