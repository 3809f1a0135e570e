"""Committed submissions as they would be, had they been made under the versions of today."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.claims import examine
from xbench.results import parse_result

_STATED = re.compile(r"(\S+): .*, but the utterance columns give (.+)$")


def of_today(file: Path, target: Path) -> Path:
    """Write a copy of a result whose versions, and what follows from its columns, are those of today."""
    data = json.loads(file.read_text("utf-8"))
    for reference in data["references"]:
        reference["version"] = registry.references.get(reference["name"]).version
    for score in data["scores"]:
        score["metric_version"] = registry.metrics.get(score["metric"]).version
    for problem in examine(parse_result(data, str(file))).problems:
        found = _STATED.match(problem)
        assert found is not None, problem
        _put(data, found[1], json.loads(found[2].replace("'", '"')))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(data))
    return target


def _put(data: Any, place: str, value: Any) -> None:
    *parts, last = re.sub(r"\[(\d+)\]", r".\1", place).split(".")
    for part in parts:
        data = data[int(part)] if isinstance(data, list) else data[part]
    data[last] = value
