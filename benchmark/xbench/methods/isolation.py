"""Run a method that is not ours so that it can do no harm to the others: they share its model, trace and process.

The method is lent a case of its own: the trace holds only what it asked for, in tensors that share memory until
somebody writes into them (copy on write), so nothing that it writes reaches the others. Everything else is compared
after it with what it was: the networks (`models.kept_state`), the model's own attributes, and the settings of the
process below. A method that changed any of it is `Unsupported`, and all is put back, also after an exception. What it
changes after its call is found by `methods.watch`.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from ctypes import string_at
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache, lru_cache
from operator import is_
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from numpy.random import mtrand
from torch import Tensor, nn

from xbench.case import Case
from xbench.errors import Unsupported
from xbench.models.derived import reinitialised
from xbench.models.kept_state import Keeper, networks
from xbench.models.metered import MeteredModel
from xbench.models.network_look import Parts
from xbench.models.protocol import ModelInfo, SpeechModel
from xbench.process_settings import OF_IMPORTS, Setting, put_back
from xbench.trace import SOURCES, Trace

_PLAIN = frozenset({int, float, str, bool, type(None)})  # what nobody can write into


# -- what is lent ---------------------------------------------------------------------------------


def lent(case: Case, needs: Set[str]) -> Case:
    """Return the case as one method may have it: with a model wrapper and a trace that no other method is given."""
    model = case.model
    return replace(
        case,
        model=model.beside(model.measured) if isinstance(model, MeteredModel) else model,
        features=unshared(case.features),
        hypothesis=unshared(case.hypothesis),
        trace=None if case.trace is None else unshared(case.trace, **_others(case.trace, needs)),
        partner=None if case.partner is None else lent(case.partner, needs),
    )


def _others(trace: Trace, needs: Set[str]) -> dict[str, Any]:
    """Return what a trace holds in place of what was captured for other methods."""
    source = SOURCES if "source-projections" in needs else frozenset()
    blocks = {k: v for k, v in trace.blocks.items() if f"{k}-projections" in needs or k in source}
    stacks = [s for s in ("decoder", "encoder") if f"{s}-attention" not in needs]
    return {"blocks": unshared(blocks), **dict.fromkeys(f"{s}_attention" for s in stacks)}


def unshared(value: Any, **instead: Any) -> Any:
    """Return data whose tensors, those of networks apart, can be written to without changing the ones given.

    instead: what fields of a dataclass hold in the twin, in place of what they hold.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Tensor):
        return value if isinstance(value, nn.Parameter) else torch._lazy_clone(value)
    if isinstance(value, Mapping):
        return {key: unshared(item) for key, item in value.items()}
    if type(value) is tuple:
        return value if _PLAIN.issuperset(map(type, value)) else tuple(map(unshared, value))
    if names := _fields(value.__class__):
        twin = object.__new__(type(value))  # not `replace`, which would check data again
        for name in names:
            own = instead[name] if name in instead else unshared(getattr(value, name))
            object.__setattr__(twin, name, own)
        return twin
    return value


@cache
def _fields(kind: type) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()


# -- what must stay as it was ---------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """How a model and the settings of the process stand at one moment; random numbers, which move on, are left out."""

    model: SpeechModel
    keeper: Keeper
    attributes: Mapping[str, Any]
    parts: Parts
    networks: tuple[nn.Module, ...]
    settings: Sequence[Any]

    @classmethod
    def of(cls, model: SpeechModel, keeper: Keeper) -> Standing:
        """Take notes of both."""
        measured = model.measured if isinstance(model, MeteredModel) else model
        attributes = dict(vars(measured))
        parts = keeper.parts(_parts(attributes))
        kept = tuple(networks(model).values())
        for network in kept:
            keeper.keep(network)
        held = [setting.read() for setting in SETTINGS]
        return cls(measured, keeper, attributes, parts, kept, held)

    def put_back(self, *, derived: bool = False) -> str | None:
        """Undo what was done since, and say what that was; None for nothing.

        derived: networks that were made of it may have been changed too.
        """
        changed = next(iter(put_back(SETTINGS, self.settings)), None)
        changed = changed or _put_back_attributes(self.model, self.attributes)
        of_parts = self.parts.put_back()
        changed = changed or of_parts
        # Nobody looks after these as after the model's own networks.
        if derived:
            reinitialised.cache_clear()
        for network in self.networks:
            if (of_network := self.keeper.change(network)) is not None:
                changed = changed or of_network
                self.keeper.put_back(network)
        return changed


