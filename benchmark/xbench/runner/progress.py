"""How the runner tells of its progress; the command line draws it, tests and notebooks need not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Reporter(Protocol):
    """Receives stages and notes."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a stage of `total` steps; the context gives a function that reports steps done."""

    def note(self, message: str) -> None:
        """Tell the user one line that is not a result."""

    def at_work(self, who: str) -> AbstractContextManager[None]:
        """Know who is at work within the context, to tell it when that takes long."""


class Silent:
    """A reporter that says nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Open a stage nobody watches."""
        yield lambda steps: None

    def note(self, message: str) -> None:
        """Drop the message."""

    @contextmanager
    def at_work(self, who: str) -> Iterator[None]:
        """Watch nobody."""
        yield


SILENT = Silent()
