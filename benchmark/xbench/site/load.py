"""Read strangers' result files: what is broken is told and left out, never guessed at."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from xbench.claims import Findings, examine_all
from xbench.claims.standing import obstacles
from xbench.claims.together import Shared, disagreements, shared
from xbench.errors import UsageError
from xbench.inputs import RESULT_BYTES, files_below, parse_json, read_plain
from xbench.results import RunResult, parse_result
from xbench.results.checked import FILE, SELF_REPORTED, Check, read_checks, strongest
from xbench.schemas import InvalidFile
from xbench.site.identity import contradict, identity, measured
from xbench.site.side_by_side import in_shares
from xbench.site.text import harmless, readable

MOST_SCORES = 1000
_TOGETHER = 256  # files that are held in memory twice while they are examined


@dataclass(frozen=True)
class Result:
    """One accepted result file: its name below the given folder, its SHA-256, its content.

    outdated, unchecked: what the examination says of it (`xbench.claims`). local: what of it others do not have.
    checked: what others found (`results.checked`), as its label.
    """

    file: str
    sha256: str
    data: Mapping[str, Any]
    outdated: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    checked: str = SELF_REPORTED


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

    known: SHA-256 of files that an earlier build found right by the same examination.
    Raises UsageError when a path does not exist.
    """
    checked, refused = _checks(paths)
    files = _files(paths)
    found = in_shares(partial(_read, known=known), files, _TOGETHER)
    refused += [each for each in found if isinstance(each, Refusal)]
    sound = [each for each in found if isinstance(each, _Sound)]
    agreed, contradicted = _held_together(sound)
    accepted = [replace(r, checked=checked.get(r.sha256, SELF_REPORTED)) for r in agreed]
    unique, repeated = _without_repetitions(accepted)
    order = sorted((*refused, *contradicted, *repeated), key=lambda r: (r.file, r.reason))
    return unique, tuple(order)


def _checks(paths: Sequence[Path]) -> tuple[dict[str, str], list[Refusal]]:
    """Return how results were checked, by the SHA-256 of their files; a list that is broken is refused."""
    checks: list[Check] = []
    refused: list[Refusal] = []
    for path in paths:
        if path.is_dir() and os.path.lexists(path / FILE):
            try:
                checks += read_checks(path / FILE)
            except UsageError as problem:
                refused.append(Refusal(FILE, _reason(problem, path / FILE)))
    return {result: check.label for result, check in strongest(checks).items()}, refused


