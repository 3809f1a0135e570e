"""Read the projections of attention modules during a forward pass, by module hooks.

Works with any attention kernel, because it reads what goes into and comes out of the kernel and
not the kernel's weights. A `Stack` says which modules a family has and how their projections are
named. The residual stream is read where a LayerNorm reads it.
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
from xbench.trace import AttentionBlock, Norm, Stream, Trace, build_trace

# What an attention module was given by keyword, and what its submodules returned (batch axis dropped).
Seen = dict[str, Any]
# (module, query, key, seen) to the query and key as they meet, and what is added to their scores.
Positions = Callable[[Any, Tensor, Tensor, Seen], tuple[Tensor, Tensor, Tensor | None]]


@dataclass(frozen=True)
class PreNorm:
    """The LayerNorms around one attention block of a pre-LN layer.

    block_norm makes the block's input out of the stream, next_norm reads the stream after the
    block, layer_norm reads it after the whole layer (it belongs to the next layer, or ends the
    stack). rest: from the stream after the block to the end of the layer, if position by position.
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
    """The attention modules of one stack ("cross", "decoder", "encoder"), first layer first.

    heads: query heads; keys and values of grouped-query attention are repeated to as many. output:
    name of the output projection. streams: the LayerNorms around each block, where layers are
    pre-LN. positions: how relative or rotary positions enter, where they do (`also`: submodules
    whose output it needs).
    """

    modules: Sequence[nn.Module]
    heads: int
    causal: bool = False
    output: str = "out_proj"
    streams: Sequence[PreNorm] | None = None
    positions: Positions | None = None
    also: tuple[str, ...] = ()

    @property
    def read(self) -> tuple[str, ...]:
        """The submodules whose output is kept."""
        return ("q_proj", "k_proj", "v_proj", self.output, *self.also)


@contextmanager
def captured_blocks(
    stacks: Mapping[str, Stack], streams: Set[str] = frozenset()
) -> Iterator[dict[str, list[Callable[[], AttentionBlock]]]]:
    """Hook the attention modules of each stack; after the pass, call the readers that it yields.

    streams: names of the stacks whose residual stream is wanted. A pass of batch size one is
    expected. The hooks are gone when the context ends, also after an error.
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
) -> Trace:
    """Run a clean pass of batch size one and make a trace of it.

    Holds "cross" always, other stacks of the model where `needs` names their attention or projections.
    """
    wanted = {
        name: stack
        for name, stack in stacks.items()
        if name == "cross" or needs & {f"{name}-attention", f"{name}-projections"}
    }
    with captured_blocks(wanted, {n for n in wanted if f"{n}-projections" in needs}) as readers:
        run()
    return build_trace(
        {name: tuple(read() for read in reads) for name, reads in readers.items()},
        layout,
        prompt_length,
        frozenset(needs & {f"{n}-{kind}" for n in wanted for kind in ("attention", "projections")}),
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
    def heads(projection: str) -> Tensor:
        split = seen[projection].unflatten(-1, (-1, module.head_dim)).transpose(0, 1)
        return split.repeat_interleave(stack.heads // len(split), dim=0)

    query, key, bias = heads("q_proj"), heads("k_proj"), None
    if stack.positions:
        query, key, bias = stack.positions(module, query, key, seen)
    projection = getattr(module, stack.output)
    weight = projection.weight
    return AttentionBlock(
        query=query,
        key=key,
        value=heads("v_proj"),
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
    """Say which LayerNorms lie around the blocks of pre-LN layers: under "own" and, in a decoder, "cross".

    end: the LayerNorm after the last layer. rest: from a layer to its feed-forward block with residual.
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
