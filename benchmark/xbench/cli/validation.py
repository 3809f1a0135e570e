"""What `xbench validate` tells of files: problems, and what is allowed but worth knowing (no torch)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xbench import tasks
from xbench.bundle import FILE, read_bundle
from xbench.claims import examine
from xbench.claims.standing import obstacles
from xbench.claims.together import Shared, disagreements, shared
from xbench.data.audio import check_audio
from xbench.data.foreign import ONE_OBJECT, whole_file
from xbench.data.manifest import Manifest, probable_misspellings, read_manifest
from xbench.errors import UsageError, UtteranceError, XbenchError
from xbench.inputs import files_below, open_plain
from xbench.results import read_result
from xbench.schemas import InvalidFile
from xbench.spec import Selection

SHOWN = 20  # problems of one file that are told; a file of another tool has thousands


@dataclass(frozen=True)
class Told:
    """What is told of one file.

    problems: why it is not valid. warnings: what is allowed but probably not meant. notes: what a valid result is
    of which the reader should know; many files share them. shared: what a valid result has in common with others.
    """

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shared: Shared | None = None


def all_files(paths: Sequence[Path]) -> list[Path]:
    """Return the paths themselves, and the task, manifest and result files below those that are folders."""
    found = []
    for path in paths:
        below = files_below(path, *_CHECKS)
        if not below:
            raise UsageError(f"{path} holds no .yaml task, .jsonl manifest or .json result")
        found += below
    return found


def check_files(paths: Sequence[Path]) -> list[Told]:
    """Check each file, and hold results that are valid by themselves against each other."""
    told = [check_file(path) for path in paths]
    valid = zip(paths, told, strict=True)
    found = disagreements({str(path): each.shared for path, each in valid if each.shared})
    return [
        replace(each, problems=(*each.problems, *(f"{path}: {line}" for line in more)))
        for path, each in zip(paths, told, strict=True)
        for more in [found.get(str(path), ())]
    ]


def check_file(path: Path) -> Told:
    """Check a task file (.yaml), manifest (.jsonl), result or bundle (.json); nothing of it is raised."""
    if path.suffix in _TABLES:
        return Told((f"{path}: a manifest is JSON lines (.jsonl), not a table: {ONE_OBJECT}",))
    if path.suffix not in _CHECKS:
        return Told((f"{path}: expected a .yaml task, a .jsonl manifest or a .json result",))
    try:
        open_plain(path).close()
    except FileNotFoundError:
        return Told((f"{path}: there is no such file",))
    except OSError as problem:
        return Told((f"{path}: cannot be read: {problem.strerror or problem}",))
    try:
        return _CHECKS[path.suffix](path)
    except InvalidFile as problem:
        lines = [f"{path}: {line}" for line in problem.problems[:SHOWN]]
        if (more := len(problem.problems) - SHOWN) > 0:
            lines.append(f"{path}: and {more:,} more problems")
        return Told(tuple(lines))
    except XbenchError as problem:
        return Told((str(problem),))


def _task(path: Path) -> Told:
    return Told(tuple(tasks.validate_task_file(path)))


def _manifest(path: Path) -> Told:
    manifest = read_manifest(path, selection=Selection())
    told = [*probable_misspellings(path), *_refused_clips(manifest)]
    return Told(warnings=tuple(f"{path}: {text}" for text in told))


def _refused_clips(manifest: Manifest) -> list[str]:
    """Say which clips a run will refuse: they are decoded as there, and checked for speech that may be in them."""
    refused = []
    for utterance in manifest.utterances:
        try:
            check_audio(utterance.audio)
        except UtteranceError as problem:
            refused.append(f"clip '{utterance.id}' will be refused ({problem.reason}): {problem}")
    count, total = len(refused), len(manifest.utterances)
    more = [f"{count} of {total} clips will be refused"] if count > SHOWN else []
    return refused[:SHOWN] + more


def _json(path: Path) -> Told:
    with open_plain(path) as file:
        if file.read(100).lstrip().startswith(b"["):
            return Told((f"{path}: {whole_file(b'[')}",))
    if path.name == FILE:
        read_bundle(path)
        return Told()
    result = read_result(path)
    findings = examine(result)
    local = [o.what for o in obstacles(result, findings) if o.kind == "local"]
    return Told(
        tuple(f"{path}: {line}" for line in findings.problems),
        notes=(
            *(f"made under another version: {line}" for line in findings.outdated),
            *(f"not checked: {line}" for line in findings.unchecked),
            *(f"a local row, which others cannot make again: {what}" for what in local),
        ),
        shared=None if findings.problems else shared(result),
    )


_TABLES = (".tsv", ".csv")
_CHECKS: Mapping[str, Callable[[Path], Told]] = {
    ".yaml": _task,
    ".jsonl": _manifest,
    ".json": _json,
}
