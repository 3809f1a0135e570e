"""Which result files are the same run, and whether they say the same of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from xbench.site.text import digest

_SAME = 1e-5  # float32 over other batch sizes

_DECIDING = (
    *("version", "kind", "target_language", "preset", "split", "scoring", "decoding", "floor"),
)


def comparable(data: Mapping[str, Any]) -> str:
    """Return a hash of what of a task determines scores, so that those of one board can be compared.

    The hash of the task itself also covers its title and the metrics that a run was given beside those of the task:
    they change no score.
    """
    task = data["task"]
    references = sorted([r["name"], r["version"], r["params"]] for r in data["references"])
    deciding = [task[name] for name in _DECIDING]
    quality = [data["quality"]["metric"], task["dataset"]["revision"]]
    return digest(json.dumps([deciding, quality, references], sort_keys=True), 32)


def identity(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what makes two result files the same run: task, clips, model, method, references, seed.

    The spec_hash and the dates are no part of it: whoever writes a file chooses them freely.
    """
    return (data["task"]["name"], data["task"]["hash"], *_of_run(data))


def measured(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what determines the value of every cell: the identity, whatever other metrics the task was given."""
    return (data["task"]["name"], comparable(data), *_of_run(data))


def _of_run(data: Mapping[str, Any]) -> tuple[str, ...]:
    task, model, method = data["task"], data["model"], data["method"]
    fitted = method["fitted"] and [method["fitted"]["split"], method["fitted"]["n"]]
    references = sorted([r["name"], r["version"], r["params"]] for r in data["references"])
    facts = [method["params"], fitted, task["selection"], references]
    return (
        task["dataset"]["fingerprint"],
        *(model["name"], model["revision"], model["precision"]),
        *(method["name"], method["version"]),
        *(json.dumps(fact, sort_keys=True) for fact in facts),
        str(data["provenance"]["seed"]),
    )


def contradict(files: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether files of which `measured` is the same state different values, beyond the rounding of machines.

    Files of one identity must agree in everything. Others hold the columns of other metrics, and other clips may have
    failed in them; they must agree in every cell that several of them hold.
    """
    first_of: dict[tuple[str, ...], Mapping[str, Any]] = {}
    cells: dict[tuple[str, str], Any] = {}
    for data in files:
        first = first_of.setdefault(identity(data), data)
        if first is not data and not agree(_values(first), _values(data)):
            return True
        for name, column in data["utterances"].items() if first is data else ():
            for id_, value in zip(data["utterances"]["id"], column, strict=True):
                if name != "map_hash" and not agree(cells.setdefault((name, id_), value), value):
                    return True
    return False


def _values(data: Mapping[str, Any]) -> list[Any]:
    """Return what two files of one run must agree in; hashes of maps and what was chosen for speed may differ."""
    columns = {name: c for name, c in data["utterances"].items() if name != "map_hash"}
    scores = [{name: v for name, v in s.items() if name != "computation"} for s in data["scores"]]
    passes = (data["cost"]["forward_passes"], data["cost"]["backward_passes"])
    return [data["status"], scores, columns, data["failures"], *passes]


def agree(one: Any, other: Any) -> bool:
    """Say whether nested values are equal but for the rounding of another machine."""
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=_SAME, abs_tol=_SAME)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(agree, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(agree(v, other[k]) for k, v in one.items())
    return bool(one == other)
