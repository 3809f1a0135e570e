"""What a model's network is at one moment, and putting it back: plugins share it with everybody else.

`look` takes notes of all that decides what a network computes:

    modules     their hooks, children, attributes that are numbers, texts or functions (`training`, `scaling`,
                `forward`), the functions of their classes and of torch, and hooks that torch calls for all modules
    settings    the network's configurations
    weights     which tensors they are, where their values lie, how often torch wrote into them, and their gradients

`Keeper` has a copy of the weights to put back. It also sees writes that torch does not count (through `.data` or
numpy), as long as they meet one of the values that it samples of each weight; `xbench check method` compares every bit.
Left out are tensors that are attributes of a module without being weights, and all that is called cached: networks
remember positions there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import eq
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from xbench.models.metered import MeteredModel
from xbench.models.protocol import SpeechModel

SAMPLED = 32  # values of each weight
AT_MOST = 2  # networks whose weights are kept: that of the run, and one that was made of it
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)
_NUMBERS = (bool, int, float, str)
_MISSING = object()


def networks(model: SpeechModel) -> dict[str, nn.Module]:
    """Return the networks that a model holds, each once, by the name of its attribute."""
    measured = model.measured if isinstance(model, MeteredModel) else model
    owned = {"network": getattr(measured, "network", None), **vars(measured)}
    found: dict[str, nn.Module] = {}
    for name, value in owned.items():
        if isinstance(value, nn.Module) and all(value is not other for other in found.values()):
            found[name] = value
    return found


# -- attributes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Attributes:
    """The attributes of one owner (a module, a class, a configuration, a package) at one moment.

    held: all of them. contents: what lies in those that are dictionaries, such as hooks, weights and children.
    kinds: the others that are watched. grows: more of them are no change.
    """

    owner: Any
    held: Mapping[str, Any]
    contents: Mapping[str, Mapping[Any, Any]]
    kinds: type | tuple[type, ...]
    grows: bool = False

    def changes(self) -> Iterator[str]:
        """Yield the names of what is not the same now."""
        now = vars(self.owner)
        for name in [*self.held, *(name for name in now if not self.grows)]:
            before, after = self.held.get(name, _MISSING), now.get(name, _MISSING)
            if not _same(before, after) and (self._watched(name, before, after)):
                yield name
        for name, contents in self.contents.items():
            if _ids(contents) != _ids(now.get(name, {})):
                yield name

    def put_back(self) -> None:
        """Undo what was done since."""
        for name in dict.fromkeys(self.changes()):
            if name in self.held:
                _set(self.owner, name, self.held[name])
            else:
                _delete(self.owner, name)
            if name in self.contents:
                attribute = vars(self.owner)[name]
                attribute.clear()
                attribute.update(self.contents[name])

    def _watched(self, name: str, *values: Any) -> bool:
        return name in self.contents or (
            "cache" not in name and any(isinstance(value, self.kinds) for value in values)
        )


def _ids(held: Mapping[Any, Any]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    return tuple(held), tuple(map(id, held.values()))


def _same(first: Any, second: Any) -> bool:
    if first is second:
        return True
    return type(first) is type(second) and isinstance(first, _NUMBERS) and bool(first == second)


# Past the `__setattr__` of modules and configurations, which would put values elsewhere.
def _set(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, type):
        setattr(owner, name, value)
    else:
        vars(owner)[name] = value


def _delete(owner: Any, name: str) -> None:
    if isinstance(owner, type):
        delattr(owner, name)
    else:
        del vars(owner)[name]


def _attributes(owner: Any, kinds: type | tuple[type, ...], *, grows: bool = False) -> _Attributes:
    return _Attributes(owner, dict(vars(owner)), {}, kinds, grows)


def _of_module(module: nn.Module) -> _Attributes:
    held = dict(vars(module))
    contents = {name: dict(value) for name, value in held.items() if isinstance(value, dict)}
    return _Attributes(module, held, contents, _FUNCTIONS + _NUMBERS)


def _hooks_of_all() -> _Attributes:
    shared = nn.modules.module
    hooks = {k: v for k, v in vars(shared).items() if "hooks" in k and isinstance(v, dict)}
    return _Attributes(shared, hooks, {k: dict(v) for k, v in hooks.items()}, dict, grows=True)


# -- one look -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Weight:
    """A tensor of a network, whether a gradient of it is asked for, and the gradient it holds."""

    tensor: Tensor
    wants_gradient: bool
    gradient: Tensor | None

    @property
    def same_gradient(self) -> bool:
        """Say whether that is as it was."""
        tensor = self.tensor
        return tensor.requires_grad == self.wants_gradient and _gradient(tensor) is self.gradient

    def put_back(self, values: Tensor, copy: Tensor) -> None:
        """Let the tensor have its values, in their old place, and its gradient."""
        if self.tensor.data_ptr() != values.data_ptr():
            self.tensor.data = values
        with torch.no_grad():
            values.copy_(copy)
        self.tensor.requires_grad_(self.wants_gradient)
        if self.tensor.is_leaf:
            self.tensor.grad = self.gradient


def _gradient(tensor: Tensor) -> Tensor | None:
    return tensor.grad if tensor.is_leaf else None


def _writes(tensor: Tensor) -> tuple[int, int]:
    """Return where the values of a tensor lie, and how often torch wrote there."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


