"""Names in a result, which stand in tables, addresses and files: seen whole, and not mistaken for another."""

from __future__ import annotations

from collections.abc import Iterator

from xbench.inputs import visible
from xbench.results import RunResult

LONGEST = 200  # characters


def name_problems(result: RunResult) -> Iterator[str]:
    """Yield names that are blank, too long, or look like another.

    Names of methods, metrics and references are typed on a command line, so they are ASCII: a Cyrillic letter or
    another hyphen would look like the name of a method that somebody else wrote. Models and tasks may have any script.
    """
    for place, name, typed in _names(result):
        if not name.strip():
            yield f"{place}: is blank"
        elif typed and not name.isascii():
            other = next(c for c in name if not c.isascii())
            yield f"{place}: holds U+{ord(other):04X}, and must be ASCII: it would look like another name"
        elif (shown := visible(name)) != name:
            yield f"{place}: holds characters that are not seen: {shown[:LONGEST]}"
        if len(name) > LONGEST:
            yield f"{place}: has {len(name)} characters, more than {LONGEST}"


def _names(result: RunResult) -> Iterator[tuple[str, str, bool]]:
    """Yield place, name, and whether it is one that is typed."""
    yield "task.name", result.task.name, False
    yield "model.name", result.model.name, False
    yield "method.name", result.method.name, True
    yield "task.dataset.name", result.task.dataset.name, False
    for i, score in enumerate(result.scores):
        yield f"scores[{i}].metric", score.metric, True
        if score.reference is not None:
            yield f"scores[{i}].reference", score.reference, True
