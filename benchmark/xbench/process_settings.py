"""Settings that a whole process shares, of Python and torch: how each is read, compared and set; imports no torch.

SETTINGS: those of the process. OF_IMPORTS: those of torch that `methods.isolation` looks after around each call of a
method, and `surroundings` around imports.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from operator import attrgetter
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One thing that the whole process shares: how to read it, as something that can be compared, and to set it."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _of_torch(
    name: str, fresh: Any, read: Callable[[Any], Any], write: Callable[..., Any]
) -> Setting:
    """Return a setting of torch; fresh: what it is where torch is not imported yet."""

    def reading() -> Any:
        torch = sys.modules.get("torch")
        return fresh if torch is None else read(torch)

    return Setting(name, reading, lambda value: write(sys.modules["torch"], value))


_KERNELS = ("flash", "mem_efficient", "math", "cudnn")  # of attention
_DISPATCH = "torch.utils._python_dispatch"
_SMALLEST = sys.float_info.min  # of the numbers that are not denormal


def _kernels(torch: Any) -> tuple[bool, ...]:
    cuda = torch.backends.cuda
    return (
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.math_sdp_enabled(),
        cuda.cudnn_sdp_enabled(),
    )


def _set_kernels(torch: Any, enabled: Sequence[bool]) -> None:
    for kernel, value in zip(_KERNELS, enabled, strict=True):
        getattr(torch.backends.cuda, f"enable_{kernel}_sdp")(value)


# Windows has none.
_CLOCKS = [
    getattr(signal, name)
    for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
    if hasattr(signal, name)
]


def _alarms() -> tuple[bool, ...]:
    """Return which clocks of the process will ring."""
    return tuple(signal.getitimer(clock)[0] > 0 for clock in _CLOCKS)


def _set_alarms(pending: Sequence[bool]) -> None:
    for clock, rings in zip(_CLOCKS, pending, strict=True):
        if not rings:  # one that was there and rang cannot be set again
            signal.setitimer(clock, 0)


@dataclass(frozen=True, eq=False)
class _Replaced:
    """Operations of torch whose kernels were replaced from Python; None where torch is not imported yet."""

    names: frozenset[str] | None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Replaced):
            return False
        return None in (self.names, other.names) or self.names == other.names


def _replaced() -> _Replaced:
    if "torch" not in sys.modules:
        return _Replaced(None)
    # Reading the names takes half a millisecond, counting them nothing.
    return _replaced_among(len(_replacements()))


@lru_cache(maxsize=2)
def _replaced_among(count: int) -> _Replaced:
    """Return those among so many; torch itself adds what says shapes only (Meta), whenever its modules are imported."""
    return _Replaced(
        frozenset(n for n in _replacements() if n[:5] == "aten/" and n[-5:] != "/Meta")
    )


def _replacements() -> Collection[str]:
    """Return torch's own list of what was replaced; nothing where a version of torch keeps none."""
    return getattr(sys.modules["torch"].library, "_impls", frozenset())


def _set_replaced(held: _Replaced) -> None:
    """Destroy what holds other kernels; what was lost cannot be brought back."""
    kept = held.names or frozenset()
    own = sys.modules["torch"].library.Library
    for each in gc.get_objects():
        if type(each) is own:
            replaced = {n for n in each._op_impls if n[:5] == "aten/" and n[-5:] != "/Meta"}
            if replaced - kept:
                each._destroy()