@dataclass(frozen=True)
class Look:
    """A network, and what all networks of the process share, at one moment."""

    network: nn.Module
    modules: tuple[_Attributes, ...]
    shared: tuple[_Attributes, ...]
    weights: tuple[_Weight, ...]
    quick: _Quick

    def change(self) -> str | None:
        """Say what is not the same now, the values of weights apart; None where all is."""
        if not self.quick.differs():
            changed: Iterator[str] = iter(())
        else:
            changed = (
                f"{_readable(name)} of {self._named(each.owner)}"
                for each in (*self.modules, *self.shared)
                for name in each.changes()
            )
        gradients = (
            f"the gradient of {self.weight(weight.tensor)}"
            for weight in self.weights
            if not weight.same_gradient
        )
        return next(changed, None) or next(gradients, None)

    def _named(self, owner: Any) -> str:
        if not isinstance(owner, nn.Module):
            return str(getattr(owner, "__name__", f"the {type(owner).__name__}"))
        names = (name for name, other in self.network.named_modules() if other is owner)
        return f"module '{name}'" if (name := next(names, "")) else "the network"

    def weight(self, tensor: Tensor) -> str:
        """Name a weight."""
        named = (*self.network.named_parameters(), *self.network.named_buffers())
        return f"weight '{next((n for n, other in named if other is tensor), '?')}'"


def _readable(name: str) -> str:
    return f"the {name.strip('_').replace('_', ' ')}" if name[0] == "_" else f"'{name}'"


@dataclass(frozen=True)
class _Quick:
    """All attributes of a look side by side, so that what is not changed is told by a few calls.

    now: the dictionaries themselves. then: copies. empty: those that were empty, as those of hooks mostly are.
    """

    now: Sequence[Any]
    then: Sequence[Mapping[Any, Any]]
    empty: Sequence[Mapping[Any, Any]]

    @classmethod
    def of(cls, looks: Sequence[_Attributes]) -> _Quick:
        """Put the attributes of all owners side by side."""
        now, then, empty = [], [], []
        for each in looks:
            if each.held.keys() == vars(each.owner).keys():
                now.append(vars(each.owner))
                then.append(each.held)
            for name, contents in each.contents.items():
                attribute = vars(each.owner)[name]
                if contents:
                    now.append(attribute)
                    then.append(contents)
                else:
                    empty.append(attribute)
        return cls(now, then, empty)

    def differs(self) -> bool:
        """Say whether anything may have changed; what is the same object is the same."""
        try:
            return any(self.empty) or not all(map(eq, self.now, self.then))
        except (RuntimeError, ValueError):  # tensors and arrays refuse to be compared as a whole
            return True


def look(network: nn.Module) -> Look:
    """Take notes of a network as it is now."""
    modules: list[_Attributes] = []
    weights: dict[int, Tensor] = {}
    classes: dict[type, None] = {}
    settings: dict[int, Any] = {}
    for module in _all_modules(network):
        seen = _of_module(module)
        modules.append(seen)
        for held in seen.contents.values():
            weights |= {id(v): v for v in held.values() if isinstance(v, Tensor)}
        classes |= dict.fromkeys(type(module).__mro__[:-1])
        for name in ("config", "generation_config"):
            if hasattr(config := vars(module).get(name), "__dict__"):
                settings[id(config)] = config
    shared = (
        *(_attributes(each, object) for each in settings.values()),
        *(_attributes(each, _FUNCTIONS + _NUMBERS) for each in classes),
        *(_attributes(each, _FUNCTIONS, grows=True) for each in (torch, nn.functional)),
        _hooks_of_all(),
    )
    return Look(
        network,
        tuple(modules),
        shared,
        tuple(_Weight(each, each.requires_grad, _gradient(each)) for each in weights.values()),
        _Quick.of((*modules, *shared)),
    )


