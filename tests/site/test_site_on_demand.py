"""What comes with the page of an example, and what lies in files of its own."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from xbench.bundle import pack
from xbench.site import on_demand
from xbench.site.data.scripts import json_text, script_text
from xbench.site.on_demand import COLUMNS, ROWS, WIDEST, with_the_page


def entry(kind: str, number: int, grid: Any, **more: Any) -> dict[str, Any]:
    values = np.asarray(grid, dtype=float)
    return {
        "id": f"{kind}-{number}",
        "label": f"{kind} {number}",
        "kind": kind,
        "shape": list(values.shape),
        **pack(values),
        **more,
    }


def bundle(maps: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    sound = {"spectrogram": {"shape": [2, 1], "data": "AAA="}, "melframe_seconds": 0.01}
    return {"id": "clip", "tokens": [], "maps": maps, "volumes": [], "heads": [], **sound, **more}


def split(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what comes with the page, and the other files by name."""
    files: dict[str, Any] = {}

    def write(name: str, content: Any) -> str:
        files[name] = content
        return f"js/{name}.00000000.js"

    return with_the_page(given, write), files


def test_the_first_maps_come_with_the_page_and_every_other_has_a_file() -> None:
    kinds = ["control", "method", "method", "reference", "method", "method"]
    maps = [entry(kind, i, np.eye(3) * (i + 1)) for i, kind in enumerate(kinds)]
    page, files = split(bundle(maps))
    # Shown first: the reference, then methods; the control and the last method are asked for.
    assert ["data" in m for m in page["maps"]] == [False, True, True, True, True, False]
    assert page["maps"][0]["file"] == ["ex/clip.map-0", "js/ex/clip.map-0.00000000.js"]
    assert files == {f"ex/clip.map-{i}": {"data": maps[i]["data"]} for i in (0, 5)}
    assert page["maps"][5] == {
        **{key: value for key, value in maps[5].items() if key != "data"},
        "file": page["maps"][5]["file"],
    }


def test_a_clip_of_thirty_seconds_and_a_hundred_tokens_stays_within_the_budget() -> None:
    generator = np.random.default_rng(0)
    kinds = ["reference", *["method"] * 10, "control"]
    maps = [entry(kind, i, generator.random((100, 1500))) for i, kind in enumerate(kinds)]
    spectrogram = {"shape": [3000, 80], **pack(generator.random((1, 3000 * 80)))}
    given = bundle(maps, spectrogram=spectrogram)
    assert len(json_text(given)) < 3_000_000
    page, files = split(given)
    sizes = [len(script_text(name, json_text(content))) for name, content in files.items()]
    assert len(script_text("ex/clip", json_text(page))) <= 700_000
    assert max(sizes) <= 700_000
    assert ["data" in m for m in page["maps"][:2]] == [True, True]  # a reference and a method
    assert len(files) == 12 - sum("data" in m for m in page["maps"])


def test_a_long_spectrogram_comes_in_fewer_steps_that_are_means() -> None:
    levels = np.arange(2 * WIDEST * 3).reshape(2 * WIDEST, 3) % 251
    data = base64.b64encode(levels.astype(np.uint8).tobytes()).decode()
    array = {"shape": [2 * WIDEST, 3], "min": 0.0, "max": 1.0, "data": data}
    given = bundle([entry("reference", 0, np.eye(3))], spectrogram=array)
    page, _ = split(given)
    assert page["spectrogram"]["shape"] == [WIDEST, 3]
    shown = np.frombuffer(base64.b64decode(page["spectrogram"]["data"]), np.uint8)
    pairs = levels.reshape(WIDEST, 2, 3)
    assert (shown.reshape(WIDEST, 3) == np.rint(pairs.mean(axis=1))).all()
    assert page["melframe_seconds"] == 0.02
    assert given["spectrogram"] is array
    short, _ = split(bundle(given["maps"]))
    assert short["spectrogram"] == {"shape": [2, 1], "data": "AAA="}


def test_cells_that_do_not_fit_are_loaded_with_their_map(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = [entry("reference", 0, np.eye(3))]
    volume = {"map": "reference-0", **entry("volume", 0, np.zeros((3, 30)))}
    page, files = split(bundle(maps, volumes=[volume]))
    assert (page["volumes"], files) == ([volume], {})
    room = len(json_text(bundle(maps))) + len(volume["data"]) // 2
    monkeypatch.setattr(on_demand, "AT_ONCE", room)
    page, files = split(bundle(maps, volumes=[volume]))
    assert page["volumes"][0]["file"][0] == "ex/clip.cells-0"
    assert files["ex/clip.cells-0"] == {"data": volume["data"]}


def test_each_head_has_a_file_and_a_small_picture() -> None:
    grid = np.zeros((2 * ROWS, 4 * COLUMNS))
    grid[:, 4 * 7 + 1] = 1.0
    heads = [
        entry("head", i, grid, layer=i // 2, head=i % 2, scores={"pearson": 0.1 * i})
        for i in range(4)
    ]
    page, files = split(bundle([entry("method", 0, np.eye(2))], heads=heads))
    assert page["heads"] == ["ex/clip.heads", "js/ex/clip.heads.00000000.js", 2]
    small = files["ex/clip.heads"]
    assert [one["score"] for one in small] == [0.0, 0.1, 0.2, pytest.approx(0.3)]
    picture = np.frombuffer(base64.b64decode(small[3]["data"]), np.uint8).reshape(ROWS, COLUMNS)
    assert [list(row.nonzero()[0]) for row in picture] == [[7]] * ROWS
    assert files[small[3]["file"][0]] == heads[3]
