"""Value zeroing: how far a layer's result turns when the values of some frames are set to zero.

For segment g (`group` neighbouring frames) of one layer, inputs, queries and keys as they were:

    h_i       = rest(x_i + b_O + sum_j F_ij),              F_ij = sum_h a^h_ij v^h_j W_O^h
    h_i^(-g)  = rest(x_i + b_O + sum_(j not in g) F_ij)
    Z_ig      proportional to 1 - cos(h_i, h_i^(-g)),      rows sum to one

x_i is the residual stream, `rest` the feed-forward block with its residual: h is the layer's output.

    variant=cross      the frames of cross-attention, read in the decoder's states; mean over decoder layers
                       of Z_l. Valid frames only.
    variant=encoder    the same times Z'_L ... Z'_1, where Z'_l zeroes frames inside encoder self-attention
                       and reads the encoder's states; rows of a segment are averaged, no identity is added (as the
                       paper's rollout: the residual is inside h). Padding has its own segments and is cropped last.

A segment's value is shared equally among its frames. 1 - cos is computed as half the squared distance of the
unit vectors, exact also where it is as small as rounding. Work is done in chunks of segments: what is held beside one
layer's attention is a few times `CHUNK_BYTES`.
Sources: Mohebbi et al. 2023a, arXiv 2301.12971, section 3; 2023b (speech), arXiv 2310.09925, section 3.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.errors import Unsupported
from xbench.trace import AttentionBlock, Stream, Trace

CHUNK_BYTES = 2**26  # of the widest array of one chunk, the inside of the feed-forward block
_WIDENING = 4  # the feed-forward block is about so many times wider than the stream
_TINY = torch.finfo(torch.float32).tiny
_GROUP = {"cross": 1, "encoder": 10}

Segments = list[tuple[int, int]]


@torch.no_grad()
def value_zeroing(
    trace: Trace, *, variant: str, layers: str, group: int | None = None
) -> Float[Tensor, "token frame"]:
    """Zero the values of each segment and see how far the states turn."""
    size = group or _GROUP[variant]
    cross = trace.stack("cross", layers)
    frames, total = trace.layout.frames, cross[0].key.shape[1]
    segments = cut(0, frames, size)
    if variant == "encoder":
        segments += cut(frames, total, size)
    turned = [_normalised(angles(b, trace.stream(b), segments)) for b in cross]
    rows = torch.stack(turned).mean(0)
    if variant == "encoder":
        for block in reversed(trace.stack("encoder")):
            states = _normalised(angles(block, trace.stream(block), segments))
            rows = rows @ torch.stack([states[start:stop].mean(0) for start, stop in segments])
    return trace.crop(_spread(rows, segments, total))


def cut(start: int, stop: int, size: int) -> Segments:
    """Cut a range of frames into pieces of `size`; the last one may be shorter."""
    return [(first, min(first + size, stop)) for first in range(start, stop, size)]


def angles(
    block: AttentionBlock, stream: Stream, segments: Segments
) -> Float[Tensor, "position segment"]:
    """Return 1 - cos between the layer's outputs with and without the values of each segment."""
    if stream.rest is None:
        raise Unsupported("the layer's output does not follow from this block alone")
    attention, value = block.attention(), block.value.float()
    weight = block.output_weight.float()
    merged = (attention @ value).transpose(0, 1).flatten(1)  # [position, dim]
    clean = stream.before.float() + merged @ weight.T + block.output_bias.float()
    unit = torch.nn.functional.normalize(stream.rest(clean), dim=-1)
    step = max(1, CHUNK_BYTES // (4 * clean.numel() * _WIDENING))
    turned = clean.new_empty(len(clean), len(segments))
    for first in range(0, len(segments), step):
        part = torch.stack(
            [
                (attention[:, :, start:stop] @ value[:, start:stop]).transpose(0, 1).flatten(1)
                for start, stop in segments[first : first + step]
            ]
        )  # [segment, position, dim]
        without = torch.nn.functional.normalize(stream.rest(clean - part @ weight.T), dim=-1)
        turned[:, first : first + step] = (unit - without).square().sum(-1).T / 2
    return turned


def _normalised(values: Float[Tensor, "position segment"]) -> Float[Tensor, "position segment"]:
    return values / values.sum(-1, keepdim=True).clamp_min(_TINY)


def _spread(
    rows: Float[Tensor, "position segment"], segments: Segments, total: int
) -> Float[Tensor, "position {total}"]:
    """Share each segment's value equally among its frames; frames in no segment get nothing."""
    relevance = rows.new_zeros(len(rows), total)
    for number, (start, stop) in enumerate(segments):
        relevance[:, start:stop] = rows[:, number, None] / (stop - start)
    return relevance