@contextlib.contextmanager
def unchanged(
    model: SpeechModel, keeper: Keeper, standing: Standing | None = None
) -> Iterator[list[str]]:
    """Put back what the block changes of a model and of the process, and raise Unsupported if it changed anything.

    standing: notes that were taken before and still hold. The list names what was changed, also where the block raises.
    """
    asked, told = reinitialised.calls, list[str]()
    standing = standing or Standing.of(model, keeper)
    # Leaving this context also ends an inference mode that the block has begun.
    # What it prints must not get into output that programs read.
    with (
        torch.inference_mode(torch.is_inference_mode_enabled()),
        contextlib.redirect_stdout(sys.stderr),
        _locked(standing.parts.arrays),
    ):
        states, drawn = [setting.read() for setting in RANDOM], random.getstate()
        try:
            yield told
        finally:
            changed = standing.put_back(derived=reinitialised.calls > asked)
            of_random = put_back(RANDOM, states)
            random.setstate(drawn)  # no map depends on them, and type checkers draw from them
            told += [each for each in (changed, *of_random) if each]
    if told:
        raise Unsupported(not_left(told[0]))


def not_left(what: str) -> str:
    """Return the sentence on a method that changed what all share."""
    return f"it changed {what}, which all methods share; a method must leave it as it was"


def _watched(model: SpeechModel, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes by which a model object does its work: what it keeps count of is its own affair."""
    parts = (nn.Module, ModelInfo, FunctionType, MethodType)
    return {
        name: value
        for name, value in attributes.items()
        if isinstance(value, parts) or hasattr(type(model), name)
    }


def _put_back_attributes(model: SpeechModel, held: Mapping[str, Any]) -> str | None:
    if held.keys() == vars(model).keys() and all(map(is_, held.values(), vars(model).values())):
        return None
    before, now = _watched(model, held), _watched(model, vars(model))
    names = [n for n in {**before, **now} if before.get(n, model) is not now.get(n, model)]
    for name in names:
        vars(model).pop(name, None)
    vars(model).update({name: before[name] for name in names if name in before})
    return f"'{names[0]}' of the model" if names else None


def _parts(attributes: Mapping[str, Any]) -> list[Any]:
    """Return what a model is made of beside its networks."""
    return [
        value
        for value in attributes.values()
        if isinstance(value, ModelInfo)
        or (type(value).__module__.startswith("transformers.") and not isinstance(value, nn.Module))
    ]


@contextlib.contextmanager
def _locked(arrays: Sequence[np.ndarray]) -> Iterator[None]:
    """Let nobody write into these arrays: comparing them would take longer than all the rest."""
    for array in arrays:
        array.flags.writeable = False
    try:
        yield
    finally:
        for array in arrays:
            array.flags.writeable = True


def _torch_random() -> tuple[bytes, ...]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states += torch.cuda.get_rng_state_all()
    return tuple(string_at(state.data_ptr(), state.nbytes) for state in states)


def _set_torch_random(states: tuple[bytes, ...]) -> None:
    first, *devices = (torch.frombuffer(bytearray(s), dtype=torch.uint8) for s in states)
    torch.set_rng_state(first)
    for number, state in enumerate(devices):
        torch.cuda.set_rng_state(state, number)


@dataclass(frozen=True)
class _NumpyState:
    """The state of numpy's global random numbers, and all of it as bytes, which can be compared."""

    compared: bytes
    state: dict[str, Any] = field(compare=False)


def _numpy_random() -> _NumpyState:
    """Return the state.

    numpy copies the state of its usual generator number by number, which takes longer than all other settings. So it
    is asked only when the state in memory is not the one of before, or where a normal number is left over, which is
    not there.
    """
    generator = mtrand.get_bit_generator()
    if isinstance(generator, np.random.MT19937):
        found = _numpy_state(string_at(generator.ctypes.state_address, _TWISTER_BYTES))
        if not found.state["has_gauss"]:
            return found
    return _read_numpy_state()


_TWISTER_BYTES = (624 + 1) * 4  # its numbers, and which of them comes next


@lru_cache(maxsize=1)
def _numpy_state(memory: bytes) -> _NumpyState:
    return _read_numpy_state()


def _read_numpy_state() -> _NumpyState:
    state: Any = np.random.get_state(legacy=False)
    return _NumpyState(b" ".join(_leaves(state)), state)


def _leaves(value: Any) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _leaves(part)
    else:
        yield value.tobytes() if isinstance(value, np.ndarray) else str(value).encode()


def _set_numpy_random(before: _NumpyState) -> None:
    np.random.set_state(before.state)


def _autocast() -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(device) for device in ("cpu", "cuda"))


def _set_autocast(states: tuple[bool, ...]) -> None:
    for device, enabled in zip(("cpu", "cuda"), states, strict=True):
        torch.set_autocast_enabled(device, enabled)


RANDOM = (
    Setting("torch's global random numbers", _torch_random, _set_torch_random),
    Setting("numpy's global random numbers", _numpy_random, _set_numpy_random),
)
SETTINGS = (
    *OF_IMPORTS,
    Setting("autocast", _autocast, _set_autocast),
    Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting("how numpy treats floating-point errors", np.geterr, lambda how: np.seterr(**how)),
)
