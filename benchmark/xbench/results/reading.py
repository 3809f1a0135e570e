"""Result files read back, whoever wrote them: structure and columns checked, then built as dataclasses."""

from __future__ import annotations

import functools
import types
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
    result = _build(RunResult, data)
    assert isinstance(result, RunResult)
    if found := column_problems(result):
        raise InvalidFile(file, found)
    return result


def load_results(*paths: str | Path) -> list[RunResult]:
    """Read result files, and all result files below folders, in the order of their paths."""
    return [read_result(file) for path in map(Path, paths) for file in files_below(path, ".json")]


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _build(kind: Any, data: Any) -> Any:
    """Build nested dataclasses from plain data that the schema has already accepted."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        return kind(**{k: _build(hints[k], v) for k, v in data.items() if k in hints})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        plain = [a for a in arguments if a is not type(None)]
        return data if data is None or len(plain) > 1 else _build(plain[0], data)
    if origin is list and arguments[0] is not Any:
        return [_build(arguments[0], item) for item in data]
    if origin is dict:
        return {key: _build(arguments[1], item) for key, item in data.items()}
    return data
