"""Cross-attention as it is: one head, or plain means over heads and layers.

    raw-attention   A[l, h]
    mean-heads      mean over l in layers and all h of A[l, h]
    mean-layers     mean over all l of A[l, h]

A is softmax cross-attention on content positions and valid frames, each row renormalised after the
crop (`xbench.trace.crop`) and before any mean, so that a head looking at padding does not count less.
Sources: Bahdanau et al. 2015; Vaswani et al. 2017; the means: Papi et al. 2025, arXiv 2509.18010, section 2.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from xbench.errors import Unsupported
from xbench.trace import Trace


def raw_attention(trace: Trace, *, layer: int, head: int) -> Float[Tensor, "token frame"]:
    """Return the cross-attention of one head of one decoder layer, counted from 0."""
    _check(trace, layer=layer, head=head)
    return trace.cross_attention[layer, head]


def mean_heads(trace: Trace, *, layers: str) -> Float[Tensor, "token frame"]:
    """Return the mean over all heads of the chosen layers ("all", or indices such as "0+2")."""
    if layers == "all":
        return trace.cross_attention.mean((0, 1))
    chosen = [int(index) for index in layers.split("+")]
    for index in chosen:
        _check(trace, layer=index)
    return trace.cross_attention[chosen].mean((0, 1))


def mean_layers(trace: Trace, *, head: int) -> Float[Tensor, "token frame"]:
    """Return the mean over all layers of one head index, counted from 0."""
    _check(trace, head=head)
    return trace.cross_attention[:, head].mean(0)


def _check(trace: Trace, **indices: int) -> None:
    sizes = dict(zip(("layer", "head"), trace.cross_attention.shape[:2], strict=True))
    for axis, index in indices.items():
        if not 0 <= index < sizes[axis]:
            raise Unsupported(
                f"{axis} {index} does not exist: the decoder has {axis}s 0 to {sizes[axis] - 1}"
            )
