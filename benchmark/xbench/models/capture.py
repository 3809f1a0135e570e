"""Read the projections of attention modules during a forward pass, by module hooks.

Works with any attention kernel, because it reads what goes into and comes out of the kernel and
not the kernel's weights. For modules with `q_proj`, `k_proj`, `v_proj`, `out_proj`, `scaling` and
`num_heads`, as transformers writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xbench.trace import AttentionBlock

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


@contextmanager
def captured_blocks(
    stacks: Mapping[str, Sequence[nn.Module]], causal: Set[str]
) -> Iterator[dict[str, list[Callable[[], AttentionBlock]]]]:
    """Hook the attention modules of each stack; after the pass, call the readers that it yields.

    A pass of batch size one is expected. The hooks are gone when the context ends, also after an
    error.
    """
    handles = []
    readers: dict[str, list[Callable[[], AttentionBlock]]] = {}
    for stack, modules in stacks.items():
        readers[stack] = []
        for module in modules:
            outputs: dict[str, Tensor] = {}
            for name in _PROJECTIONS:
                hook = partial(_keep, outputs, name)
                handles.append(getattr(module, name).register_forward_hook(hook))
            readers[stack].append(partial(_block, module, outputs, stack in causal))
    try:
        yield readers
    finally:
        for handle in handles:
            handle.remove()


def _keep(
    outputs: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, output: Tensor
) -> None:
    outputs[name] = output[0]


def _block(module: Any, outputs: dict[str, Tensor], causal: bool) -> AttentionBlock:
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
    )
