"""Cross-attention as it is: one head, or heads brought together element by element.

    raw-attention      A[l, h]
    mean-layers        mean over all l of A[l, h]
    mean-heads         mean over the chosen (l, h) of A[l, h]
    max-heads          N(max over (l, h) of A[l, h])
    min-heads          N(min over (l, h) of A[l, h])
    median-heads       N(median over (l, h) of A[l, h]), of an even number the mean of the middle two
    product-heads      N(product over (l, h) of A[l, h])
    entropy-weighted   sum of w A[l, h] / sum of w,  w = mean over tokens of 1 - H(A[l, h, i]) / log T'
    variance-weighted  the same with  w = mean over frames of the variance over tokens of A[l, h, :, j]

The order is: crop to valid frames and renormalise the rows of each head (`xbench.trace.crop`), so
that a head looking at padding does not count less; then bring heads together; then N, which
divides each row by its sum. A row without any mass (heads that share no frame) stays zero; the
metrics count it as constant. H is the entropy, T' the number of valid frames; "tokens" in a
weight are the content tokens. If the weights of all heads are zero (all are uniform, or the same for each
token), all heads count alike.

Sources: Bahdanau et al. 2015; Vaswani et al. 2017; the means: Papi et al. 2025, arXiv 2509.18010, section 2;
maximum, minimum and product: as in inseq (Sarti et al. 2023, arXiv 2302.13942); the weights: ours.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.description import check_index, indices
from xbench.maps import CONSTANT
from xbench.trace import Trace


def raw_attention(trace: Trace, *, layer: int, head: int) -> Float[Tensor, "token frame"]:
    """Return the cross-attention of one head of one decoder layer, counted from 0."""
    layers, heads = trace.source_attention.shape[:2]
    check_index("layer", layer, layers)
    check_index("head", head, heads)
    return trace.source_attention[layer, head]


def mean_layers(trace: Trace, *, head: int) -> Float[Tensor, "token frame"]:
    """Return the mean over all layers of one head index, counted from 0."""
    check_index("head", head, trace.source_attention.shape[1])
    return trace.source_attention[:, head].mean(0)


def mean_heads(trace: Trace, *, layers: str, heads: str = "all") -> Float[Tensor, "token frame"]:
    """Return the mean over the chosen heads of the chosen layers."""
    return select(trace, layers, heads).mean(0)


def max_heads(trace: Trace, *, layers: str, heads: str) -> Float[Tensor, "token frame"]:
    """Return the largest weight that any chosen head gives, rows renormalised."""
    return normalised(select(trace, layers, heads).amax(0))


def min_heads(trace: Trace, *, layers: str, heads: str) -> Float[Tensor, "token frame"]:
    """Return the weight that every chosen head gives at least, rows renormalised."""
    return normalised(select(trace, layers, heads).amin(0))


def median_heads(trace: Trace, *, layers: str, heads: str) -> Float[Tensor, "token frame"]:
    """Return the median weight over the chosen heads, rows renormalised."""
    ranked = select(trace, layers, heads).sort(0).values
    last = len(ranked) - 1
    return normalised((ranked[last // 2] + ranked[(last + 1) // 2]) / 2)


def product_heads(trace: Trace, *, layers: str, heads: str) -> Float[Tensor, "token frame"]:
    """Return the product of the weights of the chosen heads, rows renormalised.

    Computed as a sum of logarithms in float64: the product of many heads would underflow.
    """
    logs = select(trace, layers, heads).double().log().sum(0)
    highest = logs.amax(-1, keepdim=True)
    return normalised((logs - highest.nan_to_num(neginf=0.0)).exp()).float()


def entropy_weighted(trace: Trace, *, layers: str, heads: str) -> Float[Tensor, "token frame"]:
    """Return the mean over the chosen heads, sharp heads weighing more."""
    chosen = select(trace, layers, heads)
    rows = _counted(trace, chosen).double()
    entropy = torch.special.entr(rows).sum(-1)
    highest = math.log(max(rows.shape[-1], 2))
    return _weighted(chosen, (1 - entropy / highest).mean(-1), rounding=CONSTANT)


def variance_weighted(trace: Trace, *, layers: str, heads: str) -> Float[Tensor, "token frame"]:
    """Return the mean over the chosen heads, those that follow the token weighing more."""
    chosen = select(trace, layers, heads)
    rows = _counted(trace, chosen).double()
    variance = rows.var(1, correction=0).mean(-1)
    return _weighted(chosen, variance, rounding=(CONSTANT / rows.shape[-1]) ** 2)


# -- which heads ----------------------------------------------------------------------------------


def select(trace: Trace, layers: str, heads: str) -> Float[Tensor, "chosen token frame"]:
    """Return the maps of the chosen heads of the chosen decoder layers, one after the other."""
    return choose(trace.source_attention, layers, heads)


def choose(
    attention: Float[Tensor, "layer head row frame"], layers: str, heads: str
) -> Float[Tensor, "chosen row frame"]:
    """Return the chosen heads of the chosen decoder layers, one after the other."""
    n_layers, n_heads = attention.shape[:2]
    of_layers = attention[indices("layer", layers, n_layers)]
    return of_layers[:, indices("head", heads, n_heads)].flatten(0, 1)


# -- together -------------------------------------------------------------------------------------


def normalised(values: Float[Tensor, "*heads token frame"]) -> Float[Tensor, "*heads token frame"]:
    """Divide each row by its sum; a row without any mass stays zero."""
    mass = values.sum(-1, keepdim=True)
    return torch.where(mass > 0, values / mass.clamp_min(torch.finfo(mass.dtype).tiny), values)


def _counted(
    trace: Trace, chosen: Float[Tensor, "chosen token frame"]
) -> Float[Tensor, "chosen content frame"]:
    """Keep the content rows; all of them where a hypothesis has none."""
    return chosen[:, list(trace.layout.content)] if trace.layout.content else chosen


def _weighted(
    chosen: Float[Tensor, "chosen token frame"],
    weights: Float[Tensor, " chosen"],
    *,
    rounding: float,
) -> Float[Tensor, "token frame"]:
    """Average heads by weights; a weight up to `rounding` counts as zero, since float32 cannot tell it from that."""
    weights = torch.where(weights > rounding, weights, 0.0)
    if not weights.any():
        weights = torch.ones_like(weights)
    shares = (weights / weights.sum()).to(chosen.dtype)
    return torch.einsum("c,ctf->tf", shares, chosen)
