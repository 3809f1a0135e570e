"""Read strangers' result files: what is broken is told and left out, never guessed at."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.errors import UsageError
from xbench.schemas import problems
from xbench.site.quick_check import accepts
from xbench.site.text import harmless, readable

LARGEST_FILE = 32 * 1024 * 1024
MOST_SCORES = 1000
MOST_UTTERANCES = 1_000_000


@dataclass(frozen=True)
class Result:
    """One accepted result file: its name below the given folder, its SHA-256, its content."""

    file: str
    sha256: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Refusal:
    """One file that was left out, and why."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


def read_results(
    paths: Sequence[Path], known: frozenset[str] = frozenset()
) -> tuple[tuple[Result, ...], tuple[Refusal, ...]]:
    """Read the result files among and below `paths`; return the sound ones and the refused ones.

    known: SHA-256 of files that an earlier build found valid under the same schema.
    Raises UsageError when a path does not exist.
    """
    accepted: list[Result] = []
    refused: list[Refusal] = []
    for file, path in _files(paths):
        try:
            accepted.append(_read(file, path, known))
        except ValueError as problem:
            refused.append(Refusal(file, str(problem)))
    unique, repeated = _without_repetitions(accepted)
    order = sorted((*refused, *repeated), key=lambda r: (r.file, r.reason))
    return unique, tuple(order)


def _files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    found: dict[Path, str] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder")
        if path.is_dir():
            for file in path.rglob("*.json"):
                found.setdefault(file.resolve(), readable(file.relative_to(path).as_posix(), 400))
        else:
            found.setdefault(path.resolve(), readable(path.name, 400))
    return sorted((name, path) for path, name in found.items())


def _read(file: str, path: Path, known: frozenset[str]) -> Result:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ValueError(f"{size / 1e6:.0f} MB is more than {LARGEST_FILE / 1e6:.0f} MB")
        content = path.read_bytes()
    except OSError as problem:
        raise ValueError(problem.strerror or "cannot be read") from None
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        data = json.loads(content.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_once)
        data = harmless(data)
    except RecursionError:
        raise ValueError("not valid: nested too deep") from None
    except ValueError as problem:
        raise ValueError(f"not valid JSON: {readable(str(problem))}") from None
    if sha256 not in known:
        _check(data)
    return Result(file, sha256, data)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not allowed; a missing value is null with a reason")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice in one mapping")
    return made


def _check(data: Any) -> None:
    found = [] if accepts("result")(data) else problems("result", data)
    if found:
        more = f" (and {len(found) - 1} more problems)" if len(found) > 1 else ""
        raise ValueError(readable(found[0], 400) + more)
    if len(data["scores"]) > MOST_SCORES:
        raise ValueError(f"scores: more than {MOST_SCORES}")
    names = [(s["metric"], s["reference"]) for s in data["scores"]]
    if len(set(names)) != len(names):
        raise ValueError("scores: a metric and reference stand twice")
    lengths = {len(column) for column in data["utterances"].values()}
    if len(lengths) > 1 or max(lengths, default=0) > MOST_UTTERANCES:
        raise ValueError("utterances: columns differ in length or are too long")
    for name, column in data["utterances"].items():
        if not all(map(math.isfinite, [x for x in column if type(x) is float])):
            raise ValueError(f"utterances.{name}: holds a number that is not finite")
    ids = data["utterances"]["id"]
    if not all(isinstance(x, str) for x in (*ids, *data["utterances"]["cluster"])):
        raise ValueError("utterances: an id or cluster is not a text")
    if len(set(ids)) != len(ids):
        raise ValueError("utterances.id: an utterance stands twice")


def identity(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what makes two result files the same run: task, clips, model, method, seed."""
    task, model, method = data["task"], data["model"], data["method"]
    params = json.dumps(method["params"], sort_keys=True)
    return (
        *(task["name"], task["hash"], task["dataset"]["fingerprint"]),
        *(model["name"], model["revision"], model["precision"]),
        *(method["name"], method["version"], params),
        *(data["provenance"]["spec_hash"], str(data["provenance"]["seed"])),
    )


def _without_repetitions(
    results: Iterable[Result],
) -> tuple[tuple[Result, ...], tuple[Refusal, ...]]:
    """Keep the newest of the files that state the same run."""
    kept: dict[tuple[str, ...], Result] = {}
    repeated = []
    newest_first = sorted(
        results, key=lambda r: (r.data["provenance"]["finished"], r.sha256, r.file), reverse=True
    )
    for result in newest_first:
        first = kept.setdefault(identity(result.data), result)
        if first is not result:
            repeated.append(Refusal(result.file, f"the same run as {first.file}, which is kept"))
    # An order that does not depend on how the files are called.
    in_order = sorted(kept.items(), key=lambda item: (item[0], item[1].sha256))
    return tuple(result for _, result in in_order), tuple(repeated)
