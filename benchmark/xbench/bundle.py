"""Bundles: one utterance with its maps, small enough for a page (`xbench.example/1`, no torch).

A bundle is a folder: `bundle.json`, and `audio.wav` where the clip may be published. What each field means
stands in `schemas/example.schema.json`. Arrays are bytes between the lowest and the highest value of a
row, so a value read back is off by at most 1/510 of the range of its row.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from xbench.errors import UsageError
from xbench.inputs import read_json
from xbench.schemas import InvalidFile, problems
from xbench.spec import content_hash

SCHEMA = "xbench.example/1"
FILE = "bundle.json"
AUDIO = "audio.wav"
LARGEST = 3_000_000
"""Bytes of `bundle.json`: a dozen maps of 100 tokens over 30 s, most of which the site loads only when asked for."""

PUBLIC_LICENCES = (
    "public-domain",
    "CC0-1.0",
    "CC-BY-4.0",
    "CC-BY-3.0",
    "CC-BY-SA-4.0",
    "Apache-2.0",
    "MIT",
)
"""Licences under which a clip may be published."""

Publish = Literal["allow-list", "none"]
"""Which clips go along: those whose licence allows it, or none."""

_DIGITS = 9  # far finer than a byte, wherever a row varies by more than rounding (maps.CONSTANT)
_LEVELS = 255


def publish(text: str) -> Publish:
    """Return what `--audio` says; raises UsageError."""
    for choice in ("allow-list", "none"):
        if text == choice:
            return choice
    raise UsageError(f"--audio '{text}' is not allow-list or none")


def bundle_id(task: str, model: str, utterance: str, run: str) -> str:
    """Return a folder name of `[a-z0-9-]` that tells task, model and clip and differs for each run."""
    return _slug(f"{task}-{model}-{utterance}", [run, utterance])


def map_id(kind: str, label: str) -> str:
    """Return a name of `[a-z0-9-]` for a map: a method may have the label of a reference."""
    return _slug(f"{kind}-{label}", [kind, label])


def _slug(text: str, identity: list[str]) -> str:
    told = re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-")
    return f"{told}-{content_hash(identity)[:8]}".lstrip("-")


def pack(values: Float[np.ndarray, "row column"]) -> dict[str, Any]:
    """Return `min` and `max` per row and base64 `data`: rint(255 (x - min) / (max - min)), 0 in a constant row."""
    low, high = (
        np.array([float(f"{x:.{_DIGITS}g}") for x in edge])
        for edge in (values.min(axis=1), values.max(axis=1))
    )
    span = np.where(high > low, high - low, np.inf)
    levels = np.rint(_LEVELS * (values - low[:, None]) / span[:, None]).clip(0, _LEVELS)
    data = base64.b64encode(levels.astype(np.uint8).tobytes()).decode("ascii")
    return {"min": low.tolist(), "max": high.tolist(), "data": data}


def unpack(array: Mapping[str, Any]) -> Float[np.ndarray, "..."]:
    """Read the values of a map, volume or spectrogram back; raises ValueError where data and shape disagree."""
    levels = np.frombuffer(base64.b64decode(array["data"], validate=True), np.uint8)
    if levels.size != math.prod(array["shape"]):
        raise ValueError(f"{levels.size} values do not fill the shape {array['shape']}")
    low, high = (np.reshape(array[edge], (-1, 1)).astype(np.float64) for edge in ("min", "max"))
    values = low + levels.reshape(len(low), -1) / _LEVELS * (high - low)
    return values.reshape(array["shape"])


def to_json(bundle: Mapping[str, Any]) -> str:
    """Serialise without spaces; equal bundles give equal text."""
    return json.dumps(bundle, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def read_bundle(path: Path) -> dict[str, Any]:
    """Read and check one `bundle.json`; raises UsageError with every problem in it."""
    bundle: dict[str, Any] = read_json(path, LARGEST)
    found = problems("example", bundle) or list(_contradictions(bundle, path.absolute().parent))
    if found:
        raise InvalidFile(str(path), found)
    return bundle


def _contradictions(bundle: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yield what is wrong between fields that are each as the schema says."""
    if bundle["id"] != folder.name:
        yield f"id: '{bundle['id']}' is not the name of its folder, '{folder.name}'"
    if (bundle["audio"] is None) == (bundle["audio_reason"] is None):
        yield "audio_reason: there must be one where audio is null, and only there"
    if bundle["audio"] is not None and not (folder / bundle["audio"]).is_file():
        yield f"audio: there is no {bundle['audio']} beside the bundle"
    yield from _array_problems("spectrogram", bundle["spectrogram"], None)
    rows = len(bundle["tokens"])
    for index, entry in enumerate(bundle["maps"]):
        yield from _array_problems(f"maps[{index}]", entry, rows)
    for index, entry in enumerate(bundle.get("heads", ())):
        yield from _array_problems(f"heads[{index}]", entry, rows)
    ids = Counter(entry["id"] for entry in bundle["maps"])
    for index, volume in enumerate(bundle.get("volumes", ())):
        yield from _array_problems(f"volumes[{index}]", volume, rows)
        if volume["map"] not in ids:
            yield f"volumes[{index}].map: there is no map '{volume['map']}'"
    yield from (f"maps: the id '{name}' is used twice" for name, uses in ids.items() if uses > 1)


def _array_problems(where: str, array: Mapping[str, Any], rows: int | None) -> Iterator[str]:
    per_row = ("min", "max", "row_reliability", "path") if rows is not None else ()
    if rows is not None and array["shape"][0] != rows:
        yield f"{where}.shape: {array['shape'][0]} rows for {rows} tokens"
        return
    for name in per_row:
        if array.get(name) is not None and len(array[name]) != rows:
            yield f"{where}.{name}: {len(array[name])} values for {rows} tokens"
            return
    try:
        values = unpack(array)
    except ValueError as problem:
        yield f"{where}.data: {problem}"
        return
    if not np.isfinite(values).all() or np.less(array["max"], array["min"]).any():
        yield f"{where}: a min is above its max"
