"""The error tree: every message is one line that says what, where and what to do.

    XbenchError
    ├── UsageError            2   bad usage or input: a name, a file, a key, a value
    │   └── UnknownName       2   a name nobody registered (carries the nearest ones)
    ├── Unsupported           1   this method cannot explain this model; in a run a result, and the others go on
    ├── UtteranceError        1   this utterance cannot be used; the others go on
    ├── Disturbed             3   a plugin changed what all share after its call; a run does the work again
    └── EnvironmentProblem    3   the machine: no network, no memory, no disk, a missing package

The number is the exit code of the command line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class XbenchError(Exception):
    """Anything xbench can explain to the user in one line."""

    exit_code = 3


class UsageError(XbenchError):
    """Bad usage or input; the message names the file, line or key and what to do."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that is not registered; the message offers the nearest known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(
            f"unknown {kind} '{name}'{nearest(name, known)}; see `xbench list {kind}s`"
        )


class Unsupported(XbenchError):
    """A method that this model, utterance set or precision cannot support."""

    exit_code = 1


class UtteranceError(XbenchError):
    """One utterance that is refused: `reason` is a short slug that results count."""

    exit_code = 1

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Disturbed(XbenchError):
    """A plugin changed something after its call: what was computed meanwhile is void and has to be done again."""


class EnvironmentProblem(XbenchError):
    """The machine lacks something: network, memory, disk, a package."""

    exit_code = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the closest known names, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f", did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


_BROKEN = "error return without exception set"


def interpreter_failed(problem: BaseException) -> bool:
    """Say whether Python itself broke, and not the code that it ran: no line after that can be trusted.

    Where Python 3.11 has no memory for a call, it raises this SystemError, and has by then counted the uses of the
    called function wrong: a later call runs another function in its place, or the process crashes. From 3.12 on it
    raises MemoryError, after which all goes on.
    """
    return isinstance(problem, SystemError) and message(problem) == _BROKEN


_LONGEST = 300  # characters of a message by somebody else's code


def message(problem: BaseException) -> str:
    """Return what an error says, in what files take; an empty text where its own code to say that fails."""
    try:
        # A file name that is no UTF-8 stands in a text as halves of pairs, which no file takes.
        return str(problem).strip().encode("utf-8", "backslashreplace").decode("utf-8")
    except Exception:  # noqa: BLE001  # somebody else's exception may fail in any way
        return ""


def in_one_line(problem: BaseException) -> str:
    """Return kind and first line of an error that somebody else's code raised, of a length that can be read."""
    lines = message(problem).splitlines() or [""]
    return f"{type(problem).__name__}: {lines[0]}"[:_LONGEST].rstrip(": ")
