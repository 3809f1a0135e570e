"""Take utterances through a stage: one that fails is kept with its reason, and the next one follows.

An utterance for which memory runs out fails like any other: a long clip must not cost the results of the short
ones. Where a method runs out of memory the utterance fails for all methods, since they are compared on the same
utterances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch

from xbench.data.manifest import Utterance
from xbench.errors import (
    Disturbed,
    EnvironmentProblem,
    UtteranceError,
    XbenchError,
    in_one_line,
    interpreter_failed,
    message,
)
from xbench.hiding.batching import out_of_memory
from xbench.models.device import lost
from xbench.results import Failure
from xbench.runner.keys import Job
from xbench.runner.progress import Reporter

T = TypeVar("T")


@dataclass
class Walk:
    """Takes utterances through stages and keeps who failed, by id; who has failed is not taken further."""

    reporter: Reporter
    failures: dict[str, Failure] = field(default_factory=dict)

    def each(
        self,
        title: str,
        jobs: Sequence[Job],
        work: Callable[[Job, Callable[[int], None]], T],
        steps: int = 1,
    ) -> dict[str, T]:
        """Apply `work` to every job; an UtteranceError is kept and the next utterance follows."""
        done: dict[str, T] = {}
        with self.reporter.stage(title, steps * len(jobs)) as progress:
            for job in jobs:
                id_ = job.utterance.id
                if id_ not in self.failures:
                    found = attempt(title, job.utterance, partial(work, job, progress))
                    if isinstance(found, Failure):
                        self.failures[id_] = found
                    else:
                        done[id_] = found
                if steps == 1:
                    progress(1)
        return done


def attempt(title: str, utterance: Utterance, work: Callable[[], T]) -> T | Failure:
    """Do some work on one utterance; one that fails, or for which memory runs out, comes back as its failure."""
    try:
        return work()
    except UtteranceError as problem:
        failure = _failure(utterance, problem)
    except (MemoryError, RuntimeError, OSError, ImportError) as problem:
        if lost(problem):
            raise gone(problem) from None
        if not out_of_memory(problem):
            raise
        failure = _failure(utterance, exhausted(title))
    # Outside `except`, where the traceback no longer holds the tensors of the failed stage.
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return failure


def _failure(utterance: Utterance, problem: UtteranceError) -> Failure:
    # Results are shared: a message may name the file, never the folders of this machine.
    message = str(problem).replace(str(utterance.audio), utterance.audio.name)
    return Failure(utterance.id, problem.reason, message)


def exhausted(who: str) -> UtteranceError:
    """Return the failure of an utterance for which memory ran out."""
    return UtteranceError(
        "out-of-memory",
        f"{who} ran out of memory; use a smaller --batch-size, a smaller model or a shorter clip",
    )


def gone(problem: BaseException) -> EnvironmentProblem:
    """Return what ends a run whose accelerator no longer answers."""
    return EnvironmentProblem(
        f"the GPU no longer answers ({str(problem).splitlines()[0]}); what was computed is stored: run the same "
        "command again, and it goes on where it stopped"
    )


def fault(problem: BaseException, ours: bool = False) -> str:
    """Say in one line how code failed; raise what is not its fault.

    One broken plugin must not cost the results of the others: what of ours ends an utterance or the run (`ours`) ends
    the work of a stranger only.
    """
    ends = (UtteranceError, EnvironmentProblem) if ours else ()
    if isinstance(problem, (KeyboardInterrupt, Disturbed, *ends)) or interpreter_failed(problem):
        raise problem
    if lost(problem):
        raise gone(problem) from None
    if isinstance(problem, Exception) and out_of_memory(problem):
        return "it ran out of memory"
    return message(problem) if isinstance(problem, XbenchError) else in_one_line(problem)