def _all_modules(network: nn.Module) -> list[nn.Module]:
    found, waiting = {}, [network]
    while waiting:
        module = waiting.pop()
        if id(module) not in found:
            found[id(module)] = module
            waiting += module.children()
    return list(found.values())


# -- the weights ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kept:
    """A network as it was at a look, with its weights.

    writes: where they lay and how often torch had written there. values: they themselves, without gradient. spots: some
    values of each, as views. sample: copies of the spots. copies: of all values, in the memory of the host.
    """

    look: Look
    writes: tuple[tuple[int, int], ...]
    values: tuple[Tensor, ...]
    spots: tuple[Tensor, ...]
    sample: Tensor
    copies: tuple[Tensor, ...]

    @classmethod
    def of(cls, network: nn.Module) -> _Kept:
        """Take notes of a network and copy its weights."""
        seen = look(network)
        values = tuple(weight.tensor.detach() for weight in seen.weights)
        spots = tuple(_spots(each) for each in values if each.numel())
        return cls(
            seen,
            _all_writes(seen),
            values,
            spots,
            _sample(spots),
            tuple(each.to("cpu", copy=True) for each in values),
        )

    @property
    def untouched(self) -> bool:
        """Say whether nothing was written into any weight, as far as that is seen."""
        written = self.writes != _all_writes(self.look)
        return not written and torch.equal(self.sample, _sample(self.spots))

    def other_values(self) -> str | None:
        """Say which weight has not the values that were copied."""
        for weight, values, copy in zip(self.look.weights, self.values, self.copies, strict=True):
            moved = weight.tensor.data_ptr() != values.data_ptr()
            if moved or not torch.equal(_bits(values.cpu()), _bits(copy)):
                return self.look.weight(weight.tensor)
        return None


def _all_writes(seen: Look) -> tuple[tuple[int, int], ...]:
    return tuple(_writes(weight.tensor) for weight in seen.weights)


class Keeper:
    """Keeps networks as they are, with a copy of their weights in the memory of the host."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}

    def keep(self, network: nn.Module) -> None:
        """Take notes of a network as it is now; they stay valid until somebody changes it."""
        kept = self._kept.pop(id(network), None)
        if kept is None or not kept.untouched or kept.look.change() is not None:
            while len(self._kept) >= AT_MOST:
                del self._kept[next(iter(self._kept))]
            kept = None  # its memory is free before the next copy is made
            kept = _Kept.of(network)
        elif kept.look.quick.differs():  # in what is no change, such as a remembered position
            kept = replace(kept, look=look(network))
        self._kept[id(network)] = kept

    def change(self, network: nn.Module) -> str | None:
        """Say what is not as it was kept; None where all is, and where weights were changed and put back."""
        kept = self._kept[id(network)]
        changed = kept.look.change()
        return changed if changed or kept.untouched else kept.other_values()

    def put_back(self, network: nn.Module) -> None:
        """Make a network what it was when it was kept."""
        kept = self._kept.pop(id(network))
        for each in (*kept.look.shared, *kept.look.modules):
            each.put_back()
        for weight, values, copy in zip(kept.look.weights, kept.values, kept.copies, strict=True):
            weight.put_back(values, copy)


def _spots(values: Tensor) -> Tensor:
    """Return evenly spaced values of a tensor, as a view of it where its layout allows one."""
    flat = values.view(-1) if values.is_contiguous() else values.flatten()
    return flat[:: max(1, len(flat) // SAMPLED)]


def _sample(spots: tuple[Tensor, ...]) -> Tensor:
    return torch.cat(spots).nan_to_num() if spots else torch.empty(0)


def _bits(values: Tensor) -> Tensor:
    """Return the bits of a tensor: they equal themselves also where a value is not a number."""
    return values.contiguous().view(-1).view(torch.uint8) if values.numel() else values
