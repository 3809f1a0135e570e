"""What a task leaves behind once its utterances went through all stages: the input of a result file."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from xbench.data.manifest import Utterance
from xbench.fitting import Fitted
from xbench.results import Failure
from xbench.runner.compare import Scored
from xbench.runner.keys import Decoded
from xbench.runner.plan import Method, TaskPlan
from xbench.spec import Call


@dataclass(frozen=True)
class Outcome:
    """One utterance that was scored; `unsupported` are the methods that cannot explain it, with the reason."""

    utterance: Utterance
    decoded: Decoded
    scored: Scored
    unsupported: Mapping[Call, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What other processes found out and the store does not hold: who failed, and which methods cannot.

    failures: per task and utterance. unsupported: per task and utterance, methods with the reason.
    """

    failures: Mapping[str, Mapping[str, Failure]] = field(default_factory=dict)
    unsupported: Mapping[str, Mapping[str, Mapping[Call, str]]] = field(default_factory=dict)

    def of(self, task: str, utterance: str) -> Mapping[Call, str]:
        """Return the methods that one utterance found unsupported."""
        return self.unsupported.get(task, {}).get(utterance, {})


NOTHING = Known()


@dataclass(frozen=True)
class TaskOutcome:
    """Everything one task produced: scored utterances, failures, unsupported methods with the reason."""

    plan: TaskPlan
    outcomes: Sequence[Outcome]
    failures: Sequence[Failure]
    unsupported: Mapping[Call, str]
    fitted: Mapping[Call, Fitted]
    floor: Method
    started: datetime
    peak_memory_bytes: int | None


def first_reasons(outcomes: Iterable[Outcome]) -> dict[Call, str]:
    """Return the methods that some utterance found unsupported, with the reason of the first of them."""
    found: dict[Call, str] = {}
    for outcome in outcomes:
        found = {**outcome.unsupported, **found}
    return found


def peak_memory_bytes(device: str) -> int:
    """Return the peak memory of the accelerator, or of this process since it started."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
