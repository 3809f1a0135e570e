"""Names in a result, which stand in tables, addresses and files: never blank, and short enough to be read."""

from __future__ import annotations

from collections.abc import Iterator

from xbench.results import RunResult

LONGEST = 200  # characters


def name_problems(result: RunResult) -> Iterator[str]:
    """Yield names that are blank or too long."""
    for place, name in _names(result):
        if not name.strip():
            yield f"{place}: is blank"
        if len(name) > LONGEST:
            yield f"{place}: has {len(name)} characters, more than {LONGEST}"


def _names(result: RunResult) -> Iterator[tuple[str, str]]:
    yield "task.name", result.task.name
    yield "model.name", result.model.name
    yield "method.name", result.method.name
    yield "task.dataset.name", result.task.dataset.name
    for i, score in enumerate(result.scores):
        yield f"scores[{i}].metric", score.metric
        if score.reference is not None:
            yield f"scores[{i}].reference", score.reference
