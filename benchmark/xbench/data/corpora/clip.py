"""What a corpus reader yields, and the few ways in which corpora write things down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from xbench.data.manifest import Word
from xbench.errors import UsageError

_READABLE = (".flac", ".wav", ".opus", ".ogg", ".mp3")


@dataclass(frozen=True)
class Clip:
    """One clip of a corpus: a whole audio file, a part of a recording, or the bytes of a file.

    offset, duration: seconds within the recording; None for the whole file. cluster: speaker or
    talk, None where the corpus names neither. words: times in seconds from the start of the clip.
    source: where bytes came from, with the revision.
    """

    id: str
    audio: Path | bytes
    language: str
    transcript: str
    cluster: str | None
    translations: Mapping[str, str] = field(default_factory=dict)
    offset: float | None = None
    duration: float | None = None
    words: tuple[Word, ...] | None = None
    source: str | None = None


def merged(clips: Iterable[Clip]) -> list[Clip]:
    """Join clips of one id: their translations come together, the rest is the first one's."""
    by_id: dict[str, Clip] = {}
    for clip in clips:
        first = by_id.setdefault(clip.id, clip)
        if first is not clip:
            both = {**first.translations, **clip.translations}
            by_id[clip.id] = replace(first, translations=both)
    return list(by_id.values())


def expected(corpus: str, *places: Path) -> Path:
    """Return the first place that exists; raise UsageError that names all that were looked for."""
    for place in places:
        if place.exists():
            return place
    looked = " nor ".join(str(place) for place in places)
    raise wrong_layout(corpus, f"there is no {looked}")


def wrong_layout(corpus: str, reason: str) -> UsageError:
    """Return the error of a root that is not laid out as the corpus is distributed."""
    return UsageError(
        f"{corpus}: {reason}; `xbench show dataset {corpus}` shows the layout that is expected"
    )


def wanted(corpus: str, found: Sequence[str], asked: Sequence[str], root: Path) -> list[str]:
    """Return the languages asked for (all that were found, for none); raise for one that is not there."""
    missing = [language for language in asked if language not in found]
    if missing:
        there = ", ".join(sorted(found)) or "none"
        raise wrong_layout(
            corpus, f"{root} has no {', '.join(missing)}; of languages it has {there}"
        )
    return [language for language in found if not asked or language in asked]


def lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file; only line feeds end one."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (byte {error.start + 1})") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    found = [line.rstrip("\r") for line in text.split("\n")]
    return found[:-1] if found and not found[-1] else found


def parallel(*paths: Path) -> Iterator[tuple[str, ...]]:
    """Read files whose lines belong together; raise UsageError when their numbers of lines differ."""
    columns = [lines(path) for path in paths]
    counts = {len(column) for column in columns}
    if len(counts) > 1:
        found = ", ".join(f"{p} {len(c)}" for p, c in zip(paths, columns, strict=True))
        raise UsageError(f"these files must have equally many lines: {found}")
    return zip(*columns, strict=True)


def table(path: Path, columns: Sequence[str], *, header: bool = True) -> list[dict[str, str]]:
    """Read tab-separated rows without quoting; raise UsageError when one lacks a column.

    columns: those needed; without a header, the names of the first fields in order.
    """
    rows = iter([line.split("\t") if line else [] for line in lines(path)])
    names = next(rows, []) if header else list(columns)
    if missing := [name for name in columns if name not in names]:
        raise UsageError(f"{path}: the first line lacks the column {', '.join(missing)}")
    found = []
    for number, row in enumerate(rows, start=2 if header else 1):
        if row and len(row) < len(names):
            raise UsageError(f"{path}:{number}: {len(row)} fields, expected {len(names)}")
        if row:
            found.append(dict(zip(names, row, strict=False)))
    return found


def recording(corpus: str, folder: Path, name: str) -> Path:
    """Return the audio file `name` of any readable format; tell how to convert one that is not.

    A file that is not there at all is named as .flac: reading it then fails for its clips alone.
    """
    for suffix in _READABLE:
        if (path := folder / f"{name}{suffix}").is_file():
            return path
    if (folder / f"{name}.m4a").is_file():
        raise UsageError(
            f"{corpus}: {folder / name}.m4a is AAC, which libsndfile cannot decode; convert all beside "
            f'their originals: for f in {folder}/*.m4a; do ffmpeg -n -i "$f" -ac 1 -ar 16000 '
            '"${f%.m4a}.flac"; done'
        )
    return folder / f"{name}.flac"


def span(start: float, end: float) -> str:
    """Write a part of a recording for an id: `12.50-17.03`."""
    return f"{start:.2f}-{end:.2f}"
