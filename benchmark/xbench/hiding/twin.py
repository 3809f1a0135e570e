"""A twin of a loaded model for perturbed passes: its network in another precision, without the vocabulary projection.

`logits` and `frame_masking` of a twin stop one step early: they return the decoder's last states h, where logits = h
E^T + b with the output embeddings E. That is faster, because a divergence can be computed from h in blocks of the
vocabulary (`hiding.effect`). A family needs `with_network` for this, and `get_output_embeddings` of transformers.
Whoever uses a twin must check on the clean pass that logits really are that product (`hiding.way` does). The model
itself is never changed.

In a lower precision the decoder computes changes. A divergence is quadratic in the change of the states. For tokens
that hardly move, the rounding errors of a perturbed x and a clean x0 would be larger than it. So the clean input x0
and output y0 of each linear layer are kept in full precision, and a perturbed pass computes

    y = y0 + W (x - x0)

Only the change is rounded, and the error is relative to the change. `clean_pass` records the clean pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xbench.hiding.effect import padded
from xbench.models import masked_attention
from xbench.models.derived import once_per_network
from xbench.models.device import compiled, device_of
from xbench.models.metered import MeteredModel
from xbench.models.optional import TakesNetwork, offers
from xbench.models.private import attention_name
from xbench.models.protocol import SpeechModel

P = ParamSpec("P")
R = TypeVar("R")

# The input and output of each linear layer in a clean pass, with a batch of one.
Clean = dict[nn.Module, tuple[Tensor, Tensor]]


@dataclass(eq=False)
class Changes:
    """Holds the clean pass that perturbed passes of a twin are computed against.

    clean: input and output of each linear layer. made: False while the clean pass runs, when each layer records
    its input and output in `clean`; True afterwards, when layers read them.
    """

    clean: Clean = field(default_factory=dict)
    made: bool = False

    @contextmanager
    def using(self, clean: Clean, *, made: bool) -> Iterator[Clean]:
        """Use a clean pass within the context."""
        before = self.clean, self.made
        self.clean, self.made = clean, made
        try:
            yield clean
        finally:
            self.clean, self.made = before


@dataclass(frozen=True)
class Twin:
    """A model whose `logits` are states [batch, token, dim], and the matrix that makes logits of them.

    embeddings: a row per vocabulary entry, and filling after them (`hiding.effect.padded`).
    """

    model: SpeechModel
    embeddings: Float[Tensor, "row dim"]
    bias: Float[Tensor, " vocab"] | None
    vocabulary: int
    changes: Changes

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return self.embeddings.dtype

    def logits(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Return states times embeddings, plus bias, in float32."""
        logits = states.float() @ self.embeddings[: self.vocabulary].float().T
        return logits if self.bias is None else logits + self.bias.float()

    @contextmanager
    def clean_pass(self) -> Iterator[Clean]:
        """Record the input and output of the decoder's linear layers within the context (the last call of each)."""
        with self.changes.using({}, made=False) as clean:
            yield clean

    def beside(self, clean: Clean, passes: Callable[P, R]) -> Callable[P, R]:
        """Return the same passes, computed as changes of a clean pass."""

        def changed(*inputs: P.args, **named: P.kwargs) -> R:
            with self.changes.using(clean, made=True):
                return passes(*inputs, **named)

        return changed


def twin(model: SpeechModel, dtype: torch.dtype) -> Twin | None:
    """Return the twin in this precision; None for a model without output embeddings.

    In the model's own precision the twin shares all weights. It is made once, and kept as long as the model's network.
    If the model counts its passes, those of its twin are counted with them.
    """
    if isinstance(model, MeteredModel):
        found = twin(model.measured, dtype)
        return found and replace(found, model=model.beside(found.model))
    if not offers(model, TakesNetwork) or not isinstance(model.network, nn.Module):
        return None
    made = _twin(model.network, dtype)
    if made is None:
        return None
    return Twin(
        model.with_network(made.network),
        made.embeddings,
        made.bias,
        made.vocabulary,
        made.changes,
    )


@dataclass(frozen=True)
class _Made:
    """The parts of a twin, without the model around its network."""

    network: nn.Module
    embeddings: Float[Tensor, "row dim"]
    bias: Float[Tensor, " vocab"] | None
    vocabulary: int
    changes: Changes


@once_per_network(at_most=2)  # two are in use at a time: a check compares two precisions
def _twin(network: nn.Module, dtype: torch.dtype) -> _Made | None:
    find: Any = getattr(network, "get_output_embeddings", None)
    projection = find() if find else None
    if not isinstance(projection, nn.Linear):
        return None
    path = next(name for name, module in network.named_modules() if module is projection)
    network = _with(network, path, nn.Identity())
    changes = Changes()
    if dtype != projection.weight.dtype:
        if _normalises_heads(network):
            return None
        network = _products_in(copy.deepcopy(network), dtype, changes)
    weight = projection.weight.detach()
    return _Made(
        network,
        embeddings=padded(weight.to(dtype), device_of(weight.device).vocabulary_multiple),
        bias=None if projection.bias is None else projection.bias.detach(),
        vocabulary=len(weight),
        changes=changes,
    )