SETTINGS = (
    Setting("Python's limit of recursion", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting(
        "whether Python collects garbage",
        gc.isenabled,
        lambda enabled: gc.enable() if enabled else gc.disable(),
    ),
    Setting(
        "what happens on Ctrl-C",
        lambda: signal.getsignal(signal.SIGINT),
        lambda handler: signal.signal(signal.SIGINT, handler),
    ),
    Setting("the alarm of the process", _alarms, _set_alarms),
    Setting("what traces Python's calls (sys.settrace)", sys.gettrace, sys.settrace),
    Setting("what times Python's calls (sys.setprofile)", sys.getprofile, sys.setprofile),
    Setting(
        "whether numbers near zero become zero (flush denormal)",
        lambda: _SMALLEST / 2 == 0,
        lambda flushed: import_module("torch").set_flush_denormal(flushed),
    ),
    Setting("the kernels of torch's operations (torch.library)", _replaced, _set_replaced),
    _of_torch("torch's kernels of attention", (True,) * 4, _kernels, _set_kernels),
    _of_torch(
        "whether torch uses oneDNN",
        True,
        lambda torch: torch.backends.mkldnn.enabled,
        lambda torch, enabled: setattr(torch.backends.mkldnn, "enabled", enabled),
    ),
    _of_torch(
        "whether torch looks for anomalies in gradients",
        False,
        lambda torch: torch.is_anomaly_enabled(),
        lambda torch, enabled: torch.autograd.set_detect_anomaly(enabled),
    ),
)


def _modes(torch: Any) -> tuple[Any, ...]:
    """Return the modes that are begun, through which all calls of torch go; the one of a default device apart."""
    stack = torch.overrides._get_current_function_mode_stack()
    return tuple(mode for mode in stack if type(mode).__name__ != "DeviceContext")


def _set_modes(torch: Any, held: Sequence[Any]) -> None:
    while (now := _modes(torch)) != held[: len(now)]:
        torch.overrides._pop_mode()
    for mode in held[len(now) :]:
        torch.overrides._push_mode(mode)


def _dispatched(torch: Any) -> tuple[Any, ...]:
    return tuple(import_module(_DISPATCH)._get_current_dispatch_mode_stack())


def _set_dispatched(torch: Any, held: Sequence[Any]) -> None:
    own = import_module(_DISPATCH)
    while (now := _dispatched(torch)) != held[: len(now)]:
        own._pop_mode()
    for mode in held[len(now) :]:
        own._push_mode(mode)


def _saved(torch: Any) -> Any:
    """Return what is done with tensors that are kept for gradients, as two functions; None for nothing."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False)


def _set_saved(torch: Any, held: Any) -> None:
    own = torch._C._autograd
    while (now := _saved(torch)) is not None and now != held:
        own._pop_saved_tensors_default_hooks()
    if now != held:
        own._push_saved_tensors_default_hooks(*held)


# Where torch says in which precision products of float32 are computed; what lies within another takes its value over.
_PRODUCTS = (
    *("", "cuda.matmul", "cudnn", "cudnn.conv", "cudnn.rnn"),
    *("mkldnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn"),
)


@dataclass(frozen=True, eq=False)
class _Products:
    """The precision by its older name, None where torch refuses that, and by its newer names; these may be unknown."""

    older: str | None
    newer: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Products) or self.older != other.older:
            return False
        return not self.newer or not other.newer or self.newer == other.newer


def _products(torch: Any) -> _Products:
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer names were used, and say something else
        older = None
    if not hasattr(torch.backends, "fp32_precision"):
        return _Products(older)
    return _Products(older, tuple(place.fp32_precision for place in _places()))


def _set_products(torch: Any, held: _Products) -> None:
    if held.older is not None:
        torch.set_float32_matmul_precision(held.older)
    for place, value in zip(_places(), held.newer, strict=False):
        if place.fp32_precision != value:
            place.fp32_precision = value


@cache
def _places() -> tuple[Any, ...]:
    backends = sys.modules["torch"].backends
    return tuple(attrgetter(name)(backends) if name else backends for name in _PRODUCTS)


# What `methods.isolation` looks after around each call of a method; here around imports, also before torch is imported.
OF_IMPORTS = (
    Setting("the working directory", os.getcwd, os.chdir),
    # Before the others, which ask torch.
    _of_torch("the modes through which calls of torch go", (), _modes, _set_modes),
    _of_torch("the modes that see torch's operations", (), _dispatched, _set_dispatched),
    _of_torch("what torch does with tensors that it keeps for gradients", None, _saved, _set_saved),
    _of_torch(
        "torch's default dtype",
        "torch.float32",
        lambda torch: str(torch.get_default_dtype()),
        lambda torch, name: torch.set_default_dtype(getattr(torch, name.removeprefix("torch."))),
    ),
    _of_torch(
        "the gradient mode",
        True,
        lambda torch: torch.is_grad_enabled(),
        lambda torch, enabled: torch.set_grad_enabled(enabled),
    ),
    _of_torch(
        "torch's default device",
        "cpu",
        # An empty tensor tells it ten times as fast as `get_default_device`.
        lambda torch: str(torch.empty(0).device),
        # None rather than "cpu": with any device set, torch looks at each call whether it makes a tensor.
        lambda torch, device: torch.set_default_device(None if device == "cpu" else device),
    ),
    _of_torch(
        "whether torch uses deterministic algorithms only",
        False,
        lambda torch: torch.are_deterministic_algorithms_enabled(),
        lambda torch, enabled: torch.use_deterministic_algorithms(enabled),
    ),
    _of_torch(
        "the precision of torch's float32 products",
        _Products("highest"),
        _products,
        _set_products,
    ),
)


def put_back(settings: Sequence[Setting], held: Sequence[Any]) -> list[str]:
    """Set every setting that is not what it was, and return their names.

    One that cannot be read any more, or not be set, is told like the others, which are put back all the same.
    """
    changed = []
    for setting, value in zip(settings, held, strict=True):
        try:
            same = setting.read() == value
        except Exception:  # noqa: BLE001  # whatever was done to it, the next ones have to be put back
            same = False
        if not same:
            changed.append(setting.name)
            with suppress(Exception):
                setting.write(value)
    return changed
