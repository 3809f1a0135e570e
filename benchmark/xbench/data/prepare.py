"""From a corpus to a manifest: every recording decoded once, in parallel, and never twice.

Clips that are whole files stay where they are. Parts of recordings become 16 kHz FLAC files beside
the manifest, each under a name made from everything that determines it; a file that is there is
therefore not made again, which is how an interrupted call goes on.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.data.audio import audio_seconds, audio_sha256, read_audio
from xbench.data.corpora.clip import Clip
from xbench.description import CorpusDescription
from xbench.errors import UsageError, UtteranceError, nearest
from xbench.schemas import problems as problems_of
from xbench.spec import Call, content_hash, slug
from xbench.store import write_atomically

RATE = 16_000
_SLACK_SECONDS = 0.5
"""By how much the times of a corpus may run past the end of a recording: some round them up."""


@dataclass(frozen=True)
class Prepared:
    """A written manifest: its clips per language, their total length, and the clips that were left out."""

    manifest: Path
    clips: dict[str, int]
    seconds: float
    problems: tuple[str, ...]


def find_corpus(text: str, split: str | None) -> tuple[CorpusDescription, Call, str]:
    """Resolve `name:key=value,...` and a split (None: the corpus's first) before anything is read.

    Raises:
        UsageError: an unknown corpus, parameter or split.
    """
    description, call = registry.datasets.resolve(Call.parse(text))
    if not isinstance(description, CorpusDescription):
        raise UsageError(
            f"dataset '{description.name}' comes with its manifests: nothing to prepare"
        )
    split = split or next(iter(description.splits))
    if split not in description.splits and not description.generic:
        known = f"{nearest(split, description.splits)}; it has {', '.join(description.splits)}"
        raise UsageError(f"dataset '{description.name}' has no split '{split}'{known}")
    return description, call, split


def read_corpus(
    description: CorpusDescription,
    call: Call,
    root: str,
    split: str,
    *,
    languages: Sequence[str] = (),
    targets: Sequence[str] = (),
    limit: int | None = None,
) -> Iterable[Clip]:
    """Return the clips of a corpus, the first `limit` of each language.

    Raises:
        UsageError: the root is not laid out as the corpus is distributed.
    """
    clips = description.load()(root, split, tuple(languages), tuple(targets), **call.given)
    if limit is None:
        return clips  # type: ignore[no-any-return]  # the implementation is loaded by name
    # A stream is cut off by its own limit, so that nothing is read beyond it.
    first = _first(clips, limit, alone=len(languages) == 1)
    return list(first) if isinstance(clips, list) else first


def _first(clips: Iterable[Clip], limit: int, *, alone: bool) -> Iterator[Clip]:
    seen: Counter[str] = Counter()
    for clip in clips:
        seen[clip.language] += 1
        if seen[clip.language] <= limit:
            yield clip
        if alone and seen[clip.language] >= limit:
            return


def write_manifest(
    clips: Iterable[Clip],
    manifest: Path,
    *,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda clips: None,
) -> Prepared:
    """Write the manifest of `clips`, cutting recordings on `workers` threads (None: one per core).

    The manifest is written when all is done, at once. Clips whose audio is missing or damaged are left
    out and named in `problems`.

    Raises:
        UsageError: two clips have one id, or no clip is left.
        EnvironmentProblem: the disk is full or cannot be written.
    """
    folder = manifest.absolute().parent / f"{manifest.stem}-clips"
    lines: dict[int, list[dict[str, Any]]] = {}
    problems: dict[int, list[str]] = {}
    groups = enumerate(
        list(group)
        for _, group in groupby(clips, lambda c: c.audio if c.offset is not None else c.id)
    )
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        running: dict[Future[_Group], tuple[int, int]] = {}
        try:
            for number, group in groups:
                running[pool.submit(_write_group, group, folder)] = (number, len(group))
                if len(running) > 4 * workers:
                    _collect(running, lines, problems, advance)
            while running:
                _collect(running, lines, problems, advance)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    found = [line for number in sorted(lines) for line in lines[number]]
    told = tuple(text for number in sorted(problems) for text in problems[number])
    repeated = [id for id, count in Counter(line["id"] for line in found).items() if count > 1]
    if repeated:
        raise UsageError(f"{len(repeated)} ids occur twice, such as '{repeated[0]}'")
    if not found:
        raise UsageError(
            f"no clip is left for {manifest}" + (f"; the first problem: {told[0]}" if told else "")
        )
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in found)
    write_atomically(manifest.absolute(), text.encode())
    per_language = Counter(line["language"] for line in found)
    return Prepared(manifest, dict(per_language), sum(line["duration"] for line in found), told)


_Group = tuple[list[dict[str, Any]], list[str]]


def _collect(
    running: dict[Future[_Group], tuple[int, int]],
    lines: dict[int, list[dict[str, Any]]],
    problems: dict[int, list[str]],
    advance: Callable[[int], None],
) -> None:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        number, size = running.pop(future)
        lines[number], problems[number] = future.result()
        advance(size)


def _write_group(clips: list[Clip], folder: Path) -> _Group:
    """Return the lines and the problems of clips that share a recording."""
    lines, problems = [], []
    try:
        files = _files(clips, folder)
    except UtteranceError as problem:
        return [], [f"{clip.id}: {problem}" for clip in clips]
    for clip, file in zip(clips, files, strict=True):
        try:
            if isinstance(file, UtteranceError):
                raise file
            line = _line(clip, file, folder.parent)
        except UtteranceError as problem:
            problems.append(f"{clip.id}: {problem}")
            continue
        found = problems_of("manifest", line)
        problems += [f"{clip.id}: {text}" for text in found]
        lines += [] if found else [line]
    return lines, problems


def _files(clips: list[Clip], folder: Path) -> list[Path | UtteranceError]:
    """Return the audio file of each clip, made where it is not there yet."""
    first = clips[0]
    if isinstance(first.audio, bytes):
        path = (
            folder
            / f"{slug(first.id)}-{content_hash([first.id, first.source])[:8]}{_kind(first.audio)}"
        )
        if not path.is_file():
            write_atomically(path, first.audio)
        return [path]
    if first.offset is None:
        return [first.audio]
    paths = [_segment_path(clip, folder) for clip in clips]
    if all(path.is_file() for path in paths):
        return list(paths)
    samples = read_audio(first.audio, RATE)
    return [
        path if path.is_file() else _cut(clip, samples, path)
        for clip, path in zip(clips, paths, strict=True)
    ]


def _segment_path(clip: Clip, folder: Path) -> Path:
    assert isinstance(clip.audio, Path)
    try:
        facts = clip.audio.stat()
    except OSError as error:
        raise UtteranceError(
            "missing-audio", f"{clip.audio}: cannot be read: {error.strerror or error}"
        ) from None
    made_from = [clip.id, facts.st_size, facts.st_mtime_ns, clip.offset, clip.duration]
    return folder / f"{slug(clip.id)}-{content_hash(made_from)[:8]}.flac"


def _cut(clip: Clip, samples: Any, path: Path) -> Path | UtteranceError:
    import soundfile

    assert clip.offset is not None
    assert clip.duration is not None
    start, end = round(clip.offset * RATE), round((clip.offset + clip.duration) * RATE)
    if (
        start < 0
        or end <= start
        or end > len(samples) + _SLACK_SECONDS * RATE
        or start >= len(samples)
    ):
        return UtteranceError(
            "segment-outside-audio",
            f"{start / RATE:.2f} s to {end / RATE:.2f} s is not within the "
            f"{len(samples) / RATE:.2f} s of its recording",
        )
    buffer = io.BytesIO()
    soundfile.write(buffer, samples[start:end], RATE, format="FLAC", subtype="PCM_16")
    write_atomically(path, buffer.getvalue())
    return path


def _kind(audio: bytes) -> str:
    """Return the suffix of the format that the first bytes show; decoding looks at the bytes anyway."""
    magic = {b"fLaC": ".flac", b"RIFF": ".wav", b"OggS": ".ogg"}
    return magic.get(audio[:4], ".mp3")


def _line(clip: Clip, file: Path, home: Path) -> dict[str, Any]:
    digest, seconds = audio_sha256(file), audio_seconds(file)
    if seconds == 0:
        raise UtteranceError("empty-audio", f"{file}: holds no samples")
    where = file.absolute()
    optional = {
        "cluster": clip.cluster,
        **{f"translation_{language}": text for language, text in sorted(clip.translations.items())},
        "words": clip.words
        and [{"word": w.word, "start": w.start, "end": w.end} for w in clip.words],
        "source": clip.source,
    }
    return {
        "id": clip.id,
        # Below the manifest's folder the path is relative, so that both can be moved together.
        "audio": str(where.relative_to(home) if where.is_relative_to(home) else where),
        "language": clip.language,
        "transcript": clip.transcript,
        **{key: value for key, value in optional.items() if value},
        **({} if seconds is None else {"duration": round(seconds, 3)}),
        "sha256": digest,
    }
