"""Manifests: JSON lines that name utterances, read with every problem told at once."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.data import foreign
from xbench.data.audio import audio_sha256
from xbench.data.word_checks import late_words, odd_words
from xbench.errors import UsageError, UtteranceError, nearest
from xbench.inputs import MANIFEST_BYTES, bounded, json_integer, json_number
from xbench.schemas import InvalidFile, Problem, find_problems, schema
from xbench.schemas.quick import accepts
from xbench.spec import Selection, content_hash

_TRANSLATION = "translation_"
_EVERYTHING = Selection()


class NothingSelected(UsageError):
    """A manifest in which no utterance has the languages that are asked for."""


@dataclass(frozen=True)
class Word:
    """One spoken word and its boundaries in seconds."""

    word: str
    start: float
    end: float


# How a clip of the task `listening` was made (`xbench.data.listening`).
CONSTRUCTIONS = ("speech", "no-speech", "spliced", "looped", "foreign")


@dataclass(frozen=True)
class Utterance:
    """One audio clip with its transcript, language, translations, cluster and word boundaries.

    translations: (language, text) pairs, sorted. cluster: speaker or talk; where the manifest has
    none it is the id, and `cluster_assumed` says so. construction: one of CONSTRUCTIONS, None where the clip was not
    made to be listened to or not.
    """

    id: str
    audio: Path
    language: str
    transcript: str
    translations: tuple[tuple[str, str], ...]
    cluster: str
    cluster_assumed: bool
    words: tuple[Word, ...] | None
    audio_sha256: str
    construction: str | None = None

    def target_text(self, target_language: str | None) -> str | None:
        """Return the translation into `target_language` or None; the transcript for no target."""
        if target_language is None:
            return self.transcript
        return dict(self.translations).get(target_language)


@dataclass(frozen=True)
class Manifest:
    """The selected utterances in the order of the file, their fingerprint and a name."""

    utterances: tuple[Utterance, ...]
    fingerprint: str
    name: str


@dataclass(frozen=True)
class _Line:
    """One valid line before its audio is looked at."""

    number: int
    fields: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.fields["id"])

    @property
    def language(self) -> str:
        return str(self.fields["language"])

    def translations(self) -> dict[str, str]:
        """Return the translations that exist; null and empty ones do not."""
        found = {
            k.removeprefix(_TRANSLATION): v
            for k, v in self.fields.items()
            if k.startswith(_TRANSLATION)
        }
        return {language: text for language, text in sorted(found.items()) if text}


def read_manifest(
    path: Path,
    *,
    selection: Selection = _EVERYTHING,
    languages: Sequence[str] = (),
    target_language: str | None = None,
    hashed: Callable[[Path], str] | None = audio_sha256,
) -> Manifest:
    """Read the utterances of a manifest that `selection` and the languages leave.

    Ids are picked first, then clips in `languages` (empty: any) that have a translation into
    `target_language` (None: not needed), then the first `selection.limit` of those. The structure
    of every line is checked; audio files only of the utterances that are used. `hashed` gives the
    SHA-256 of an audio file: who reads several manifests of the same clips may remember it. It may
    return nothing for a file that cannot be read (`readable_sha256`): then that clip alone has none,
    and only a manifest without any readable clip is refused. None reads no audio: what the lines
    state counts, or nothing where they do not.

    Raises:
        InvalidFile: with every problem as `line N: ...`.
        NothingSelected: no clip has these languages.
        UsageError: an unknown id, or a limit below 1.
    """
    if selection.limit is not None and selection.limit < 1:
        raise UsageError(f"the limit must be at least 1, not {selection.limit}")
    lines = _pick(_read_lines(path), selection.ids, path)
    wanted = [line for line in lines if _speaks(line, languages, target_language)]
    if not wanted:
        raise NothingSelected(_nothing_left(path, lines, languages, target_language))
    utterances = _with_audio(path, wanted[: selection.limit], hashed)
    return Manifest(utterances, _fingerprint(utterances), path.stem)


def probable_misspellings(path: Path) -> list[str]:
    """Return the fields that are ignored because they are no known field, but look like one, and odd languages.

    Unknown fields are allowed; one that is nearly `transcript` or `translation_it` is probably a mistake. So is a
    language that is no code such as `en`.

    Raises:
        InvalidFile: as `read_manifest`.
    """
    lines = _read_lines(path)
    fields = [
        (line.number, f"field '{name}' is ignored{meant}")
        for line in lines
        for name in line.fields
        if (meant := _probably_meant(name))
    ]
    languages = [
        (line.number, f"language {odd}")
        for line in lines
        if (odd := foreign.odd_language(line.language))
    ]
    return _told_once(fields) + _told_once(languages)


_FIELDS = tuple(schema("manifest")["properties"])
_LANGUAGE_SUFFIX = re.compile(r".+?(?:[-_ .]([a-z]{2,3})|([a-z]{2}))")


def _probably_meant(name: str) -> str:
    if name in _FIELDS or name.startswith(_TRANSLATION):
        return ""
    lower = name.lower()
    known = [field for field in _FIELDS if len(field) > 2]  # anything resembles `id`
    if match := _LANGUAGE_SUFFIX.fullmatch(lower):
        known.append(_TRANSLATION + (match[1] or match[2]))
    close = difflib.get_close_matches(lower, known, n=1, cutoff=0.8)
    return f", did you mean '{close[0]}'?" if close else ""


def _read_lines(path: Path) -> list[_Line]:
    try:
        data = bounded(path, MANIFEST_BYTES)
    except OSError as error:
        raise UsageError(f"manifest {path} cannot be read: {error.strerror or error}") from None
    if why := foreign.whole_file(data):
        raise InvalidFile(str(path), [why])
    lines: list[_Line] = []
    problems: list[tuple[int, str]] = []
    # Only "\n" ends a line: str.splitlines would also break at U+2028 inside a transcript.
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            fields = _parse(raw)
        except ValueError as error:
            problems.append((number, str(error)))
            continue
        problems += [(number, text) for text in _line_problems(fields)]
        if isinstance(fields, dict) and isinstance(fields.get("id"), str):
            # A line with other problems still counts as the first use of its id.
            lines.append(_Line(number, fields))
    problems += _repeated_ids(lines)
    if problems:
        raise InvalidFile(str(path), _told_once(problems))
    if not lines:
        raise InvalidFile(str(path), ["no utterances; every line holds one JSON object"])
    return lines


def _parse(raw: bytes) -> Any:
    """Parse one line; ValueError says in words what is wrong with it."""
    try:
        value = json.loads(
            raw.decode(),
            parse_constant=_refuse_constant,
            parse_int=json_integer,
            parse_float=json_number,
            object_pairs_hook=_unique_keys,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start + 1})") from None
    except UnicodeEncodeError:
        raise ValueError("not Unicode text: it holds half of a surrogate pair") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise ValueError("not usable JSON: nested too deeply") from None
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"not JSON: {name} is not a number; write null")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"field '{twice[0]}' is given twice")
    return dict(pairs)


def _told_once(problems: Iterable[tuple[int, str]]) -> list[str]:
    """Word problems with their lines, in order; what many lines have in common is told of the first, and counted."""
    numbers: dict[str, list[int]] = {}
    for number, text in sorted(problems):
        numbers.setdefault(text, []).append(number)
    return [
        f"line {found[0]}: {text}"
        + (f" (and on {len(found) - 1:,} more lines)" if len(found) > 1 else "")
        for text, found in numbers.items()
    ]


def _line_problems(fields: Any) -> list[str]:
    if isinstance(fields, dict) and (renaming := foreign.keys_to_rename(fields)):
        return [renaming]
    if not accepts("manifest")(fields) and (found := find_problems("manifest", fields)):
        return [f"{problem}{_instead(problem, fields)}" for problem in found]
    return odd_words(fields.get("words") or ())


def _instead(problem: Problem, fields: Any) -> str:
    if len(problem.path) != 1 or not isinstance(fields, dict):
        return ""
    key = str(problem.path[0])
    return foreign.odd_value(key, fields.get(key))


def _repeated_ids(lines: Iterable[_Line]) -> Iterator[tuple[int, str]]:
    """Yield ids used before; two Unicode spellings of one text count as the same id."""
    first: dict[str, _Line] = {}
    for line in lines:
        earlier = first.setdefault(unicodedata.normalize("NFC", line.id), line)
        if earlier is line:
            continue
        same = "is" if earlier.id == line.id else "looks like but differs in Unicode form from"
        yield line.number, f"id '{line.id}' {same} the id of line {earlier.number}"


def _pick(lines: list[_Line], ids: tuple[str, ...], path: Path) -> list[_Line]:
    if not ids:
        return lines
    known = {line.id for line in lines}
    unknown = [f"'{name}'{nearest(name, known)}" for name in ids if name not in known]
    if unknown:
        raise UsageError(f"{path} has no utterance {'; nor '.join(unknown)}")
    return [line for line in lines if line.id in ids]


def _speaks(line: _Line, languages: Sequence[str], target_language: str | None) -> bool:
    spoken = not languages or line.language in languages
    return spoken and (target_language is None or target_language in line.translations())


def _nothing_left(
    path: Path, lines: list[_Line], languages: Sequence[str], target_language: str | None
) -> str:
    wanted = f" in {' or '.join(languages)}" if languages else ""
    translated = f" with a translation into {target_language}" if target_language else ""
    counts = Counter(line.language for line in lines)
    there = ", ".join(f"{count} in {language}" for language, count in sorted(counts.items()))
    return f"{path} has no clip{wanted}{translated}; of the clips asked for it has {there}"


def _with_audio(
    path: Path, lines: list[_Line], hashed: Callable[[Path], str] | None
) -> tuple[Utterance, ...]:
    if hashed is None:
        return tuple(
            _utterance(
                line, path.parent / line.fields["audio"], (line.fields.get("sha256") or "").lower()
            )
            for line in lines
        )
    digests: dict[Path, str] = {}
    problems: list[tuple[int, str]] = []
    for line in lines:
        audio = path.parent / line.fields["audio"]
        if audio not in digests:
            try:
                digests[audio] = hashed(audio)
            except UtteranceError as error:
                meant = foreign.odd_path(audio, line.fields["audio"])
                problems.append((line.number, f"audio of '{line.id}': {error}{meant}"))
                continue
        if not digests[audio]:
            continue
        stated = line.fields.get("sha256")
        if stated and stated.lower() != digests[audio]:
            problems.append(
                (
                    line.number,
                    f"audio of '{line.id}': {audio} is another file than the manifest was made of (its sha256 "
                    "differs); prepare the manifest again",
                )
            )
        elif late := late_words(line.fields.get("words") or (), audio):
            problems.append((line.number, f"words of '{line.id}': {late}"))
    if problems:
        raise InvalidFile(str(path), _told_once(problems))
    if not any(digests.values()):  # a wrong folder rather than bad clips: all are told at once
        return _with_audio(path, lines, audio_sha256)
    audio_of = [path.parent / line.fields["audio"] for line in lines]
    return tuple(
        _utterance(line, audio, digests[audio]) for line, audio in zip(lines, audio_of, strict=True)
    )


def _utterance(line: _Line, audio: Path, sha256: str) -> Utterance:
    fields = line.fields
    words = fields.get("words")
    return Utterance(
        id=line.id,
        audio=audio,
        language=line.language,
        transcript=fields["transcript"],
        translations=tuple(line.translations().items()),
        cluster=fields.get("cluster") or line.id,
        cluster_assumed=fields.get("cluster") is None,
        words=None
        if words is None
        else tuple(Word(w["word"], float(w["start"]), float(w["end"])) for w in words),
        audio_sha256=sha256,
        construction=fields.get("construction"),
    )


def _fingerprint(utterances: tuple[Utterance, ...]) -> str:
    """Hash what the clips are, not where they lie: neither paths nor the order of lines count."""
    content = [
        [u.id, u.audio_sha256, u.language, u.transcript, u.translations, u.cluster]
        for u in sorted(utterances, key=lambda u: u.id)
    ]
    return content_hash(content)
