"""Task and suite files by name or path, and the index of all of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from xbench import registry
from xbench.errors import UnknownName, UsageError
from xbench.schemas import InvalidFile
from xbench.tasks.folders import Folder, builtin_folder, registered, registered_folders
from xbench.tasks.reading import is_suite, read_merged
from xbench.tasks.strict_yaml import Document, display


@dataclass(frozen=True)
class TaskFile:
    """One task or suite of a registered folder, or what keeps it from being used.

    kind: `broken` for a file or a whole folder that cannot be read. error: why it is broken, or
    that another folder has a file of the same name.
    """

    name: str
    kind: Literal["task", "suite", "broken"]
    folder: str
    path: Path
    title: str
    error: str | None = None


def task_index() -> tuple[TaskFile, ...]:
    """Return every task and suite of every registered folder by name, unusable ones included."""
    files: list[TaskFile] = []
    for entry in registry.task_folders.entries():
        try:
            folder = registered(entry)
        except UsageError as problem:
            files.append(TaskFile(entry.name, "broken", entry.name, Path(), "", str(problem)))
        else:
            files.extend(_describe(path, folder) for path in folder.files())
    files.sort(key=lambda f: (f.name, f.folder))
    return tuple(_mark_collision(file, files) for file in files)


def describe(path_or_name: str | Path) -> TaskFile:
    """Return which task or suite a name or a path stands for; reads its file and no other.

    Raises:
        UnknownName, UsageError: as `load_task`.
    """
    file = locate(path_or_name)
    return _describe(file.path, file.folder)


@dataclass(frozen=True)
class Located:
    """A task or suite file, the folder its includes must stay in, and what finds it again."""

    reference: str
    path: Path
    folder: Folder

    def read(self) -> Document:
        """Return the file over its includes."""
        return read_merged(self.path, self.folder.root, ())


def locate(path_or_name: str | Path) -> Located:
    """Return the file that a name or a path stands for."""
    if isinstance(path_or_name, Path) or path_or_name.endswith(".yaml"):
        return locate_path(Path(path_or_name))
    return locate_name(path_or_name, registered_folders())


def locate_all(path_or_name: str) -> list[Located]:
    """Return the file that a name or a path stands for, or every task below a folder, its suites left out.

    A folder of the name of a registered task is meant only where the name has a `/` in it.
    """
    root = Path(path_or_name)
    if not root.is_dir() or ("/" not in path_or_name and _is_registered(path_or_name)):
        return [locate(path_or_name)]
    found = [locate_path(file) for file in Folder("", root).files()]
    tasks = [file for file in found if not is_suite(file.read())]
    if not tasks:
        raise UsageError(f"{root} holds no task file (.yaml)")
    return tasks


def _is_registered(name: str) -> bool:
    return any(file.stem == name for folder in registered_folders() for file in folder.files())


def locate_path(path: Path) -> Located:
    """Return a file with the registered folder that it lies in, else with its own."""
    real = Path(os.path.realpath(path))  # Path.resolve raises where links go in a circle
    for folder in registered_folders():
        if real.is_relative_to(folder.root.resolve()):
            return Located(str(path), path, folder)
    return Located(str(path), path, Folder("", path.parent))


def locate_name(name: str, folders: list[Folder]) -> Located:
    """Return the one file of this name in these folders; raises UnknownName and UsageError."""
    prefix, _, stem = name.rpartition(":")
    everything = [(file, folder) for folder in folders for file in folder.files()]
    found = [
        (f, folder) for f, folder in everything if f.stem == stem and prefix in ("", folder.name)
    ]
    if not found:
        raise UnknownName("task", name, {file.stem for file, _ in everything})
    ours = builtin_folder()
    if len(found) > 1 and (of_ours := [each for each in found if each[1].root == ours]):
        found = of_ours
    if len(found) > 1:
        files = " and ".join(display(file) for file, _ in found)
        names = sorted({f"'{folder.name}:{stem}'" for _, folder in found if folder.name})
        write = f"; write {' or '.join(names)}" if len(names) > 1 else ""
        raise UsageError(f"task '{name}' has several files: {files}{write}")
    file, folder = found[0]
    return Located(name if folder.name else str(file), file, folder)


def _describe(path: Path, folder: Folder) -> TaskFile:
    try:
        document = read_merged(path, folder.root, ())
    except InvalidFile as error:
        return TaskFile(path.stem, "broken", folder.name, path, "", error.problems[0])
    kind: Literal["task", "suite"] = "suite" if is_suite(document) else "task"
    return TaskFile(path.stem, kind, folder.name, path, str(document.value.get("title", "")))


def _mark_collision(file: TaskFile, files: list[TaskFile]) -> TaskFile:
    others = [display(f.path) for f in files if f.name == file.name and f.path != file.path]
    if not others or file.error:
        return file
    return replace(file, error=f"its name is also that of {', '.join(others)}")
