"""Notes of a network as it is at one moment, and what is not the same at another.

`look` takes notes of all that decides what a network computes, the values of its weights apart:

    modules     their hooks, children, attributes that are numbers, texts or functions (`training`, `scaling`,
                `forward`), the functions of their classes and of torch, and hooks that torch calls for all modules
    settings    the network's configurations, and what lies in dictionaries of these
    tables      where transformers' networks look their attention up
    weights     which tensors they are, where their values lie, how often torch wrote into them, and their gradients

Left out are tensors that are attributes of a module without being weights, and all that is called cached: networks
remember positions there. That nothing differs is told by a few calls (`_Quick`, `_Marks`), since it is asked after
every method that is not ours; what differs is then found one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import attrgetter, is_
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, partial)
_TABLES = (
    ("transformers.modeling_utils", "ALL_ATTENTION_FUNCTIONS"),
    ("transformers.masking_utils", "ALL_MASK_ATTENTION_FUNCTIONS"),
)
_NUMBERS = (bool, int, float, str)
_LARGEST = 1_000  # entries of a dictionary: copying 50,000 words takes longer than all the rest
_MISSING = object()


# -- attributes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attributes:
    """The attributes of one owner (a module, a class, a configuration, a package) at one moment.

    held: all of them. contents: what lies in those that are dictionaries, such as hooks, weights and children.
    kinds: the others that are watched. made_of: the owner's class. grows: more of them are no change. fills: more in
    its dictionaries is none either.
    """

    owner: Any
    held: Mapping[str, Any]
    contents: Mapping[str, Mapping[Any, Any]]
    kinds: type | tuple[type, ...]
    made_of: type
    grows: bool = False
    fills: bool = False

    def changes(self) -> Iterator[str]:
        """Yield the names of what is not the same now."""
        if type(self.owner) is not self.made_of:
            yield "__class__"
        now = vars(self.owner)
        for name in [*self.held, *(name for name in now if not self.grows)]:
            before, after = self.held.get(name, _MISSING), now.get(name, _MISSING)
            if not _same(before, after) and (self._watched(name, before, after)):
                yield name
        for name, contents in self.contents.items():
            there = now.get(name, {})
            if self.fills:
                there = {key: value for key, value in there.items() if key in contents}
            if _ids(contents) != _ids(there):
                yield name

    def put_back(self) -> None:
        """Undo what was done since."""
        if type(self.owner) is not self.made_of:
            self.owner.__class__ = self.made_of
        for name in dict.fromkeys(self.changes()):
            if name in self.held:
                _set(self.owner, name, self.held[name])
            else:
                _delete(self.owner, name)
            if name in self.contents:
                attribute = vars(self.owner)[name]
                if not self.fills:
                    attribute.clear()
                attribute.update(self.contents[name])

    def _watched(self, name: str, *values: Any) -> bool:
        if name in self.contents or name in ("forward", "__call__"):
            return True
        if any(name in held for held in self.contents.values()):
            return True  # what is called like a weight or a child hides it
        return "cache" not in name and any(isinstance(value, self.kinds) for value in values)


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


def _attributes(owner: Any, kinds: type | tuple[type, ...], *, grows: bool = False) -> Attributes:
    held = dict(vars(owner))
    contents = {} if isinstance(owner, type | ModuleType) else _dictionaries(held)
    return Attributes(owner, held, contents, kinds, type(owner), grows)


def _dictionaries(held: Mapping[str, Any]) -> dict[str, dict[Any, Any]]:
    return {name: dict(value) for name, value in held.items() if isinstance(value, dict)}


def part_of_model(owner: Any) -> Attributes:
    """Take notes of what belongs to a model and is no network: its description, feature extractor, tokenizer.

    Dictionaries in it are copied, vocabularies apart; what it keeps of warnings is its own affair.
    """
    held = dict(vars(owner))
    watched = {
        name: value
        for name, value in held.items()
        if isinstance(value, dict)
        and len(value) <= _LARGEST
        and not ("cache" in name or "warnings" in name)
    }
    return Attributes(owner, held, _dictionaries(watched), object, type(owner))


def _of_module(module: nn.Module) -> Attributes:
    held = dict(vars(module))
    kinds = _FUNCTIONS + _NUMBERS
    return Attributes(module, held, _dictionaries(held), kinds, type(module))


def _hooks_of_all() -> Attributes:
    shared = nn.modules.module
    hooks = {k: v for k, v in vars(shared).items() if "hooks" in k and isinstance(v, dict)}
    return Attributes(shared, hooks, _dictionaries(hooks), dict, type(shared), grows=True)


def _attention_of_all() -> list[Attributes]:
    """Take notes of the tables from which transformers' networks take their attention and its masks.

    A new entry changes nobody's: modules of ours that a method imports add theirs, once.
    """
    found = []
    for module, name in _TABLES:
        table = getattr(sys.modules.get(module), name, None)
        owner: Any = type(table)
        if hasattr(owner, "_global_mapping"):
            held = {"_global_mapping": owner._global_mapping}
            found.append(
                Attributes(
                    owner, held, _dictionaries(held), dict, type(owner), grows=True, fills=True
                )
            )
            found.append(_attributes(table, dict))
    return found


@dataclass(frozen=True)
class Parts:
    """What a model is made of beside its networks, at one moment: see `part_of_model`.

    arrays: those that could be written to.
    """

    each: tuple[Attributes, ...]
    arrays: tuple[np.ndarray, ...]
    quick: _Quick

    @classmethod
    def of(cls, owners: Sequence[Any]) -> Parts:
        """Take notes of them all."""
        parts = tuple(map(part_of_model, owners))
        values = (value for part in parts for value in part.held.values())
        arrays = (v for v in values if isinstance(v, np.ndarray) and v.flags.writeable)
        return cls(parts, tuple(arrays), _Quick.of(parts))

    def are(self, owners: Sequence[Any]) -> bool:
        """Say whether these are the ones of the notes, and nothing of them differs."""
        known = self.quick.owners
        return (
            len(known) == len(owners) and all(map(is_, known, owners)) and not self.quick.differs()
        )

    def put_back(self) -> str | None:
        """Undo what was done since, and say what that was; None for nothing."""
        if not self.quick.differs():
            return None
        changed = None
        for part in self.each:
            if (name := next(part.changes(), None)) is not None:
                part.put_back()
                changed = changed or f"'{name}' of the model's {type(part.owner).__name__}"
        return changed


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
        if not (self.tensor.is_leaf or self.wants_gradient):
            self.tensor.detach_()  # it has become the result of a computation
        self.tensor.requires_grad_(self.wants_gradient)
        if self.tensor.is_leaf:
            self.tensor.grad = self.gradient


def _gradient(tensor: Tensor) -> Tensor | None:
    return tensor.grad if tensor.is_leaf else None


_VERSION, _WANTS_GRADIENT, _GRADIENT = map(attrgetter, ("_version", "requires_grad", "grad"))


@dataclass(frozen=True)
class _Marks:
    """What torch knows of tensors beside their values, in lists that a few calls make again.

    addresses: where the values of each lie. writes: how often torch wrote there. wanted: whether a gradient is asked
    for. gradients: which one it holds. counted, leaves: the tensors of which torch counts writes, has gradients.
    """

    tensors: Sequence[Tensor]
    counted: Sequence[Tensor]
    leaves: Sequence[Tensor]
    addresses: Sequence[int]
    writes: Sequence[int]
    wanted: Sequence[bool]
    gradients: Sequence[int]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> _Marks:
        """Read them off."""
        counted = [each for each in tensors if not each.is_inference()]
        leaves = [each for each in tensors if each.is_leaf]
        return cls(
            tensors,
            counted,
            leaves,
            list(map(Tensor.data_ptr, tensors)),
            list(map(_VERSION, counted)),
            list(map(_WANTS_GRADIENT, tensors)),
            list(map(id, map(_GRADIENT, leaves))),
        )

    @property
    def unwritten(self) -> bool:
        """Say whether the values lie where they lay, and torch wrote none of them."""
        return self.addresses == list(map(Tensor.data_ptr, self.tensors)) and (
            self.writes == list(map(_VERSION, self.counted))
        )

    @property
    def same_gradients(self) -> bool:
        """Say whether those are as they were."""
        # A leaf that is none any more asks for a gradient, as it did not before: then `grad` is not read, of which
        # torch would warn.
        return self.wanted == list(map(_WANTS_GRADIENT, self.tensors)) and (
            self.gradients == list(map(id, map(_GRADIENT, self.leaves)))
        )


@dataclass(frozen=True)
class Look:
    """A network, and what all networks of the process share, at one moment."""

    network: nn.Module
    modules: tuple[Attributes, ...]
    shared: tuple[Attributes, ...]
    weights: tuple[_Weight, ...]
    marks: _Marks
    quick: _Quick

    @property
    def same(self) -> bool:
        """Say whether nothing differs, the values of weights apart; what differs may yet be no change."""
        return not self.quick.differs() and self.marks.same_gradients

    def change(self) -> str | None:
        """Say what is not the same now, the values of weights apart; None where all is."""
        if self.same:
            return None
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

    contents: views of the dictionaries that hold any. values: what was in these, in its order. empty: the dictionaries
    that were empty, as those of hooks mostly are. owners, classes: whose they are, and of which class these are.
    """

    contents: Sequence[ValuesView[Any]]
    values: Sequence[Any]
    empty: Sequence[Mapping[Any, Any]]
    owners: Sequence[Any]
    classes: Sequence[type]

    @classmethod
    def of(cls, looks: Sequence[Attributes]) -> _Quick:
        """Put the attributes of all owners side by side."""
        held: list[Mapping[Any, Any]] = []
        for each in looks:
            held += [vars(each.owner)[name] for name in each.contents]
            if each.held.keys() == vars(each.owner).keys():
                held.append(vars(each.owner))
        contents = [each.values() for each in held if each]
        empty = [each for each in held if not each]
        owners = [each.owner for each in looks]
        return cls(
            contents, list(chain.from_iterable(contents)), empty, owners, list(map(type, owners))
        )

    def differs(self) -> bool:
        """Say whether anything may have changed; what is the same object is the same."""
        # Contents in their order lie side by side in memory: reading them takes half the time of comparing
        # dictionaries, which looks each name up. What gets another name gets another place.
        try:
            return (
                any(self.empty)
                or self.classes != list(map(type, self.owners))
                or self.values != list(chain.from_iterable(self.contents))
            )
        except (RuntimeError, ValueError):  # tensors and arrays refuse to be compared as a whole
            return True


def look(network: nn.Module) -> Look:
    """Take notes of a network as it is now."""
    modules: list[Attributes] = []
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
        *_attention_of_all(),
    )
    tensors = tuple(weights.values())
    return Look(
        network,
        tuple(modules),
        shared,
        tuple(_Weight(each, each.requires_grad, _gradient(each)) for each in tensors),
        _Marks.of(tensors),
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
