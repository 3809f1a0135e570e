"""What a whole process shares, kept as it is while code of others runs in it; imports no torch.

`undisturbed` lends such code streams of its own and compares everything else before and after. What differs is named
and put back: settings of Python, numpy and torch, functions that were replaced by others, and threads that still work.
`methods.isolation` does the same for the model that is explained, and for random numbers.
"""

from __future__ import annotations

import ctypes
import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from xbench.errors import Unsupported


@contextmanager
def left_alone(limit: AbstractContextManager[None], *classes: type) -> Iterator[None]:
    """Raise Unsupported where the block changes anything of the process or of these classes; all is put back.

    limit: of the time that the block may take; it must not interrupt the putting back.
    """
    with undisturbed(*classes) as changed, limit:
        yield
    if changed:
        raise Unsupported(
            f"it changed {changed[0]}, which all methods share; a method must leave it as it was"
        )


@contextmanager
def undisturbed(*classes: type, importing: bool = False) -> Iterator[list[str]]:
    """Put back what the block changes of the process and of these classes; at its end the list names what that was.

    importing: the block imports modules, which `methods.isolation` does not look after.
    """
    settings = SETTINGS + OF_IMPORTS if importing else SETTINGS
    held = [setting.read() for setting in settings]
    filters, path, threads = list(warnings.filters), list(sys.path), threading.enumerate()
    functions = [
        *(_Functions.of(each, grows=True) for each in map(sys.modules.get, _WATCHED) if each),
        *(_Functions.of(each) for each in (_tensor(), *classes) if each),
    ]
    changed: list[str] = []
    try:
        with _lent_streams():
            yield changed
    finally:
        warnings.filters[:] = filters  # type: ignore[index]  # put back only: libraries that are imported add theirs
        changed += _stopped(threads)
        changed += put_back(settings, held)
        if not set(path) <= set(sys.path):  # more of it is no change
            sys.path[:] = path
            changed.append("the places where Python finds modules (sys.path)")
        for each in functions:
            changed += each.put_back()


# -- streams --------------------------------------------------------------------------------------


class _Lent(io.TextIOBase):
    """A stream that can be written to like the one it stands for, and be closed without closing that one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if self._stream is None else self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def fileno(self) -> int:
        return super().fileno() if self._stream is None else self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()


@contextmanager
def _lent_streams() -> Iterator[None]:
    """Let all that is printed go to standard error, since programs read the output, and both survive being closed."""
    copies = {number: _copy(number) for number in (1, 2)}
    lent = _Lent(sys.stderr)
    try:
        if None not in copies.values():
            # What other languages and other processes print does not come through Python.
            os.dup2(2, 1)
        with redirect_stdout(lent), redirect_stderr(lent):
            yield
    finally:
        for number, copy in copies.items():
            if copy is not None:
                os.dup2(copy, number)
                os.close(copy)


def _copy(number: int) -> int | None:
    try:
        return os.dup(number)
    except OSError:  # it was closed when the process began
        return None


# -- settings -------------------------------------------------------------------------------------


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


def _alarms() -> tuple[bool, ...]:
    """Return which clocks of the process will ring."""
    if not hasattr(signal, "getitimer"):
        return ()
    clocks = signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF
    return tuple(signal.getitimer(clock)[0] > 0 for clock in clocks)


def _set_alarms(pending: Sequence[bool]) -> None:
    for clock, rings in enumerate(pending):
        if not rings:  # one that was there and rang cannot be set again
            signal.setitimer(clock, 0)


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
    return _Products(older, tuple(_place(torch, name).fp32_precision for name in _PRODUCTS))


def _set_products(torch: Any, held: _Products) -> None:
    if held.older is not None:
        torch.set_float32_matmul_precision(held.older)
    for name, value in zip(_PRODUCTS, held.newer, strict=False):
        if _place(torch, name).fp32_precision != value:
            _place(torch, name).fp32_precision = value


def _place(torch: Any, name: str) -> Any:
    found = torch.backends
    for part in filter(None, name.split(".")):
        found = getattr(found, part)
    return found


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


# -- functions ------------------------------------------------------------------------------------

_MISSING = object()
# Whose functions everybody calls.
_WATCHED = (
    *("builtins", "math", "time", "random", "json", "numpy", "numpy.random", "torch.autograd"),
    *("soundfile", "captum.attr"),
)


def _tensor() -> type | None:
    torch = sys.modules.get("torch")
    return None if torch is None else torch.Tensor


@dataclass(frozen=True)
class _Functions:
    """The attributes of a module or class, of which functions must stay; grows: more of them are no change."""

    owner: Any
    held: Mapping[str, Any]
    grows: bool

    @classmethod
    def of(cls, owner: Any, *, grows: bool = False) -> _Functions:
        """Take notes of them."""
        return cls(owner, vars(owner).copy(), grows)

    def put_back(self) -> Iterator[str]:
        """Undo what was done since, and yield the names of it."""
        now = vars(self.owner)
        if self._same(now):
            return
        for name in [*self.held, *(() if self.grows else [n for n in now if n not in self.held])]:
            before, after = self.held.get(name, _MISSING), now.get(name, _MISSING)
            if before is after or not (_is_function(before) or _is_function(after)):
                continue
            yield f"'{name}' of {self.owner.__name__}"
            if before is _MISSING:
                delattr(self.owner, name)
            else:
                setattr(self.owner, name, before)

    def _same(self, now: Mapping[str, Any]) -> bool:
        """Say whether nothing differs: what is the same object is the same, so this takes microseconds."""
        try:
            return list(now.values()) == list(self.held.values())
        except (RuntimeError, ValueError):  # tensors and arrays refuse to be compared as a whole
            return False


def _is_function(value: Any) -> bool:
    return callable(value) or isinstance(value, property | classmethod | staticmethod)


# -- threads --------------------------------------------------------------------------------------

_LIBRARY = Path(threading.__file__).parent  # of Python itself
_PATIENCE = 1.0  # seconds in which a thread must end that is told to


def _stopped(before: Sequence[threading.Thread]) -> Iterator[str]:
    """End every thread that was not there before and is still at work, and yield what is told of it.

    A thread that waits within Python's own library does no harm: pools keep such threads, and progress bars do. A timer
    waits there too, to do something later.
    """
    if threading.active_count() <= len(before):
        return
    for thread in threading.enumerate():
        if thread in before:
            continue
        if isinstance(thread, threading.Timer):
            thread.cancel()
            yield "the threads of the process (a timer was still to ring)"
        elif _is_at_work(thread):
            _end(thread)
            yield f"the threads of the process ('{thread.name}' was still at work)"


def _is_at_work(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return False
    file = Path(frame.f_code.co_filename)
    return "site-packages" in file.parts or not file.is_relative_to(_LIBRARY)


def _end(thread: threading.Thread) -> None:
    """Raise SystemExit in a thread, at its next step of Python, and wait a moment for its end."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    )
    thread.join(_PATIENCE)
