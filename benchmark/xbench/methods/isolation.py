"""Run a method that is not ours so that it can do no harm to the others: they share its model, trace and process.

The method is lent a case of its own: the trace holds only what it asked for, in tensors that share memory until
somebody writes into them (copy on write), so nothing that it writes reaches the others. Everything else is compared
after it with what it was: the networks (`models.kept_state`), the model's own attributes, and the settings of the
process below. A method that changed any of it is `Unsupported`, and all is put back, also after an exception.
"""

from __future__ import annotations

import contextlib
import copy
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, fields, is_dataclass, replace
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from xbench.case import Case
from xbench.description import MethodDescription
from xbench.errors import Unsupported
from xbench.fitting import Fitted
from xbench.methods.compute import compute_map
from xbench.models.kept_state import Keeper, networks
from xbench.models.metered import MeteredModel
from xbench.models.protocol import ModelInfo, SpeechModel
from xbench.spec import Call
from xbench.trace import SOURCES, Trace

_PLAIN = (int, float, str, bool, type(None))  # what nobody can write into


def isolated_map(
    description: MethodDescription,
    call: Call,
    case: Case,
    fitted: Fitted | None,
    keeper: Keeper,
    limit: contextlib.AbstractContextManager[None],
) -> Float32[np.ndarray, "token *cells"]:
    """Return what `compute_map` returns, of a case of its own; raises Unsupported where the method changed anything.

    limit: of the time that the method may take; it must not interrupt the putting back.
    """
    with unchanged(case.model, keeper), limit:
        return compute_map(description, call, lent(case, description.needs), fitted)


# -- what is lent ---------------------------------------------------------------------------------


def lent(case: Case, needs: Set[str]) -> Case:
    """Return the case as one method may have it: with a model wrapper and a trace that no other method is given."""
    model = case.model
    return replace(
        case,
        model=model.beside(model.measured) if isinstance(model, MeteredModel) else model,
        features=unshared(case.features),
        trace=None if case.trace is None else unshared(_only(case.trace, needs)),
        partner=None if case.partner is None else lent(case.partner, needs),
    )


def _only(trace: Trace, needs: Set[str]) -> Trace:
    """Leave out what was captured for other methods."""

    def attention(stack: str) -> Tensor | None:
        found: Tensor | None = getattr(trace, f"{stack}_attention")
        return found if f"{stack}-attention" in needs else None

    source = SOURCES if "source-projections" in needs else frozenset()
    return replace(
        trace,
        decoder_attention=attention("decoder"),
        encoder_attention=attention("encoder"),
        blocks={
            k: v for k, v in trace.blocks.items() if f"{k}-projections" in needs or k in source
        },
    )


def unshared(value: Any) -> Any:
    """Return data whose tensors, those of networks apart, can be written to without changing the ones given."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Tensor):
        return value if isinstance(value, nn.Parameter) else torch._lazy_clone(value)
    if isinstance(value, Mapping):
        return {key: unshared(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(unshared, value)) if type(value) is tuple else value
    if is_dataclass(value) and not isinstance(value, type):
        twin = copy.copy(value)  # not `replace`, which would check data again that were checked
        for field in fields(value):
            object.__setattr__(twin, field.name, unshared(getattr(value, field.name)))
        return twin
    return value


# -- what must stay as it was ---------------------------------------------------------------------


@contextlib.contextmanager
def unchanged(model: SpeechModel, keeper: Keeper) -> Iterator[None]:
    """Put back what the block changes of a model and of the process, and raise Unsupported if it changed anything."""
    measured = model.measured if isinstance(model, MeteredModel) else model
    attributes = _watched(measured)
    kept = networks(model)
    for network in kept.values():
        keeper.keep(network)
    # Leaving this context also ends an inference mode that the block has begun.
    # What it prints must not get into output that programs read.
    with (
        torch.inference_mode(torch.is_inference_mode_enabled()),
        contextlib.redirect_stdout(sys.stderr),
    ):
        settings, drawn = [setting.read() for setting in SETTINGS], random.getstate()
        try:
            yield
        finally:
            changed = _put_back(settings)
            random.setstate(drawn)  # no map depends on them, and type checkers draw from them
            changed = changed or _put_back_attributes(measured, attributes)
            for network in kept.values():
                if (of_network := keeper.change(network)) is not None:
                    changed = changed or of_network
                    keeper.put_back(network)
    if changed:
        raise Unsupported(
            f"it changed {changed}, which all methods share; a method must leave it as it was"
        )


def _watched(model: SpeechModel) -> dict[str, Any]:
    """Return the attributes by which a model object does its work: what it keeps count of is its own affair."""
    parts = (nn.Module, ModelInfo, FunctionType, MethodType)
    return {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, parts) or hasattr(type(model), name)
    }


def _put_back_attributes(model: SpeechModel, before: Mapping[str, Any]) -> str | None:
    now = _watched(model)
    names = [n for n in {**before, **now} if before.get(n, model) is not now.get(n, model)]
    for name in names:
        del vars(model)[name]
    vars(model).update({name: before[name] for name in names if name in before})
    return f"'{names[0]}' of the model" if names else None


@dataclass(frozen=True)
class _Setting:
    """One thing that the whole process shares: how to read it, as something that can be compared, and to set it."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _put_back(before: list[Any]) -> str | None:
    """Set every setting that differs; return the name of the first that did."""
    changed = None
    for setting, value in zip(SETTINGS, before, strict=True):
        if setting.read() != value:
            changed = changed or setting.name
            setting.write(value)
    return changed


def _torch_random() -> tuple[bytes, ...]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states += torch.cuda.get_rng_state_all()
    return tuple(state.numpy().tobytes() for state in states)


def _set_torch_random(states: tuple[bytes, ...]) -> None:
    first, *devices = (torch.frombuffer(bytearray(s), dtype=torch.uint8) for s in states)
    torch.set_rng_state(first)
    for number, state in enumerate(devices):
        torch.cuda.set_rng_state(state, number)


def _numpy_random() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return (name, np.asarray(keys).tobytes(), *rest)


def _set_numpy_random(state: tuple[Any, ...]) -> None:
    name, keys, *rest = state
    np.random.set_state((name, np.frombuffer(keys, dtype=np.uint32), *rest))


def _autocast() -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(device) for device in ("cpu", "cuda"))


def _set_autocast(states: tuple[bool, ...]) -> None:
    for device, enabled in zip(("cpu", "cuda"), states, strict=True):
        torch.set_autocast_enabled(device, enabled)


SETTINGS = (
    _Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    # None rather than the device before: with any device set, torch looks at each call whether it makes a tensor.
    _Setting(
        "torch's default device",
        lambda: str(torch.get_default_device()),
        lambda name: torch.set_default_device(None if name == "cpu" else name),
    ),
    _Setting("the gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
    _Setting("autocast", _autocast, _set_autocast),
    _Setting("torch's global random numbers", _torch_random, _set_torch_random),
    _Setting("numpy's global random numbers", _numpy_random, _set_numpy_random),
    _Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    _Setting(
        "whether torch uses deterministic algorithms only",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    _Setting(
        "the precision of torch's float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    _Setting("how numpy treats floating-point errors", np.geterr, lambda how: np.seterr(**how)),
    _Setting("the working directory", os.getcwd, os.chdir),
)
