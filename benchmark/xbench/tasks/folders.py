"""Registered folders of task files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xbench import registry
from xbench.description import TaskFolder
from xbench.errors import UsageError

BUILTIN = TaskFolder(
    name="builtin",
    version="1",
    summary="The tasks that xbench comes with.",
    source="tasks/",
    implementation="xbench.tasks:builtin_folder",
)


def builtin_folder() -> Path:
    """Return the task folder packed into the wheel, or else the checkout's `tasks/`."""
    packed = Path(__file__).parents[1] / "_tasks"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "tasks"


@dataclass(frozen=True)
class Folder:
    """A folder of task files; `name` is empty for one that no plugin registered."""

    name: str
    root: Path

    def files(self) -> list[Path]:
        """Return its tasks and suites, without fragments."""
        return [f for f in sorted(self.root.rglob("*.yaml")) if not f.name.startswith("_")]


def registered_folders() -> list[Folder]:
    """Return the folders that load; a broken one is told by `task_index` only."""
    folders = []
    for entry in registry.task_folders.entries():
        try:
            folders.append(registered(entry))
        except UsageError:
            continue
    return folders


def registered(entry: registry.Entry[TaskFolder]) -> Folder:
    """Return the folder that an entry point registers; UsageError says why there is none."""
    description = registry.task_folders.get(f"{entry.distribution}:{entry.name}")
    try:
        root = description.load()()
    except Exception as problem:  # a stranger's plugin may fail in any way; the index says how
        raise UsageError(
            f"task folder '{entry.name}': {type(problem).__name__}: {problem}"
        ) from problem
    if not isinstance(root, Path) or not root.is_dir():
        raise UsageError(f"task folder '{entry.name}': {root} is not a folder")
    return Folder(entry.name, root)
