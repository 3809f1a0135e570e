"""Take utterances through a stage: one that fails is kept with its reason, and the next one follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from xbench.data.manifest import Utterance
from xbench.errors import EnvironmentProblem, UtteranceError, XbenchError
from xbench.results import Failure
from xbench.runner.keys import Job
from xbench.runner.progress import Reporter

T = TypeVar("T")


@dataclass
class Walk:
    """Takes utterances through stages and keeps who failed."""

    reporter: Reporter

    def __post_init__(self) -> None:
        self.failures: dict[str, Failure] = {}

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
                try:
                    done[job.utterance.id] = work(job, progress)
                except UtteranceError as problem:
                    self.failures[job.utterance.id] = _failure(job.utterance, problem)
                except MemoryError:
                    raise EnvironmentProblem(
                        f"{job.utterance.id}: out of memory; use a smaller --batch-size"
                    ) from None
                if steps == 1:
                    progress(1)
        return done


def fault(problem: Exception) -> str:
    """Say in one line how a stranger's code failed; raise what is not its fault.

    One broken plugin must not cost the results of the others.
    """
    if isinstance(problem, UtteranceError | EnvironmentProblem | MemoryError):
        raise problem
    named = (
        str(problem) if isinstance(problem, XbenchError) else f"{type(problem).__name__}: {problem}"
    )
    return named.splitlines()[0]


def _failure(utterance: Utterance, problem: UtteranceError) -> Failure:
    # Results are shared: a message may name the file, never the folders of this machine.
    message = str(problem).replace(str(utterance.audio), utterance.audio.name)
    return Failure(utterance.id, problem.reason, message)
