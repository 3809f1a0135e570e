"""The JSON schemas of every file people write or read, and problems told in plain words.

The packaged schema is the authority for the structure of a file; this module only words what it
finds. Two things are stricter here than in the standard, because a result must never carry them:
a whole number is an int (not 5.0), and a number is finite.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from xbench.errors import UsageError, nearest

# jsonschema takes longer to import than a list takes to print, and listing checks nothing.
if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

PathPart = str | int
_SHOWN = 20


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a value: where it is (keys and indices from the root) and what it is."""

    path: tuple[PathPart, ...]
    message: str

    def __str__(self) -> str:
        """Return "path: message", or the message alone at the root."""
        return f"{dotted(self.path)}: {self.message}" if self.path else self.message


class InvalidFile(UsageError):
    """A file with problems: the first line counts them, then every problem has its own line.

    `problems` holds all of them; the text stops after 20 so that the first line stays in sight.
    """

    def __init__(self, file: str, problems: Sequence[str]) -> None:
        """Word the problems of `file`."""
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = [f"{file}: {count}", *(f"  {p}" for p in problems[:_SHOWN])]
        if len(problems) > _SHOWN:
            lines.append(f"  and {len(problems) - _SHOWN} more")
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


def schema(name: str) -> dict[str, Any]:
    """Return the packaged schema called `name`, for instance `task`."""
    file = resources.files(__name__) / f"{name}.schema.json"
    loaded: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return loaded


def problems(name: str, value: Any) -> list[str]:
    """Return every problem of `value` under the schema `name`, as "path: message"."""
    return [str(problem) for problem in find_problems(name, value)]


def find_problems(name: str, value: Any, *, partial: bool = False) -> tuple[Problem, ...]:
    """Return every problem of `value`; `partial` lets keys of the outermost mapping be missing."""
    from jsonschema.exceptions import best_match

    found: dict[Problem, None] = {}
    for error in _validator(name, partial).iter_errors(value):
        found.update(dict.fromkeys(_explain(best_match([error]) or error)))
    return tuple(found)


def dotted(path: Iterable[PathPart]) -> str:
    """Write a path as `references.spes-input.p` or `words[2].start`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """Name a value and its type in words, shortened: "the text 'en'", "the number 5", "a list"."""
    match value:
        case None | bool():
            return json.dumps(value)
        case str():
            return f"the text {_short(value)}"
        case int() | float():
            return f"the number {value}"
        case list():
            return "a list"
    return "a mapping"


@functools.cache
def _validator(name: str, partial: bool) -> Any:
    import jsonschema

    definition = schema(name)
    if partial:
        del definition["required"]
    types = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    )
    extend: Any = jsonschema.validators.extend
    return extend(jsonschema.Draft202012Validator, type_checker=types)(definition)


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker: Any, value: Any) -> bool:
    return _is_integer(checker, value) or (isinstance(value, float) and math.isfinite(value))


_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_BOUNDS = {
    "minimum": "must be at least",
    "maximum": "must be at most",
    "exclusiveMinimum": "must be above",
    "exclusiveMaximum": "must be below",
}


def _explain(error: ValidationError) -> Iterator[Problem]:
    path = tuple(error.absolute_path)
    value: Any = error.instance
    rule: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            yield from (Problem((*path, key), text) for key, text in _unknown_keys(error))
        case "required":
            yield from (Problem(path, f"missing key '{key}'") for key in rule if key not in value)
        case "type":
            expected = " or ".join(_TYPES[t] for t in ([rule] if isinstance(rule, str) else rule))
            yield Problem(path, f"expected {expected}, found {shown(value)}")
        case "enum":
            choices = [str(c) for c in rule]
            hint = nearest(value, choices) if isinstance(value, str) else ""
            yield Problem(path, f"expected one of {', '.join(choices)}, found {shown(value)}{hint}")
        case "const":
            yield Problem(path, f"expected '{rule}', found {shown(value)}")
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            yield Problem(path, f"{_BOUNDS[error.validator]} {rule}, found {shown(value)}")
        case "minLength" | "minItems" | "minProperties":
            yield Problem(path, "must not be empty")
        case "uniqueItems":
            twice = next(item for i, item in enumerate(value) if item in value[:i])
            yield Problem(path, f"holds {shown(twice)} twice")
        case "pattern":
            meaning = _definition(error).get("description", f"a text that matches {rule}")
            yield Problem(path, f"{_short(value)} is not {meaning}")
        case _:
            yield Problem(path, error.message)


def _unknown_keys(error: ValidationError) -> Iterator[tuple[str, str]]:
    definition = _definition(error)
    known = definition.get("properties", {})
    patterns = definition.get("patternProperties", {})
    instance: Any = error.instance
    for key in instance:
        if key not in known and not any(re.search(p, key) for p in patterns):
            yield key, f"unknown key '{key}'{nearest(key, known) or '; known: ' + ', '.join(known)}"


def _definition(error: ValidationError) -> dict[str, Any]:
    return error.schema if isinstance(error.schema, dict) else {}


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
