"""Word times from Praat's TextGrids and from CTM files, put into a manifest.

A TextGrid holds one clip: `ID.TextGrid`, of which one tier of intervals has the words; intervals without text are
pauses. A CTM file holds many clips, a word a line, as NIST's sclite reads it:

    CLIP CHANNEL START DURATION WORD [CONFIDENCE]        times in seconds; `;;` begins a comment

CLIP is the id of the manifest, or the name of its audio file without the ending. TextGrids are read by praatio.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.data.manifest import Utterance, Word, read_manifest
from xbench.errors import EnvironmentProblem, UsageError, nearest
from xbench.inputs import MANIFEST_BYTES, bounded
from xbench.schemas import InvalidFile
from xbench.schemas import problems as problems_of
from xbench.store import write_atomically

TIERS = ("words", "word")  # as aligners name the tier, in any case
_GRID_BYTES = 64 * 1024 * 1024
Times = Mapping[str, tuple[Word, ...]]


@dataclass(frozen=True)
class Imported:
    """A written manifest: clips that got word times, their words, and the ids of clips without times."""

    manifest: Path
    clips: int
    words: int
    without: tuple[str, ...]


def import_times(manifest: Path, source: Path, out: Path, tier: str | None = None) -> Imported:
    """Write the manifest with the word times of a folder of TextGrids, or of a CTM file; other fields stay.

    Clips without times keep what they have. Raises InvalidFile with every problem of the times, UsageError where no
    clip has any, and EnvironmentProblem where TextGrids need praatio and it is not installed.
    """
    utterances = read_manifest(manifest, hashed=None).utterances
    if source.is_dir():
        times = _of_folder(source, utterances, tier)
    elif tier is not None:
        raise UsageError(f"--tier is for a folder of TextGrids; {source} is read as CTM")
    else:
        times = read_ctm(source)
    found = {u.id: own for u in utterances if (own := times.get(u.id) or times.get(u.audio.stem))}
    if not found:
        raise UsageError(
            f"{source} has times for none of the {len(utterances)} clips of {manifest}; a clip is named by its id "
            f"('{utterances[0].id}') or its audio file ('{utterances[0].audio.stem}')"
        )
    lines = [_with_words(line, found, manifest, out) for line in _objects(manifest)]
    told = [f"{line['id']}: {text}" for line in lines for text in problems_of("manifest", line)]
    if told:
        raise InvalidFile(str(source), told)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    draft = out.absolute().with_name(f"{out.name}.draft")
    write_atomically(draft, text.encode())
    try:
        read_manifest(draft)  # refuses words out of order, in milliseconds, beyond their clip
        draft.replace(out.absolute())
    except InvalidFile as problem:
        raise InvalidFile(str(source), problem.problems) from None
    finally:
        draft.unlink(missing_ok=True)
    without = tuple(u.id for u in utterances if u.id not in found)
    return Imported(out, len(found), sum(map(len, found.values())), without)


def read_ctm(path: Path) -> Times:
    """Return the words of every clip in a CTM file, in order of time.

    Raises InvalidFile with every line that has not five or six columns, or whose times are no numbers from 0.
    """
    rows: dict[str, list[Word]] = {}
    problems = []
    for number, line in enumerate(_text(path, MANIFEST_BYTES).splitlines(), start=1):
        columns = line.split(";;")[0].split()
        if not columns:
            continue
        if len(columns) not in (5, 6):
            problems.append(
                f"line {number}: {len(columns)} columns; expected CLIP CHANNEL START DURATION WORD [CONFIDENCE]"
            )
            continue
        start, seconds = _seconds(columns[2]), _seconds(columns[3])
        if start is None or seconds is None:
            problems.append(
                f"line {number}: start '{columns[2]}' and duration '{columns[3]}' must be seconds from 0"
            )
            continue
        rows.setdefault(columns[0], []).append(Word(columns[4], start, round(start + seconds, 6)))
    if problems:
        raise InvalidFile(str(path), problems)
    return {clip: tuple(sorted(words, key=lambda word: word.start)) for clip, words in rows.items()}


def read_textgrid(path: Path, tier: str | None = None) -> tuple[Word, ...]:
    """Return the words of one tier of a TextGrid: `tier`, or the one called `words` or `word`, or the only one.

    Raises UsageError for what is no TextGrid and for a tier that is not there, EnvironmentProblem without praatio.
    """
    try:
        from praatio import textgrid
        from praatio.data_classes.interval_tier import IntervalTier
    except ImportError:
        raise EnvironmentProblem(
            "TextGrids are read by praatio, which is not installed; pip install 'xbench[textgrid]'"
        ) from None
    bounded(path, _GRID_BYTES)
    try:
        grid = textgrid.openTextgrid(
            str(path),
            includeEmptyIntervals=False,
            reportingMode="silence",
            duplicateNamesMode="rename",
        )
    except Exception as error:  # noqa: BLE001 - praatio raises whatever its parsing comes upon
        raise UsageError(
            f"{path} cannot be read as a TextGrid: {error or type(error).__name__}"
        ) from None
    tiers = {
        name: t for name in grid.tierNames if isinstance(t := grid.getTier(name), IntervalTier)
    }
    name = _tier(path, list(tiers), tier)
    return tuple(
        Word(entry.label.strip(), float(entry.start), float(entry.end))
        for entry in tiers[name].entries
        if entry.label.strip()
    )


def _tier(path: Path, names: Sequence[str], wanted: str | None) -> str:
    if wanted is not None and wanted in names:
        return wanted
    usual = [name for name in names if name.lower() in TIERS]
    if wanted is None and len(usual or names) == 1:
        return (usual or names)[0]
    there = ", ".join(f"'{name}'" for name in names) or "none"
    missing = (
        f"has no tier of intervals '{wanted}'{nearest(wanted, names)}"
        if wanted
        else "does not say which tier has words"
    )
    raise UsageError(f"{path} {missing}; name one with --tier: it has {there}")


def _of_folder(folder: Path, utterances: Iterable[Utterance], tier: str | None) -> Times:
    grids = {
        path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".textgrid"
    }
    if not grids:
        raise UsageError(f"{folder} holds no .TextGrid file")
    wanted = {name for u in utterances for name in (u.id, u.audio.stem)}
    return {name: read_textgrid(path, tier) for name, path in grids.items() if name in wanted}


def _with_words(line: dict[str, Any], times: Times, manifest: Path, out: Path) -> dict[str, Any]:
    """Return a line with its word times and a path to its audio that holds from where `out` lies."""
    words = times.get(line["id"])
    audio = line["audio"]
    home, new = manifest.absolute().parent, out.absolute().parent
    if not Path(audio).is_absolute() and home != new:
        audio = os.path.relpath(home / audio, new)
    timed = (
        {"words": [{"word": w.word, "start": w.start, "end": w.end} for w in words]}
        if words
        else {}
    )
    return {**line, "audio": audio, **timed}


def _objects(manifest: Path) -> list[dict[str, Any]]:
    """Return the lines of a manifest that was read without a problem."""
    data = bounded(manifest, MANIFEST_BYTES).removeprefix(b"\xef\xbb\xbf")
    return [json.loads(line) for line in data.split(b"\n") if line.strip()]


def _text(path: Path, most: int) -> str:
    try:
        return bounded(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (byte {error.start + 1})") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