def _files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the files among and below the paths with the names by which they are told, each file once."""
    found: dict[str, tuple[str, Path]] = {}
    for path in paths:
        if not os.path.lexists(path):
            raise UsageError(f"{path}: there is no such file or folder")
        for file in files_below(path, ".json"):
            name = path.name if file == path else file.relative_to(path).as_posix()
            found.setdefault(os.path.realpath(file), (readable(name, 400), file))
    return sorted(found.values())


@dataclass(frozen=True)
class _Parsed:
    """A file whose structure is sound: its name, its hash, its content made harmless to look at, and as a result."""

    file: str
    path: Path
    sha256: str
    data: Mapping[str, Any]
    result: RunResult


@dataclass(frozen=True)
class _Sound:
    """A result that is valid by itself, and what it has in common with others of its run."""

    result: Result
    path: Path
    shared: Shared


def _held_together(sound: Sequence[_Sound]) -> tuple[list[Result], list[Refusal]]:
    """Hold results of one run against each other; return those that no others contradict, and the refused ones."""
    often = Counter(each.result.file for each in sound)
    named = {
        f"{r.file} ({r.sha256[:8]})" if often[r.file] > 1 else r.file: each
        for each in sound
        for r in [each.result]
    }
    against = disagreements({name: each.shared for name, each in named.items()})
    refused = [
        Refusal(file, _reason(InvalidFile(file, against[name]), each.path))
        for name, each in named.items()
        for file in [each.result.file]
        if name in against
    ]
    return [each.result for name, each in named.items() if name not in against], refused


def _read(files: Sequence[tuple[str, Path]], known: frozenset[str]) -> list[_Sound | Refusal]:
    groups = (files[start : start + _TOGETHER] for start in range(0, len(files), _TOGETHER))
    return [each for group in groups for each in _read_together(group, known)]


def _read_together(
    files: Sequence[tuple[str, Path]], known: frozenset[str]
) -> Iterator[_Sound | Refusal]:
    """Yield what each file gives; results on the same clips are examined together, in less time."""
    parsed: list[_Parsed | Refusal] = []
    for file, path in files:
        try:
            parsed.append(_parse(file, path))
        except Exception as problem:  # noqa: BLE001  # the file is a stranger's; the reason is told
            parsed.append(Refusal(file, _reason(problem, path)))
    findings = _findings([each for each in parsed if isinstance(each, _Parsed)], known)
    for each in parsed:
        if isinstance(each, Refusal):
            yield each
            continue
        try:
            # Where the examination of all failed, one of them is the cause: by itself, it alone is refused.
            result = _examined(each, findings.get(each.sha256) or _examine([each], known)[0])
            yield _Sound(result, each.path, shared(each.result))
        except Exception as problem:  # noqa: BLE001  # as above
            yield Refusal(each.file, _reason(problem, each.path))


def _findings(files: Sequence[_Parsed], known: frozenset[str]) -> dict[str, Findings]:
    try:
        found = _examine(files, known)
    except Exception:  # noqa: BLE001  # whose it is, the examination of each will tell
        return {}
    return {each.sha256: findings for each, findings in zip(files, found, strict=True)}


def _examine(files: Sequence[_Parsed], known: frozenset[str]) -> list[Findings]:
    return examine_all([each.result for each in files], [each.sha256 in known for each in files])


def _parse(file: str, path: Path) -> _Parsed:
    content = read_plain(path, RESULT_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        data = parse_json(content)
        shown = harmless(data)
    except ValueError as problem:
        raise UsageError(f"not valid JSON: {problem}") from None
    result = parse_result(data, path.name)
    if len(result.scores) > MOST_SCORES:
        raise UsageError(f"scores: more than {MOST_SCORES}")
    return _Parsed(file, path, sha256, shown, result)


def _examined(parsed: _Parsed, findings: Findings) -> Result:
    """Return a result with what the examination says of it; raises InvalidFile where that finds a false claim."""
    if findings.problems:
        raise InvalidFile(parsed.path.name, findings.problems)
    outdated, unchecked = (
        tuple(readable(line, 400) for line in lines)
        for lines in (findings.outdated, findings.unchecked)
    )
    local = tuple(readable(o.what) for o in obstacles(parsed.result, findings) if o.kind == "local")
    return Result(parsed.file, parsed.sha256, parsed.data, outdated, unchecked, local)


def _reason(problem: Exception, path: Path) -> str:
    """Say in one line why a file is left out; its name stands before it."""
    if isinstance(problem, InvalidFile):
        first, *others = problem.problems
        more = f" (and {len(others)} more problems)" if others else ""
        return readable(first, 400) + more
    if not isinstance(problem, UsageError):  # nothing that a file holds may end the build
        return readable(f"cannot be used: {type(problem).__name__}: {problem}", 400)
    return readable(str(problem).removeprefix(f"{path}: "), 400)


def _without_repetitions(
    results: Iterable[Result],
) -> tuple[tuple[Result, ...], tuple[Refusal, ...]]:
    """Keep one of the files that state the same run with the same values, and none where the values differ.

    Which of two different files is true, neither its date nor its name can say: a person has to look.
    """
    same: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        same.setdefault(measured(result.data), []).append(result)
    kept: list[Result] = []
    left_out: list[Refusal] = []
    for _, files in sorted(same.items()):
        # An order that does not depend on how the files are called.
        files.sort(key=lambda r: (r.sha256, r.file))
        if len(files) > 1 and contradict([file.data for file in files]):
            names = ", ".join(file.file for file in files)
            reason = f"states the same run as others but different values, so none is kept: {names}"
            left_out += [Refusal(file.file, readable(reason, 400)) for file in files]
            continue
        first_of: dict[tuple[str, ...], Result] = {}
        for file in files:
            first = first_of.setdefault(identity(file.data), file)
            if first is not file:
                reason = f"the same run as {first.file}, which is kept"
                left_out.append(Refusal(file.file, reason))
        kept += first_of.values()
    return tuple(kept), tuple(left_out)
