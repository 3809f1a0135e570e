"""A twin of a loaded model for perturbed passes: another precision, and no projection onto the vocabulary.

`logits` and `frame_masking` of a twin give the states h that meet the output embeddings E, where logits = h E^T + b:
a divergence needs less than all of a log-softmax (`references.divergence`). This takes nothing from a family but what
transformers asks of it, `get_output_embeddings`; whether logits really are that product is checked on the clean pass
by whoever uses a twin. The model itself is never changed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xbench.models.metered import MeteredModel
from xbench.models.protocol import SpeechModel


@dataclass(frozen=True)
class Twin:
    """A model whose `logits` are states [batch, token, dim], and the matrix that makes logits of them."""

    model: SpeechModel
    embeddings: Float[Tensor, "vocab dim"]
    bias: Float[Tensor, " vocab"] | None

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its passes."""
        return self.embeddings.dtype


def twin(model: SpeechModel, dtype: torch.dtype) -> Twin | None:
    """Return the twin in this precision; None for a model without output embeddings to take off.

    In the model's own precision the twin shares all weights. Passes of a metered model's twin count with it.
    """
    if isinstance(model, MeteredModel):
        found = twin(model.measured, dtype)
        return found and replace(found, model=model.beside(found.model))
    found = _twin(model, dtype)  # type: ignore[arg-type]  # models hash by identity
    return found


@lru_cache(maxsize=2)  # the two precisions of the model that a run has loaded
def _twin(model: Any, dtype: torch.dtype) -> Twin | None:
    network = getattr(model, "network", None)
    if not isinstance(network, nn.Module) or not is_dataclass(model):
        return None
    find = getattr(network, "get_output_embeddings", None)
    projection = find() if find else None
    if not isinstance(projection, nn.Linear):
        return None
    path = next(name for name, module in network.named_modules() if module is projection)
    network = _with(network, path, nn.Identity())
    if dtype != projection.weight.dtype:
        network = _products_in(copy.deepcopy(network), dtype)
    return Twin(
        model=cast(SpeechModel, replace(cast(Any, model), network=network)),
        embeddings=projection.weight.detach().to(dtype),
        bias=None if projection.bias is None else projection.bias.detach(),
    )


def _products_in(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Put matrix products and convolutions into a precision; residual streams and norms keep theirs.

    Rounding of the residual stream would be most of the error and saves no time.
    """

    def convert(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0].to(dtype), *inputs[1:])

    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            module.to(dtype)
            module.register_forward_pre_hook(convert)
    return network


def _with(module: nn.Module, path: str, replacement: nn.Module) -> nn.Module:
    """Return a copy with one submodule replaced that shares all else, modules and weights."""
    first, _, rest = path.partition(".")
    children: Mapping[str, nn.Module | None] = module._modules
    child = children[first]
    assert child is not None
    twin_module = copy.copy(module)
    twin_module._modules = {
        **children,
        first: _with(child, rest, replacement) if rest else replacement,
    }
    return twin_module
