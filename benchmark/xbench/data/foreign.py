"""Manifests and clips as other tools write them: what has to be renamed or saved anew, in one sentence.

NeMo, the audiofolder and `datasets` of Hugging Face, ESPnet, SpeechBrain and Common Voice are known by their keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xbench.inputs import LFS_POINTER, NO_FILE_OF_LFS

_REQUIRED = ("id", "audio", "language", "transcript")
# What others call a key of ours, in the order in which they are taken.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("utt_id", "uttid", "utterance_id", "utt", "segment_id", "clip_id", "key", "ID"),
    "audio": (
        "audio_filepath",
        "audio_path",
        "file_name",
        "filename",
        "audio_file",
        "wav_path",
        "wav",
        "file",
        "path",
    ),
    "language": ("lang", "locale", "lang_id", "language_id", "source_lang"),
    "transcript": (
        "transcription",
        "text",
        "sentence",
        "raw_transcription",
        "normalized_text",
        "words_text",
        "target_text",
    ),
}
ONE_OBJECT = (
    "a manifest has one JSON object per line, with the keys id, audio, language, transcript"
)
_LONGEST_OBJECT = 1_000_000  # bytes of a file that are looked at for one object over several lines
_CODE = re.compile(r"[a-z]{2,3}")
_LOCALE = re.compile(r"([A-Za-z]{2,3})[-_].+")


def whole_file(data: bytes) -> str | None:
    """Say why a file holds no JSON lines at all; None where it may."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "it is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"
    first = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:10_000]
    if first.startswith(b"["):
        return f"it is one JSON array; {ONE_OBJECT} (jq -c '.[]' writes them so)"
    if first.startswith(LFS_POINTER):
        return f"it is {NO_FILE_OF_LFS}"
    if first.startswith(b"{"):
        return None if first.split(b"\n")[0].rstrip().endswith(b"}") else _over_lines(data)
    head, columns = first.split(b"\n")[0].strip(), 0
    for separator, name in ((b"\t", "tabs"), (b",", "commas"), (b"|", "bars")):
        columns = head.count(separator) + 1
        if columns > 2 or (columns == 2 and _names_keys(head.split(separator))):
            return f"it is a table of {columns} columns between {name}; {ONE_OBJECT}"
    return None


def _over_lines(data: bytes) -> str | None:
    """Say that JSON was written for readers, each key on a line of its own; None where it is something else."""
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:_LONGEST_OBJECT].decode("utf-8", "ignore")
    try:
        json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):
        return None
    return f"its JSON goes over several lines; {ONE_OBJECT} (jq -c . writes them so)"


def _names_keys(columns: list[bytes]) -> bool:
    """Say whether the first line of a table names a key of ours, or what others call it."""
    known = {*_REQUIRED, *(name for names in _NAMES.values() for name in names)}
    return any(column.strip().strip(b'"').decode("utf-8", "replace") in known for column in columns)


def keys_to_rename(fields: Mapping[str, Any]) -> str | None:
    """Say which keys of a line to rename, and which to add; None where it lacks none, or none has another name."""
    lacking = [key for key in _REQUIRED if key not in fields]
    others = {key: next((name for name in _NAMES[key] if name in fields), None) for key in lacking}
    renamed = [f"'{name}' to '{key}'" for key, name in others.items() if name]
    if not renamed:
        return None
    added = [f"'{key}'" for key, name in others.items() if name is None]
    add = f"; add {' and '.join(added)}" if added else ""
    return f"keys of another tool: rename {', '.join(renamed)}{add}"


def odd_value(key: str, value: Any) -> str:
    """Return what to write in place of a value of a required key, after a semicolon; empty where that is plain."""
    if key == "audio" and isinstance(value, Mapping) and isinstance(value.get("path"), str):
        return f"; write the path alone, {json.dumps(value['path'])} (audio in bytes must be saved as a file)"
    if key == "id" and isinstance(value, int) and not isinstance(value, bool):
        return f'; write "{value}"'
    if key == "transcript" and value is None:
        return '; write "" where nobody knows it'
    return ""


def odd_language(code: str) -> str | None:
    """Say what to write in place of a language that is no code such as `en`; None where it is one."""
    if _CODE.fullmatch(code):
        return None
    locale = _LOCALE.fullmatch(code)
    if locale:
        return f"'{code}' names a region too, which few models know; did you mean '{locale[1].lower()}'?"
    return f"'{code}' is no code of a language such as 'en'"


def odd_path(audio: Path, written: str) -> str:
    """Return what may be meant by a path where nothing lies, after a semicolon; empty where nothing is near."""
    try:
        if audio.exists():
            return ""
        if "\\" in written:
            return "; write slashes between folders, not backslashes"
        near = [p.name for p in audio.parent.iterdir() if p.name.lower() == audio.name.lower()]
    except (OSError, ValueError):  # a folder that may not be listed, or no path at all
        return ""
    return f"; there is '{near[0]}'" if near else ""
