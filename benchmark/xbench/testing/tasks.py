"""The contract of a task, as checks that run on any registered task or task file.

file       it holds what a task must and nothing else, read over its includes: what `xbench validate` tells
floor      under each of its presets the floor is a control: a map that knows nothing of the model
clips      its dataset has clips in the languages that it names, with a translation where it needs one
dev        so has the split that methods may learn from, where it names one

A dataset that is not on this machine, or comes with --data, is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xbench import registry
from xbench.data.datasets import utterances_for
from xbench.errors import EnvironmentProblem, UsageError
from xbench.spec import FROM_USER, Selection, TaskSpec
from xbench.tasks import describe, load_presets, validate_task_file
from xbench.testing.battery import Battery, Broken, CheckResult, NotApplicable


def check_task(
    task: str | Path, *, expected_failures: Mapping[str, str] | None = None
) -> list[CheckResult]:
    """Run the whole battery; never raises for what the task does.

    task: a registered name, or the path of a task file. expected_failures: check to reason.
    Raises UsageError for an unknown task or check, and for a suite, which is a list of tasks.
    """
    found = describe(task)
    if found.kind == "suite":
        raise UsageError(f"'{task}' is a suite; check its tasks: `xbench show task {task}`")
    return BATTERY.run(_Subject(task, found.path), expected_failures)


@dataclass(frozen=True)
class _Subject:
    """A task by the name or path it was given, and its file."""

    name: str | Path
    path: Path

    @cached_property
    def presets(self) -> dict[str, TaskSpec]:
        """The task under each of its presets, its own default first."""
        return load_presets(self.name)

    @property
    def task(self) -> TaskSpec:
        """The task as it is by default."""
        return next(iter(self.presets.values()))


def _file(subject: _Subject) -> None:
    if found := validate_task_file(subject.path):
        raise Broken(found[0])


def _floor(subject: _Subject) -> None:
    for name, task in subject.presets.items():
        kind = registry.methods.get(task.floor.name).kind
        if kind != "control":
            raise Broken(
                f"preset '{name}': the floor '{task.floor}' is a method of kind '{kind}', not a control"
            )


def _clips(subject: _Subject) -> None:
    _need_clips(subject.task, subject.task.dataset.split)


def _dev(subject: _Subject) -> None:
    dataset = subject.task.dataset
    if dataset.dev_split is None:
        raise NotApplicable("it names no split that methods may learn from")
    _need_clips(subject.task, dataset.dev_split)


def _need_clips(task: TaskSpec, split: str) -> None:
    if task.dataset.name == FROM_USER:
        raise NotApplicable("its clips are given with --data")
    try:
        utterances_for(task, None, Selection(), split, hashed=None)
    except EnvironmentProblem as problem:
        raise NotApplicable(str(problem)) from None


BATTERY: Battery[_Subject] = Battery(
    {"file": _file, "floor": _floor, "clips": _clips, "dev": _dev},
    decisive={"file": "the file is broken"},
)
