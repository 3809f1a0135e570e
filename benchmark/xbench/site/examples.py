"""Read the bundles of `xbench examples export`: one folder per utterance, `bundle.json` and audio."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xbench.errors import UsageError
from xbench.schemas import problems
from xbench.site.load import Refusal
from xbench.site.pages import Example
from xbench.site.text import harmless, readable

LARGEST = 8 * 1024 * 1024

# Licences under which a clip may be published here.
PUBLIC_LICENCES = ("CC0-1.0", "CC-BY-4.0", "CC-BY-3.0", "CC-BY-SA-4.0", "Apache-2.0", "MIT")
_AUDIO = {".wav": b"RIFF", ".flac": b"fLaC"}


def read_examples(
    folder: Path | None, most: int, audio: str
) -> tuple[tuple[Example, ...], dict[str, bytes], tuple[Refusal, ...]]:
    """Return examples, the audio files to publish by path, and the bundles that were refused."""
    if folder is None:
        return (), {}, ()
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder of examples")
    found, media, refused = [], {}, []
    for bundle in sorted(folder.glob("*/bundle.json"))[:most]:
        id = bundle.parent.name
        try:
            content = _read(bundle, id)
            sound = _audio(bundle.parent, content) if audio == "allow-list" else None
        except (OSError, ValueError, RecursionError) as problem:
            refused.append(Refusal(f"{readable(id)}/bundle.json", readable(str(problem), 400)))
            continue
        path = None
        if sound is not None:
            path = f"media/{id}{sound[0]}"
            media[path] = sound[1]
        found.append(Example(id, content, path))
    return tuple(found), media, tuple(refused)


def _read(path: Path, id: str) -> Mapping[str, Any]:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,80}", id):
        raise ValueError("the folder's name is not made of a-z, 0-9 and '-'")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"more than {LARGEST / 1e6:.0f} MB")
    content = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_refuse)
    found = problems("example", content)
    if found:
        raise ValueError(found[0])
    for array in (content["spectrogram"], *content["maps"], *content.get("volumes", ())):
        if array is not None and _bytes(array["data"]) != math.prod(array["shape"]):
            raise ValueError("an array does not hold as many bytes as its shape says")
    for array in (*content["maps"], *content.get("volumes", ())):
        if (
            not len(array["min"])
            == len(array["max"])
            == len(content["tokens"])
            == array["shape"][0]
        ):
            raise ValueError("a map does not have one row for each token")
    made: dict[str, Any] = _harmless(content)
    made["score_names"] = sorted({name for m in made["maps"] for name in m["scores"]})
    return made


def _bytes(base64: str) -> int:
    return len(base64) * 3 // 4 - base64[-2:].count("=")


def _harmless(value: Any) -> Any:
    """Make every text harmless but the arrays, which the schema has checked and which are long."""
    if isinstance(value, dict):
        return {
            readable(key): item if key in ("data", "peaks") else _harmless(item)
            for key, item in value.items()
        }
    return [_harmless(item) for item in value] if isinstance(value, list) else harmless(value)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")


def _audio(folder: Path, bundle: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """Return suffix and content of the clip, if it may be published."""
    if bundle["licence"] not in PUBLIC_LICENCES:
        return None
    for suffix, magic in _AUDIO.items():
        file = folder / f"audio{suffix}"
        if file.is_file() and file.stat().st_size <= LARGEST:
            content = file.read_bytes()
            if not content.startswith(magic):
                raise ValueError(f"audio{suffix} is not what its name says")
            return suffix, content
    return None
