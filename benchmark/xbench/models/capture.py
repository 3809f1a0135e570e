"""Read queries, keys and values of attention modules during a forward pass, by module hooks.

Fast attention kernels do not return their weights. So this reads the outputs of the projections that surround the
kernel, from which the weights are rebuilt, and works with any kernel. A `Stack` says which modules a family has and
how their projections are named.

The residual stream is the sum that runs through all layers: each block adds its output to it. In a pre-LN layer, every
block reads the stream through a LayerNorm of its own, so that is where the stream is read here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xbench.maps import Layout
from xbench.trace import SOURCES, AttentionBlock, Norm, Stream, Trace, build_trace

# What an attention module was given by keyword, and what its submodules returned (batch axis dropped).
Seen = dict[str, Any]
# (module, query, key, seen) to the query and key as they meet, and what is added to their scores.
Positions = Callable[[Any, Tensor, Tensor, Seen], tuple[Tensor, Tensor, Tensor | None]]


@dataclass(frozen=True)
class PreNorm:
    """The LayerNorms around one attention block of a pre-LN layer, which see the residual stream.

    block_norm: sees it before the block. next_norm: after the block. layer_norm: after the whole layer (it is the
    first of the next layer, or the one that ends the stack). rest: the function from the stream after the block to
    the stream after the layer; None where other positions enter there, as they do in another attention block.
    """

    block_norm: nn.Module
    next_norm: nn.Module
    layer_norm: nn.Module
    rest: Callable[[Tensor], Tensor] | None

    @property
    def norms(self) -> set[nn.Module]:
        """All of them, each once."""
        return {self.block_norm, self.next_norm, self.layer_norm}


@dataclass(frozen=True)
class Stack:
    """The attention modules of one kind ("cross", or self-attention: "decoder", "encoder", "self"), first layer first.

    "self" is the only stack of a decoder-only model, which attends to audio and text alike.

    heads: query heads; where fewer heads share keys and values, these are repeated to as many.
    causal: a position attends to itself and earlier ones only. output: name of the output projection.
    streams: the LayerNorms around each module, where layers are pre-LN; None elsewhere.
    positions: how relative or rotary positions enter queries, keys and scores; None where they do not.
    also: names of further submodules whose output `positions` needs. joint: name of the projection that makes queries,
    keys and values, one behind the other, where there is one for all.
    """

    modules: Sequence[nn.Module]
    heads: int
    causal: bool = False
    output: str = "out_proj"
    streams: Sequence[PreNorm] | None = None
    positions: Positions | None = None
    also: tuple[str, ...] = ()
    joint: str = ""

    @property
    def read(self) -> tuple[str, ...]:
        """The submodules whose output is kept."""
        projections = (self.joint,) if self.joint else ("q_proj", "k_proj", "v_proj")
        return (*projections, self.output, *self.also)

    def projected(self, module: Any, seen: Seen) -> Sequence[Tensor]:
        """Return what the projections of one module made: queries, keys and values [position, dim]."""
        if not self.joint:
            return seen["q_proj"], seen["k_proj"], seen["v_proj"]
        queries = self.heads * module.head_dim
        rest = (seen[self.joint].shape[-1] - queries) // 2
        parts: Sequence[Tensor] = seen[self.joint].split([queries, rest, rest], -1)
        return parts


@contextmanager
def captured_blocks(
    stacks: Mapping[str, Stack], streams: Set[str] = frozenset()
) -> Iterator[dict[str, list[Callable[[], AttentionBlock]]]]:
    """Hook the attention modules of each stack; run one pass within the context, then call the readers it yields.

    streams: names of the stacks whose residual stream is wanted too. The pass must have a batch of one. The hooks
    are gone when the context ends, also after an error.
    """
    states: dict[nn.Module, Tensor] = {}
    handles = []
    readers: dict[str, list[Callable[[], AttentionBlock]]] = {}
    try:
        for stack_name, stack in stacks.items():
            wanted = stack.streams if stack_name in streams else None
            around: Sequence[PreNorm | None] = wanted or [None] * len(stack.modules)
            readers[stack_name] = []
            for module, layer in zip(stack.modules, around, strict=True):
                seen: Seen = {}
                for name in stack.read:
                    hook = partial(_keep, seen, name)
                    handles.append(getattr(module, name).register_forward_hook(hook))
                if stack.positions:
                    hook = partial(_keep_arguments, seen)
                    handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
                for norm in layer.norms if layer else ():
                    handles.append(norm.register_forward_pre_hook(partial(_keep_input, states)))
                readers[stack_name].append(partial(_block, module, stack, seen, layer, states))
        yield readers
    finally:
        for handle in handles:
            handle.remove()


def captured_trace(
    stacks: Mapping[str, Stack],
    run: Callable[[], Any],
    layout: Layout,
    prompt_length: int,
    needs: Set[str],
    audio: slice | None = None,
) -> Trace:
    """Run a pass with a batch of one, nothing of its input hidden, and return what was captured of it.

    The attention to the source is always part of it, other stacks where `needs` names their attention or projections.
    audio: as `build_trace`.
    """
    wanted = {
        name: stack
        for name, stack in stacks.items()
        if name in SOURCES or needs & {f"{name}-attention", f"{name}-projections"}
    }
    known = {f"{name}-{kind}" for name in wanted for kind in ("attention", "projections")}
    projected = {n for n in wanted if f"{n}-projections" in needs}
    if "source-projections" in needs:
        projected |= wanted.keys() & SOURCES
    with captured_blocks(wanted, projected) as readers:
        run()
    return build_trace(
        {name: tuple(read() for read in reads) for name, reads in readers.items()},
        layout,
        prompt_length,
        frozenset(needs & (known | {"source-projections"})),
        audio,
    )


def _keep(seen: Seen, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
    seen[name] = output[0]


def _keep_arguments(seen: Seen, module: nn.Module, inputs: Any, arguments: dict[str, Any]) -> None:
    seen.update({k: v for k, v in arguments.items() if k not in seen and v is not None})


def _keep_input(states: dict[nn.Module, Tensor], module: nn.Module, inputs: Any) -> None:
    states[module] = inputs[0][0]


def _block(
    module: Any, stack: Stack, seen: Seen, layer: PreNorm | None, states: dict[nn.Module, Tensor]
) -> AttentionBlock:
    def heads(projected: Tensor) -> Tensor:
        split = projected.unflatten(-1, (-1, module.head_dim)).transpose(0, 1)
        return split.repeat_interleave(stack.heads // len(split), dim=0)

    query, key, value = map(heads, stack.projected(module, seen))
    bias = None
    if stack.positions:
        query, key, bias = stack.positions(module, query, key, seen)
    projection = getattr(module, stack.output)
    weight = projection.weight
    return AttentionBlock(
        query=query,
        key=key,
        value=value,
        output=seen[stack.output],
        output_weight=weight,
        output_bias=torch.zeros_like(weight[:, 0]) if projection.bias is None else projection.bias,
        scale=module.scaling,
        causal=stack.causal,
        bias=bias,
        stream=None if layer is None else _stream(layer, states),
    )


def _stream(layer: PreNorm, states: dict[nn.Module, Tensor]) -> Stream:
    return Stream(
        before=states[layer.block_norm],
        after=states[layer.next_norm],
        layer_output=states[layer.layer_norm],
        next_norm=_norm(layer.next_norm),
        layer_norm=_norm(layer.layer_norm),
        rest=layer.rest,
    )


def _norm(module: Any) -> Norm:
    bias = torch.zeros_like(module.weight) if module.bias is None else module.bias
    return Norm(module.weight, bias, module.eps)


def feed_forward(
    norm: nn.Module, inner: Any, outer: Any, activation: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return x -> x + outer(activation(inner(norm(x)))), computed in float32 whatever the model's dtype."""

    def apply(
        states: Float[Tensor, "*batch position dim"],
    ) -> Float[Tensor, "*batch position dim"]:
        states = states.float()
        hidden = activation(_linear(inner, _norm(norm)(states)))
        return states + _linear(outer, hidden)

    return apply


