"""Task and suite files: found by name, read strictly, checked as a whole, turned into TaskSpecs.

A file that starts with `_` is a fragment for `include`; every other `*.yaml` file of a task folder
is a task or a suite, named like the file. Problems of a file are reported together, each with its
line; nothing of a broken file is used.
"""

from xbench.tasks.building import in_order
from xbench.tasks.cost import clip_seconds, passes
from xbench.tasks.finding import TaskFile, describe, task_index
from xbench.tasks.folders import BUILTIN, builtin_folder
from xbench.tasks.loading import (
    load_presets,
    load_suite,
    load_task,
    resolve_tasks,
    validate_task_file,
)
from xbench.tasks.reading import SUITE

__all__ = [
    "BUILTIN",
    "SUITE",
    "TaskFile",
    "builtin_folder",
    "clip_seconds",
    "describe",
    "in_order",
    "load_presets",
    "load_suite",
    "load_task",
    "passes",
    "resolve_tasks",
    "task_index",
    "validate_task_file",
]
