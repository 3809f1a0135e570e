"""A time limit for methods: one that hangs must not cost the results of the others."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from xbench.errors import Unsupported, UsageError
from xbench.spec import Call


class _TimeIsUp(BaseException):
    """Raised inside the method; no Exception, since methods may catch those."""


class TimeLimit:
    """Lets each call of a method take so many seconds, and a method that took longer none at all.

    seconds: None for no limit. The limit is an alarm of the operating system, so code outside Python is interrupted
    when it returns.

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
        before = signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
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


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TimeIsUp
