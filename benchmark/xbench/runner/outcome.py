"""What a task leaves behind once its utterances went through all stages: the input of a result file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from xbench.data.manifest import Utterance
from xbench.fitting import Fitted
from xbench.results import Failure
from xbench.runner.keys import Decoded
from xbench.runner.plan import Method, TaskPlan
from xbench.runner.stages import Scored
from xbench.spec import Call


@dataclass(frozen=True)
class Outcome:
    """One utterance that was scored."""

    utterance: Utterance
    decoded: Decoded
    scored: Scored


@dataclass(frozen=True)
class TaskOutcome:
    """Everything one task produced: scored utterances, failures, unsupported methods."""

    plan: TaskPlan
    outcomes: Sequence[Outcome]
    failures: Sequence[Failure]
    unsupported: Mapping[Call, str]
    fitted: Mapping[Call, Fitted]
    floor: Method
    started: datetime
    peak_memory_bytes: int | None