def _normalises_heads(network: nn.Module) -> bool:
    """Say whether the decoder normalises queries and keys per head, as Qwen3 does.

    A position of zeros then has a query of zeros, and attends to all alike. Rounding makes it a tiny vector instead,
    which the norm blows up to a direction of its own: an error as large as the effect.
    """
    return any(hasattr(module, "q_norm") for module in network.get_decoder().modules())


def _products_in(network: nn.Module, dtype: torch.dtype, changes: Changes) -> nn.Module:
    """Compute matrix products and convolutions in a precision; residual streams and norms keep their own.

    Rounding the residual stream would cause most of the error and save no time. Cross-attention of the decoder rounds
    only where the device has a fused kernel for it, which is several times as fast in the lower precision. Outside the
    decoder, outputs stay in the lower precision only where our own attention function reads them, which takes any.
    """
    first = next(network.parameters())
    own, device = first.dtype, device_of(first.device)
    ours = attention_name(network.config) == masked_attention.NAME
    in_decoder = set(network.get_decoder().modules())

    round_once = _once(lambda tensor: tensor.to(dtype))

    def rounded(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (round_once(inputs[0]), *inputs[1:])

    def widened(_: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return output.to(own)

    change = _Change.in_precision(dtype)
    for module in list(network.modules()):
        if isinstance(module, nn.Linear) and module in in_decoder:
            _add_changes(module, dtype, changes, change)
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            module.to(dtype)
            module.register_forward_pre_hook(rounded)
            if isinstance(module, nn.Linear) and device.linear_as_convolution:
                _as_convolution(module)
            if not ours or module in in_decoder:
                module.register_forward_hook(widened)
        elif module in in_decoder and hasattr(module, "k_proj"):
            setattr(module, masked_attention.FUSED_DTYPE, dtype)
        elif isinstance(module, nn.ModuleList) and len(module) and module not in in_decoder:
            module[0].register_forward_pre_hook(_in_order)
            if device.compiled:
                for layer in module:
                    layer.forward = compiled(layer.forward, first.device)
    return network


def _in_order(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copy into row order what convolutions left with swapped axes: every later layer would keep the slow layout."""
    return tuple(x.contiguous() if isinstance(x, Tensor) else x for x in inputs)


def _as_convolution(module: nn.Linear) -> None:
    """Make a linear layer a convolution of width one, [1, channel, batch, position] with channels last in memory.

    On a CPU oneDNN then adds the bias within the product, and blocks it better: `perf/encoders.md`.
    """
    weight = module.weight.detach()[:, :, None, None]

    def forward(inputs: Tensor) -> Tensor:
        rows = inputs.reshape(1, -1, *inputs.shape[-2:]).movedim(-1, 1)
        output = nn.functional.conv2d(rows, weight, module.bias).movedim(1, -1)
        return output.reshape(*inputs.shape[:-1], -1)

    module.forward = forward


def _once(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the function with its last result remembered, which it gives again for the same tensor objects.

    Queries, keys and values of a layer read one input, which is then rounded once. Nothing may write into that input
    in between; `hiding.trust` would notice.
    """
    last: tuple[tuple[Tensor, ...], Tensor] | None = None

    def call(*tensors: Tensor) -> Tensor:
        nonlocal last
        if last is None or any(a is not b for a, b in zip(tensors, last[0], strict=True)):
            last = tensors, function(*tensors)
        return last[1]

    return call


@dataclass(frozen=True)
class _Change:
    """How linear layers keep a clean input, and how they subtract it: once for all layers that read the same input."""

    kept: Callable[[Tensor], Tensor]
    rounded: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def in_precision(cls, dtype: torch.dtype) -> _Change:
        """Return the functions that copy a clean input, and that subtract it and round the difference."""
        return cls(_once(Tensor.clone), _once(lambda inputs, clean: (inputs - clean).to(dtype)))


def _add_changes(module: nn.Linear, dtype: torch.dtype, changes: Changes, change: _Change) -> None:
    """Make a linear layer add the product of a change, in a precision, to its clean output."""
    weight = module.weight.detach().to(dtype)

    def forward(inputs: Tensor) -> Tensor:
        clean, output = changes.clean.get(module, (None, None))
        if changes.made and clean is not None and clean.shape[1:] == inputs.shape[1:]:
            return (
                nn.functional.linear(change.rounded(inputs, clean), weight)
                .to(output.dtype)
                .add_(output)
            )
        exact = nn.functional.linear(inputs, module.weight, module.bias)
        if not changes.made and len(inputs) == 1:
            # Copies, because later layers may write into the input or output in place.
            changes.clean[module] = (change.kept(inputs), exact.clone())
        return exact

    module.forward = forward


def _with(module: nn.Module, path: str, replacement: nn.Module) -> nn.Module:
    """Return a copy of a module with one submodule replaced; all other modules and weights are shared."""
    first, _, rest = path.partition(".")
    children: Mapping[str, nn.Module | None] = module._modules
    child = children[first]
    assert child is not None
    twin_module = copy.copy(module)
    # A private name of torch, and the only way: assigning a submodule would write into the dictionary that the copy
    # still shares with the original.
    twin_module._modules = {
        **children,
        first: _with(child, rest, replacement) if rest else replacement,
    }
    return twin_module
