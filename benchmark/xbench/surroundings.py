"""What a whole process shares, kept as it is while code of others runs in it; imports no torch.

`undisturbed` lends such code streams of its own and compares everything else before and after. What differs is named
and put back: settings of Python, numpy and torch (`process_settings`), functions that were replaced by others, and
threads that still work. `methods.isolation` does the same for the model that is explained, and for random numbers.
"""

from __future__ import annotations

import ctypes
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import (
    contextmanager,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from xbench.errors import XbenchError
from xbench.process_settings import OF_IMPORTS, SETTINGS, Setting, put_back


@contextmanager
def undisturbed(
    *classes: type, importing: bool = False, process: Process | None = None
) -> Iterator[list[str]]:
    """Put back what the block changes of the process and of these classes; at its end the list names what that was.

    importing: the block imports modules, which `methods.isolation` does not look after. process: notes that were taken
    before and still hold.
    """
    process = process or Process.of(*classes, importing=importing)
    filters, path, threads = list(warnings.filters), list(sys.path), threading.enumerate()
    changed: list[str] = []
    pressed: list[bool] = []
    try:
        with _lent_streams(), _ctrl_c(pressed):
            yield changed
    except KeyboardInterrupt:
        if pressed:
            raise
        raise XbenchError(
            "it raised KeyboardInterrupt, though nobody interrupted the run"
        ) from None
    finally:
        warnings.filters[:] = filters  # type: ignore[index]  # put back only: libraries that are imported add theirs
        changed += _stopped(threads)
        changed += process.settings_put_back()
        if not set(path) <= set(sys.path):  # more of it is no change
            sys.path[:] = path
            changed.append("the places where Python finds modules (sys.path)")
        changed += process.functions_put_back()
        if True in pressed:  # also where the block took it for an error of its own
            raise KeyboardInterrupt


@contextmanager
def _ctrl_c(pressed: list[bool]) -> Iterator[None]:
    """Take note of Ctrl-C, which does what it did before; `pressed` gets a first entry where it cannot be seen."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread gets it
        return
    handler = signal.getsignal(signal.SIGINT)
    if handler in (signal.SIG_IGN, signal.SIG_DFL):
        yield
        return
    if not callable(handler):  # one that is not of Python
        pressed.append(False)
        yield
        return

    def noted(number: int, frame: FrameType | None) -> None:
        pressed.append(True)
        handler(number, frame)

    signal.signal(signal.SIGINT, noted)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is noted:  # else the block has changed it, which is told
            signal.signal(signal.SIGINT, handler)


@dataclass(frozen=True)
class Process:
    """What the whole process shares, as it is at one moment: settings, modules and functions.

    modules: those that are watched, by name, None where one is not imported.
    """

    settings: Sequence[Setting]
    held: Sequence[Any]
    modules: Mapping[str, ModuleType | None]
    functions: Sequence[_Functions]

    @classmethod
    def of(cls, *classes: type, importing: bool = False) -> Process:
        """Take notes of it, and of these classes."""
        settings = SETTINGS + OF_IMPORTS if importing else SETTINGS
        modules = {name: sys.modules.get(name) for name in _WATCHED}
        return cls(
            settings,
            [setting.read() for setting in settings],
            modules,
            [
                *(_Functions.of(each, grows=True) for each in modules.values() if each),
                *(_Functions.of(each) for each in (_tensor(), *classes) if each),
            ],
        )

    def settings_put_back(self) -> list[str]:
        """Set every setting that is not what it was, and return their names."""
        return put_back(self.settings, self.held)

    def functions_put_back(self) -> list[str]:
        """Put back every module and function that is another, and return their names."""
        changed = list(_other_modules(self.modules))
        for each in self.functions:
            changed += each.put_back()
        return changed

    def grown(self) -> Process:
        """Return the notes with those of watched modules that were imported since."""
        new = {
            name: found
            for name, held in self.modules.items()
            if held is None and (found := sys.modules.get(name)) is not None
        }
        if not new:
            return self
        functions = [_Functions.of(each, grows=True) for each in new.values()]
        return replace(
            self, modules={**self.modules, **new}, functions=[*self.functions, *functions]
        )


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


# -- functions ------------------------------------------------------------------------------------

_MISSING = object()
# Whose functions everybody calls.
_WATCHED = (
    *("builtins", "math", "time", "datetime", "random", "json"),
    *("numpy", "numpy.random", "numpy.linalg", "numpy.fft"),
    *("torch.autograd", "torch.special", "torch.linalg", "torch.fft", "soundfile", "captum.attr"),
)


def _other_modules(before: Mapping[str, ModuleType | None]) -> Iterator[str]:
    """Put modules back that are others now, and yield their names; one that was imported meanwhile is no change."""
    for name, module in before.items():
        now = sys.modules.get(name)
        if now is module or (module is None and getattr(now, "__spec__", None) is not None):
            continue
        del sys.modules[name]
        if module is not None:
            sys.modules[name] = module
        yield f"the module '{name}'"


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
    innermost = next(_files_of(thread), None)
    return innermost is not None and _is_foreign(innermost)


def end_left(threads: Sequence[threading.Thread]) -> None:
    """End threads that wait within a function that is not of Python's own library, as they would go on later."""
    for thread in threads:
        if isinstance(thread, threading.Timer):
            thread.cancel()
        elif any(map(_is_foreign, _files_of(thread))):
            _end(thread)


def _files_of(thread: threading.Thread) -> Iterator[Path]:
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        yield Path(frame.f_code.co_filename)
        frame = frame.f_back


def _is_foreign(file: Path) -> bool:
    return "site-packages" in file.parts or not file.is_relative_to(_LIBRARY)


def _end(thread: threading.Thread) -> None:
    """Raise SystemExit in a thread, at its next step of Python, and wait a moment for its end."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    )
    thread.join(_PATIENCE)