def _linear(module: Any, states: Tensor) -> Tensor:
    bias = None if module.bias is None else module.bias.float()
    return nn.functional.linear(states, module.weight.float(), bias)


@dataclass(frozen=True)
class NormNames:
    """What a family calls the LayerNorms before self-attention, cross-attention and feed-forward block."""

    own: str
    feed_forward: str
    cross: str = ""


def pre_norms(
    layers: Sequence[Any],
    end: nn.Module,
    names: NormNames,
    rest: Callable[[Any], Callable[[Tensor], Tensor]],
) -> dict[str, list[PreNorm]]:
    """Return the LayerNorms around each attention block of pre-LN layers, first layer first.

    Under "own" those around self-attention and, where `names` has a name for it, under "cross" those around
    cross-attention. end: the LayerNorm after the last layer. rest: from a layer to the function of its feed-forward
    block, residual connection included.
    """
    ends = [getattr(layer, names.own) for layer in layers[1:]] + [end]
    around: dict[str, list[PreNorm]] = {"own": [], "cross": []}
    for layer, after in zip(layers, ends, strict=True):
        first, last = getattr(layer, names.own), getattr(layer, names.feed_forward)
        if not names.cross:
            around["own"].append(PreNorm(first, last, after, rest(layer)))
            continue
        cross = getattr(layer, names.cross)
        around["own"].append(PreNorm(first, cross, after, None))
        around["cross"].append(PreNorm(cross, last, after, rest(layer)))
    return around
