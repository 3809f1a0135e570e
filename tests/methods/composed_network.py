"""Small attention networks by hand, for the tests of methods that follow attention through layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from xbench.maps import Layout
from xbench.trace import AttentionBlock, Norm, Stream, Trace, build_trace

ALL = frozenset({"cross-projections", "encoder-projections", "decoder-projections"})


def norm_of(weight: Tensor) -> Norm:
    return Norm(weight, torch.zeros_like(weight), 1e-5)


def block(
    attention: Tensor | Sequence,
    *,
    value: Tensor | Sequence | None = None,
    before: Tensor | Sequence | None = None,
    bias: Tensor | Sequence | None = None,
    output_weight: Tensor | None = None,
    next_weight: Tensor | None = None,
    layer_weight: Tensor | None = None,
    rest: Callable[[Tensor], Tensor] | None = lambda states: states,
    causal: bool = False,
) -> AttentionBlock:
    """Return a block with exactly these attention weights [head, position, source].

    Keys are unit vectors and queries logarithms of the weights, so channels are as many as
    sources. Without more, values are unit vectors, the projection is the identity, the stream 0.
    """
    weights = torch.as_tensor(attention)
    heads, positions, sources = weights.shape
    dim = heads * sources
    unit = torch.eye(sources).expand(heads, -1, -1)
    values = unit if value is None else torch.as_tensor(value)
    projection = torch.eye(dim) if output_weight is None else output_weight
    offset = torch.zeros(dim) if bias is None else torch.as_tensor(bias)
    stream = torch.zeros(positions, dim) if before is None else torch.as_tensor(before)
    merged = (weights @ values).transpose(0, 1).flatten(1)
    output = merged @ projection.T + offset
    ones = torch.ones(dim)
    after = stream + output
    return AttentionBlock(
        query=weights.clamp_min(1e-30).log(),
        key=unit,
        value=values,
        output=output,
        output_weight=projection,
        output_bias=offset,
        scale=1.0,
        causal=causal,
        stream=Stream(
            before=stream,
            after=after,
            layer_output=after if rest is None else rest(after),
            next_norm=norm_of(ones if next_weight is None else next_weight),
            layer_norm=norm_of(ones if layer_weight is None else layer_weight),
            rest=rest,
        ),
    )


def layout(tokens: int, frames: int) -> Layout:
    """The last token is end-of-text."""
    return Layout(
        tokens=tuple(range(tokens)),
        texts=tuple(str(token) for token in range(tokens)),
        content=tuple(range(tokens - 1)),
        frames=frames,
        melframes=2 * frames,
        stride=2,
        melframe_seconds=0.01,
    )


def network(
    *,
    cross: Sequence[AttentionBlock],
    encoder: Sequence[AttentionBlock] = (),
    decoder: Sequence[AttentionBlock] = (),
    frames: int | None = None,
    prompt: int = 1,
) -> Trace:
    """Return the trace of these blocks; without `frames` there is no padding."""
    positions, total = cross[0].query.shape[1], cross[0].key.shape[1]
    blocks = {"cross": tuple(cross), "encoder": tuple(encoder), "decoder": tuple(decoder)}
    axes = layout(positions - prompt + 1, total if frames is None else frames)
    return build_trace(blocks, axes, prompt, ALL)


def close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(
        torch.as_tensor(found),
        torch.as_tensor(expected),
        rtol=tolerance,
        atol=tolerance,
        check_dtype=False,
    )
