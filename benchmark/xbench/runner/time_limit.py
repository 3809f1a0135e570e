"""A time limit for methods: one that hangs must not cost the results of the others."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from xbench.errors import Unsupported, UsageError
from xbench.spec import Call

_AGAIN = 1.0  # seconds from one alarm to the next, in which a method may tidy up
_PATIENCE = 3  # alarms of that kind; after them they come often
_OFTEN = 2e-4  # seconds from one of these to the next
# What xbench itself calls while it puts back what a method changed: no alarm after the first may interrupt that.
_NOT_A_METHOD = sys.stdlib_module_names | {"torch", "numpy", "transformers", "jaxtyping"}


class _TimeIsUp(BaseException):
    """Raised inside the method; no Exception, since methods may catch those."""


class TimeLimit:
    """Lets each call of a method take so many seconds, and a method that took longer none at all.

    seconds: None for no limit. The limit is an alarm of the operating system, so code outside Python is interrupted
    when it returns. Code that catches everything is interrupted again and again, until one of these meets it outside of
    its `try`.

    Raises:
        UsageError: a limit outside the main thread, or where there are no such alarms (Windows).
    """

    def __init__(self, seconds: float | None = None) -> None:
        main = threading.current_thread() is threading.main_thread()
        if seconds is not None and not (main and hasattr(signal, "SIGALRM")):
            raise UsageError(
                "a time limit of methods works in the main thread and not on Windows; leave it out"
            )
        self._seconds = seconds
        self._exceeded: dict[Call, Unsupported] = {}

    @contextmanager
    def of(self, call: Call, doing: str) -> Iterator[None]:
        """Raise Unsupported inside the context when time is up, and at once when it was up before."""
        if self._seconds is None:
            yield
            return
        if call in self._exceeded:
            raise self._exceeded[call]
        before = signal.signal(signal.SIGALRM, _Alarm())
        signal.setitimer(signal.ITIMER_REAL, self._seconds, _AGAIN)
        try:
            yield
        except _TimeIsUp:
            self._exceeded[call] = Unsupported(
                f"it took longer than the limit of {self._seconds:g} s {doing}"
            )
            raise self._exceeded[call] from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


class _Alarm:
    """Raises where the method is at work, each time that it is called; the first time anywhere."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._calls += 1
        if self._calls == _PATIENCE:
            signal.setitimer(signal.ITIMER_REAL, _OFTEN, _OFTEN)
        if self._calls == 1 or _in_a_method(frame):
            raise _TimeIsUp


def _in_a_method(frame: FrameType | None) -> bool:
    """Say whether any function between here and the last one of xbench is somebody else's."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package == "xbench":
            return False
        if package not in _NOT_A_METHOD:
            return True
        frame = frame.f_back
    return False
