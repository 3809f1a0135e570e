"""Suites: lists of tasks and of other suites."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from xbench.schemas import InvalidFile, Problem, find_problems
from xbench.tasks.finding import Located, locate_name
from xbench.tasks.folders import registered_folders
from xbench.tasks.reading import is_suite, located
from xbench.tasks.rules import unresolved
from xbench.tasks.strict_yaml import Document, display


def suite_problems(document: Document, file: Located) -> list[str]:
    """Return the problems of a suite file, members that nobody knows included."""
    value = document.value
    problems = list(find_problems("suite", value))
    if isinstance(value.get("name"), str) and value["name"] != file.path.stem:
        reason = f"'{value['name']}' must be the name of the file, '{file.path.stem}'"
        problems.append(Problem(("name",), reason))
    members = value.get("tasks")
    for index, member in enumerate(members if isinstance(members, list) else ()):
        if isinstance(member, str):
            problems += unresolved(("tasks", index), partial(_member, member, file))
    return located(document, problems)


def flatten(file: Located, chain: tuple[Path, ...]) -> Iterator[str]:
    """Yield what finds each task below a file, depth first; `chain` is the suites above it."""
    document = file.read()
    if not is_suite(document):
        yield file.reference
        return
    refuse(file, suite_problems(document, file))
    here = (*chain, file.path.resolve())
    for index, name in enumerate(document.value["tasks"]):
        member = _member(name, file)
        if member.path.resolve() in here:
            cycle = " -> ".join(p.stem for p in (*here, member.path))
            problem = Problem(("tasks", index), f"suites contain each other: {cycle}")
            raise InvalidFile(display(file.path), located(document, [problem]))
        yield from flatten(member, here)


def _member(name: str, suite: Located) -> Located:
    own = [] if suite.folder.name else [suite.folder]
    return locate_name(name, [*own, *registered_folders()])


def refuse(file: Located, problems: list[str]) -> None:
    """Raise InvalidFile where there are problems."""
    if problems:
        raise InvalidFile(display(file.path), problems)
