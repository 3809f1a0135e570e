"""Which methods are run on a task: those that were asked for and its floor, less those that the model cannot."""

from __future__ import annotations

from collections.abc import Sequence

from xbench.errors import Unsupported
from xbench.methods.compute import check_supported
from xbench.models.protocol import ModelInfo
from xbench.runner.plan import Method
from xbench.spec import Call, TaskSpec


def with_floor(methods: Sequence[Method], task: TaskSpec) -> tuple[Method, ...]:
    """Return the methods and the floor of a task, each once."""
    return tuple({m.call: m for m in (*methods, Method.registered(task.floor))}.values())


def unsupported_by(methods: Sequence[Method], info: ModelInfo) -> dict[Call, str]:
    """Return the methods that ask for what a model does not have, with the reason."""
    found = {}
    for method in methods:
        try:
            check_supported(method.description, info)
        except Unsupported as problem:
            found[method.call] = str(problem)
    return found
