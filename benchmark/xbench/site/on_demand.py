"""Which data of an example come with its page, and which lie in files that the page loads when they are asked for.

With the page come tokens, spectrogram, what stands beside each token, and the values of the maps shown at first.
Every other map has a file of its own, and so has each single head; small pictures of the heads are one file more.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xbench.bundle import unpack
from xbench.site.data.scripts import json_text

SHOWN = 4
"""Most maps that are shown at first."""
AT_ONCE = 600_000
"""Bytes that come with a page at most; quoted as a script they must stay below 700,000."""
WIDEST = 1500
"""Most steps in time of a spectrogram that comes with a page, about one per pixel: more would take a map's room."""
ROWS, COLUMNS = 16, 48
"""Most pixels of the small picture of a head: a pixel shows the largest of its values."""

Json = dict[str, Any]
Write = Callable[[str, Any], str]
"""Write a data file under a name and return its address."""

_ORDER = ("reference", "method", "control")


def with_the_page(bundle: Mapping[str, Any], write: Write) -> Json:
    """Return what comes with the page of an example, and write the rest; `file` is name and address of a part."""
    name = f"ex/{bundle['id']}"
    heads = [_head(head, name, write) for head in bundle.get("heads", ())]
    page: Json = {**bundle, **_spectrogram(bundle), "maps": [], "volumes": []}
    per_layer = max(Counter(head["layer"] for head in heads).values(), default=0)
    page["heads"] = [*_written(f"{name}.heads", heads, write), per_layer] if heads else None
    room = AT_ONCE - len(json_text(page))
    shown: set[str] = set()
    for entry in sorted(bundle["maps"], key=lambda m: _ORDER.index(m["kind"])):
        room -= len(json_text(entry))
        if len(shown) < SHOWN and room >= 0:
            shown.add(entry["id"])
    for place, entry in enumerate(bundle["maps"]):
        inside = entry["id"] in shown
        page["maps"].append(entry if inside else _apart(entry, f"{name}.map-{place}", write))
    for place, volume in enumerate(bundle.get("volumes", ())):
        room -= len(volume["data"])
        inside = volume["map"] in shown and room >= 0
        page["volumes"].append(volume if inside else _apart(volume, f"{name}.cells-{place}", write))
    return page


def _spectrogram(bundle: Mapping[str, Any]) -> Json:
    """Return the spectrogram in `WIDEST` steps where it has more, each the mean of its own, and how long one is."""
    array = bundle["spectrogram"]
    steps, mel = array["shape"]
    if steps <= WIDEST:
        return {}
    levels = np.frombuffer(base64.b64decode(array["data"]), np.uint8).reshape(steps, mel)
    starts = np.linspace(0, steps, WIDEST, endpoint=False).astype(int)
    lengths = np.diff(starts, append=steps)[:, None]
    means = np.add.reduceat(levels, starts, axis=0, dtype=np.float64) / lengths
    data = base64.b64encode(np.rint(means).astype(np.uint8).tobytes()).decode("ascii")
    return {
        "spectrogram": {**array, "shape": [WIDEST, mel], "data": data},
        "melframe_seconds": bundle["melframe_seconds"] * steps / WIDEST,
    }


def _apart(array: Mapping[str, Any], name: str, write: Write) -> Json:
    rest = {key: value for key, value in array.items() if key != "data"}
    return {**rest, "file": _written(name, {"data": array["data"]}, write)}


def _written(name: str, content: Any, write: Write) -> list[str]:
    return [name, write(name, content)]


def _head(head: Mapping[str, Any], name: str, write: Write) -> Json:
    """Write the map of a head and return its small picture: levels of 0 to 255 of each token's own scale."""
    grid = unpack(head)
    for axis, most in ((0, ROWS), (1, COLUMNS)):
        starts = np.linspace(0, grid.shape[axis], min(most, grid.shape[axis]), endpoint=False)
        grid = np.maximum.reduceat(grid, starts.astype(int), axis=axis)
    low, high = grid.min(axis=1, keepdims=True), grid.max(axis=1, keepdims=True)
    levels = np.rint(255 * (grid - low) / np.where(high > low, high - low, 1)).astype(np.uint8)
    return {
        "id": head["id"],
        "layer": head["layer"],
        "label": head["label"],
        "score": next(iter(head["scores"].values()), None),
        "shape": list(grid.shape),
        "data": base64.b64encode(levels.tobytes()).decode("ascii"),
        "file": _written(f"{name}.{head['id']}", head, write),
    }
