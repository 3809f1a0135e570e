"""Where a process is asked to work for a run: pieces of work, what the process needs for them, and what it answers.

A piece of work is one utterance in one stage. Whatever it makes goes into the store, which all processes share; what
goes back is only whether it worked. So a process that dies costs nothing but the piece it was working on. Whoever asks
needs none of what computes, which takes seconds to import: a process imports it at its first question.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from xbench.description import load_object
from xbench.errors import EnvironmentProblem, UsageError, XbenchError
from xbench.models.loading import Location
from xbench.results import Failure
from xbench.runner.local_file import is_in_file
from xbench.runner.plan import Plan
from xbench.runner.progress import Silent
from xbench.spec import LOCAL, Call, ExecutionOptions
from xbench.store import default_folder

_WORKER = "xbench.runner.worker:Worker"  # by name: whoever only asks does not import it

Stage = Literal["decode", "reference", "fit", "explain"]


@dataclass(frozen=True)
class Work:
    """One utterance of one task in one stage.

    dev: whether it is one of those to select on. Of stage `fit` the whole task is one piece of work; `id` is empty.
    """

    stage: Stage
    task: str
    id: str
    dev: bool = False

    @property
    def title(self) -> str:
        """The stage as a progress bar and a failure name it."""
        stage = (
            "score" if self.stage == "explain" else self.stage
        )  # which a run in one process does in one
        return f"{self.task}: {'to select on: ' if self.dev else ''}{stage}"


@dataclass(frozen=True)
class Told:
    """How a piece of work went: its failure, and the methods that turned out unsupported, with the reason."""

    work: Work
    failure: Failure | None = None
    unsupported: Mapping[Call, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """All that a process needs to work for a run.

    plan: without methods, whose functions need not be picklable; they are found again by name. folder: from which
    relative paths start. command: the command line of the run, for the results. threads: of the CPU (None: as torch
    likes). gpus: which of this machine's the process sees (None: what it sees already).
    """

    plan: Plan
    options: ExecutionOptions
    folder: str
    command: tuple[str, ...]
    threads: int | None = None
    gpus: str | None = None


def order_for(plan: Plan, options: ExecutionOptions) -> Order:
    """Return the order of a run; raises UsageError for what other processes cannot be given."""
    if not isinstance(plan.model, Location):
        raise UsageError("several workers load the model themselves: give its name or folder")
    for method, call in zip(plan.methods, plan.spec.methods, strict=True):
        if method.distribution == LOCAL and not is_in_file(call.name):
            raise UsageError(
                f"'{call.name}' is a function of this session, which other processes do not have; "
                "put it into a file and give FILE.py:NAME, or use one local worker"
            )
    if options.fresh:
        raise UsageError(
            "--fresh goes with one local worker; `xbench cache clear --method NAME` throws away what is stored"
        )
    cache = options.cache or default_folder()
    places = replace(
        options, output=str(Path(options.output).absolute()), cache=str(Path(cache).absolute())
    )
    return Order(replace(plan, methods=()), places, str(Path.cwd()), tuple(sys.argv))


class Notes(Silent):
    """A reporter that keeps notes for whoever asked for the work."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        """Keep the message."""
        self.notes.append(message)


@dataclass(frozen=True)
class Answer:
    """What a process answers: a value, notes for the user, and a problem in words where there was one.

    Problems travel as the name of their class and their text, since not every exception can be sent.
    """

    value: Any = None
    notes: tuple[str, ...] = ()
    problem: tuple[str, str] | None = None

    def get(self) -> Any:
        """Return the value; raises the problem."""
        if self.problem is None:
            return self.value
        kind, message = self.problem
        raise _PROBLEMS.get(kind, RuntimeError)(message)


_PROBLEMS: Mapping[str, type[Exception]] = {
    each.__name__: each for each in (UsageError, EnvironmentProblem, XbenchError)
}


class Desk:
    """Where a process is asked: it makes its `Worker` at the first question."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._notes = Notes()

    @cached_property
    def _worker(self) -> Any:
        return load_object(_WORKER).of(self._order, self._notes)

    def answer(self, question: str, *arguments: Any) -> Answer:
        """Return what a method of the worker returns; `start` only loads the model."""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("default", UserWarning)
            try:
                worker, value = self._worker, None
                if question != "start":
                    value = getattr(worker, question)(*arguments)
                problem = None
            except XbenchError as found:
                kinds = (kind for kind in type(found).__mro__ if kind.__name__ in _PROBLEMS)
                value, problem = None, (next(kinds).__name__, str(found))
            except Exception:  # noqa: BLE001  # whoever asked has to know, in whatever process it runs
                value, problem = None, ("bug", traceback.format_exc())
        notes = [*self._notes.notes, *(str(w.message) for w in warned if _is_ours(w))]
        self._notes.notes.clear()
        return Answer(value, tuple(notes), problem)


def _is_ours(warned: warnings.WarningMessage) -> bool:
    return issubclass(warned.category, UserWarning)
