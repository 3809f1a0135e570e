"""Result files read back, whoever wrote them: structure and columns checked, then built as dataclasses."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from xbench.inputs import RESULT_BYTES, files_below, read_json
from xbench.results.columns import column_problems
from xbench.results.result import RunResult
from xbench.schemas import InvalidFile, problems
from xbench.schemas.quick import accepts


def read_result(path: Path) -> RunResult:
    """Read and check one result file; raises UsageError with every problem in it.

    Checked is what each field and column holds, not whether they agree: that is `xbench.claims`.
    """
    return parse_result(read_json(path, RESULT_BYTES), str(path))


def parse_result(data: Any, file: str) -> RunResult:
    """Build a result from plain data that a file held; raises InvalidFile with every problem in it."""
    if not accepts("result")(data) and (found := problems("result", data)):
        raise InvalidFile(file, found)
    build = _builder(RunResult)
    assert build is not None
    result: RunResult = build(data)
    try:
        found = column_problems(result)
    except RecursionError:
        found = ["utterances: a column is nested too deeply"]
    if found:
        raise InvalidFile(file, found)
    return result


def load_results(*paths: str | Path) -> list[RunResult]:
    """Read result files, and all result files below folders, in the order of their paths."""
    return [read_result(file) for path in map(Path, paths) for file in files_below(path, ".json")]


Build = Callable[[Any], Any]


@functools.cache
def _builder(kind: Any) -> Build | None:
    """Return the function from plain data, which the schema has accepted, to this type.

    None where the data stay as they are, as most of a file does: columns of numbers. Made once per type.
    """
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return _dataclass_builder(kind, {f.name: _builder(hints[f.name]) for f in fields(kind)})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        plain = [a for a in arguments if a is not type(None)]
        inner = _builder(plain[0]) if len(plain) == 1 else None
        return None if inner is None else _of_optional(inner)
    if origin is list:
        inner = _builder(arguments[0])
        return None if inner is None else _of_list(inner)
    if origin is dict:
        inner = _builder(arguments[1])
        return None if inner is None else _of_mapping(inner)
    return None


def _of_optional(build: Build) -> Build:
    return lambda data: None if data is None else build(data)


def _of_list(build: Build) -> Build:
    return lambda data: [build(item) for item in data]


def _of_mapping(build: Build) -> Build:
    return lambda data: {key: build(item) for key, item in data.items()}


def _dataclass_builder(kind: type, builders: Mapping[str, Build | None]) -> Build:
    def build(data: Any) -> Any:
        given = {}
        for name, value in data.items():
            if name in builders:
                inner = builders[name]
                given[name] = value if inner is None else inner(value)
        return kind(**given)

    return build
