"""Tasks and suites from their files: loaded, or refused with every problem told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xbench.errors import UsageError
from xbench.schemas import InvalidFile, find_problems
from xbench.spec import TaskSpec
from xbench.tasks.building import build
from xbench.tasks.finding import locate, locate_all, locate_path
from xbench.tasks.reading import is_suite, located
from xbench.tasks.rules import task_problems
from xbench.tasks.strict_yaml import Document, Place
from xbench.tasks.suites import flatten, refuse, suite_problems


def load_task(path_or_name: str | Path, preset: str | None = None) -> TaskSpec:
    """Return one task with its includes merged and a preset laid over it (None: its own default).

    Raises:
        UnknownName: no registered folder has a task of that name.
        InvalidFile: the file has problems; all of them are told.
        UsageError: the name is a suite's or in several folders, or the preset is unknown.
    """
    document = _sound(path_or_name)
    return build(document, preset or document.value["preset"])


def load_presets(path_or_name: str | Path) -> dict[str, TaskSpec]:
    """Return one task under each of its presets, by their names, its own default first.

    Raises:
        UnknownName, InvalidFile, UsageError: as `load_task`.
    """
    document = _sound(path_or_name)
    names = dict.fromkeys((document.value["preset"], *document.value["presets"]))
    return {name: build(document, name) for name in names}


def _sound(path_or_name: str | Path) -> Document:
    """Return the merged document of a task in which no problem was found."""
    file = locate(path_or_name)
    document = file.read()
    if is_suite(document):
        raise UsageError(f"'{path_or_name}' is a suite, not a task")
    refuse(file, task_problems(document, file.path))
    return document


def load_suite(path_or_name: str | Path) -> tuple[str, ...]:
    """Return the tasks of a suite, nested suites included, in order and without repetition.

    Tasks are returned by name, those of a folder that no plugin registered by path.

    Raises:
        InvalidFile: the suite, or one within it, has problems.
        UsageError: the suite contains itself, or the name is a task's.
    """
    file = locate(path_or_name)
    if not is_suite(file.read()):
        raise UsageError(f"'{path_or_name}' is a task, not a suite")
    return tuple(dict.fromkeys(flatten(file, ())))


def resolve_tasks(names: Iterable[str], preset: str | None = None) -> tuple[TaskSpec, ...]:
    """Return the tasks that names of tasks or suites, or paths of their files or folders, stand for.

    The order is kept and repetitions are dropped.

    Raises:
        UsageError: as `load_task` and `load_suite`, or two different tasks share a name.
    """
    files = [file for name in names for file in locate_all(name)]
    references = [reference for file in files for reference in flatten(file, ())]
    tasks = {task.hash: task for task in (load_task(r, preset) for r in dict.fromkeys(references))}
    by_name: dict[str, TaskSpec] = {}
    for task in tasks.values():
        if by_name.setdefault(task.name, task) is not task:
            raise UsageError(f"two different tasks are called '{task.name}'; rename one of them")
    return tuple(tasks.values())


def validate_task_file(path: Path) -> list[str]:
    """Return every problem of a task, suite or fragment file, as `file:line: path: reason`."""
    file = locate_path(path)
    try:
        document = file.read()
        if path.name.startswith("_"):
            return located(document, find_problems("task", document.value, partial=True))
        if not is_suite(document):
            return task_problems(document, path)
        if problems := suite_problems(document, file):
            return problems
        list(flatten(file, ()))
    except InvalidFile as error:
        return list(error.problems)
    except UsageError as error:
        return [f"{Place(path, 1)}: {error}"]
    return []
