"""Read the projections of attention modules during a forward pass, by module hooks.

Works with any attention kernel, because it reads what goes into and comes out of the kernel and
not the kernel's weights. For modules with `q_proj`, `k_proj`, `v_proj`, `out_proj`, `scaling` and
`num_heads`, as transformers writes them. The residual stream is read where a LayerNorm reads it.
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

from xbench.trace import AttentionBlock, Norm, Stream

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


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


@contextmanager
def captured_blocks(
    stacks: Mapping[str, Sequence[nn.Module]],
    causal: Set[str],
    streams: Mapping[str, Sequence[PreNorm]] | None = None,
) -> Iterator[dict[str, list[Callable[[], AttentionBlock]]]]:
    """Hook the attention modules of each stack; after the pass, call the readers that it yields.

    streams: where the residual stream passes by, for the stacks whose stream is wanted. A pass of
    batch size one is expected. The hooks are gone when the context ends, also after an error.
    """
    states: dict[nn.Module, Tensor] = {}
    handles = []
    readers: dict[str, list[Callable[[], AttentionBlock]]] = {}
    try:
        for stack, modules in stacks.items():
            around: Sequence[PreNorm | None] = (streams or {}).get(stack) or [None] * len(modules)
            readers[stack] = []
            for module, layer in zip(modules, around, strict=True):
                outputs: dict[str, Tensor] = {}
                for name in _PROJECTIONS:
                    hook = partial(_keep, outputs, name)
                    handles.append(getattr(module, name).register_forward_hook(hook))
                for norm in layer.norms if layer else ():
                    handles.append(norm.register_forward_pre_hook(partial(_keep_input, states)))
                reader = partial(_block, module, outputs, stack in causal, layer, states)
                readers[stack].append(reader)
        yield readers
    finally:
        for handle in handles:
            handle.remove()


def _keep(
    outputs: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, output: Tensor
) -> None:
    outputs[name] = output[0]


def _keep_input(states: dict[nn.Module, Tensor], module: nn.Module, inputs: Any) -> None:
    states[module] = inputs[0][0]


def _block(
    module: Any,
    outputs: dict[str, Tensor],
    causal: bool,
    layer: PreNorm | None,
    states: dict[nn.Module, Tensor],
) -> AttentionBlock:
    def heads(projection: str) -> Tensor:
        states = outputs[projection]
        return states.view(len(states), module.num_heads, -1).transpose(0, 1)

    weight = module.out_proj.weight
    bias = module.out_proj.bias
    return AttentionBlock(
        query=heads("q_proj"),
        key=heads("k_proj"),
        value=heads("v_proj"),
        output=outputs["out_proj"],
        output_weight=weight,
        output_bias=torch.zeros_like(weight[0]) if bias is None else bias,
        scale=module.scaling,
        causal=causal,
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
