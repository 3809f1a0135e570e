"""What stands beside each token in the viewer, sinks, and the small pictures of the gallery."""

from __future__ import annotations

import base64
import io
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from xbench.bundle import pack
from xbench.site.beside import correlation, with_tokens
from xbench.site.charts import LEVELS, viridis
from xbench.site.examples import Example
from xbench.site.pages.example import Glance, failing, glance, hardest
from xbench.site.picture import picture
from xbench.site.tables.tabulate import tabulate
from xbench.site.thumbnail import HEIGHT, WIDTH, thumbnail


def entry(kind: str, grid: Any, reliability: Any = None) -> dict[str, Any]:
    values = np.asarray(grid, dtype=float)
    return {
        "kind": kind,
        "shape": list(values.shape),
        "row_reliability": reliability,
        **pack(values),
    }


def test_correlation_by_hand() -> None:
    row = np.array([1.0, 2.0, 3.0])
    assert correlation(row, 5 * row - 2) == 1.0
    assert correlation(row, -row) == -1.0
    assert correlation(row, np.array([1.0, 2.0, 1.0])) == 0.0
    assert correlation(row, np.ones(3)) is None


def test_a_reference_shows_its_reliability_and_other_maps_their_correlation_with_it() -> None:
    grid = [[0.0, 0.2, 1.0], [0.3, 0.1, 0.0], [1.0, 0.0, 0.0]]
    tokens = [{"content": True}, {"content": True}, {"content": False}]
    maps = [
        entry("reference", grid, [0.912, None, None]),
        entry("method", [grid[0], grid[1][::-1], grid[2]]),
    ]
    reference, method = with_tokens({"tokens": tokens, "maps": maps})["maps"]
    assert reference["beside"] == [0.91, None, None]
    # Mirrored, (0.3, 0.1, 0) meets (0, 0.1, 0.3): -0.07 / 0.14 x 3 = -13/14 with mean 0.4 / 3.
    assert method["beside"] == [1.0, -0.93, None]


def test_the_path_of_word_times_is_drawn_through_methods_and_not_through_a_reference() -> None:
    maps = [{**entry(kind, [[1.0, 0.0]]), "path": [0]} for kind in ("reference", "method")]
    made = with_tokens({"tokens": [{"content": True}], "maps": maps})["maps"]
    assert [one.get("path") for one in made] == [None, [0]]


def test_a_sink_is_a_frame_that_most_tokens_attend_to() -> None:
    grid = np.full((4, 40), 0.01)
    grid[:3, 7] = 0.2  # three of four tokens
    grid[0, 20] = grid[1, 20] = 0.2  # half of them is not most
    tokens = [{"content": True}] * 4
    made = with_tokens(
        {"tokens": tokens, "maps": [entry("method", grid), entry("reference", grid)]}
    )
    assert [m["sinks"] for m in made["maps"]] == [[7], []]


def test_a_thumbnail_is_a_picture_of_the_map() -> None:
    grid = np.zeros((HEIGHT + 6, 4 * WIDTH))
    grid[:, 4 * 10 + 3] = 1.0
    link = thumbnail(entry("method", grid))
    content = base64.b64decode(link.removeprefix("data:image/png;base64,"))
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    assert picture.size == (WIDTH, HEIGHT)
    colours = {tuple(bytes.fromhex(viridis(step)[1:])): step for step in (0, LEVELS - 1)}
    bright = [x for x in range(WIDTH) if colours[picture.getpixel((x, 0))] == LEVELS - 1]
    assert bright == [10]


def test_a_glance_names_the_method_that_does_worst_on_the_clip() -> None:
    grid = np.eye(3)
    scores = {"a": 0.6, "b": 0.2, "c": 0.4}
    maps = [
        {
            **entry("method", grid),
            "id": label,
            "label": label,
            "scores": {"pearson@spes-encoder": value},
        }
        for label, value in scores.items()
    ]
    maps.append(
        {**maps[0], "kind": "control", "label": "line", "scores": {"pearson@spes-encoder": 0}}
    )
    example = Example("e", {"maps": maps, "task": "t"}, None)
    seen = glance(tabulate([]), example)
    assert (seen.method, seen.value, seen.worst, seen.share) == ("a", 0.6, ("b", 0.2), None)


def test_the_hardest_clip_is_the_one_on_which_methods_beat_the_fewest_others() -> None:
    maps = [
        {**entry("method", np.eye(3)), "id": id, "label": id, "scores": {"pearson": 0.5}}
        for id in "ab"
    ]

    def seen(name: str, a: int, b: int) -> Glance:
        better = {"a": {"pearson": (a, 10)}, "b": {"pearson": (b, 5)}}
        return glance(tabulate([]), Example(name, {"maps": maps, "task": "t"}, None, better))

    easy, middle, hard = seen("easy", 10, 5), seen("middle", 4, 3), seen("hard", 3, 0)
    assert [one.share for one in (easy, middle, hard)] == [1.0, 0.5, 0.15]
    assert hardest([easy, hard, middle]) is hard
    assert hardest([easy, middle]) is None


def test_a_method_fails_on_the_clip_on_which_it_beats_the_fewest_others() -> None:
    maps = [
        {**entry("method", np.eye(3)), "id": id, "label": id, "scores": {"pearson": 0.5}}
        for id in "ab"
    ]

    def clip(name: str, model: str, a: int, b: int) -> Example:
        better = {"a": {"pearson": (a, 10)}, "b": {"pearson": (b, 10)}}
        return Example(name, {"maps": maps, "task": "t", "model": model}, None, better)

    clips = [clip("one", "m", 4, 5), clip("two", "m", 1, 9), clip("three", "n", 0, 9)]
    found = failing(tabulate([]), clips)
    assert {key: (f.example.id, f.beaten, f.others) for key, f in found.items()} == {
        ("m", "a"): ("two", 1, 10),
        (None, "a"): ("two", 1, 10),  # of the model that the first clip is of
        ("n", "a"): ("three", 0, 10),
    }
    assert failing(tabulate([]), clips, "onset-error") == {}
    assert failing(tabulate([]), clips, "pearson") == found


def test_all_maps_of_a_clip_are_one_picture() -> None:
    grid = np.arange(2 * 40_000, dtype=float).reshape(2, 40_000)  # more than a stored block holds
    maps = [{**entry("method", grid), "label": label} for label in ("one", "two <&>")]
    tokens = [{"text": "\N{LOWER ONE EIGHTH BLOCK}a"}, {"text": "<b>"}]
    drawn = ElementTree.fromstring(picture({"maps": maps, "tokens": tokens, "seconds": 2.0}))
    svg = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in drawn.iter(f"{svg}text")]
    assert texts == ["one", "a", "<b>", "two <&>", "a", "<b>", "0 s", "1 s", "2 s"]
    link = next(drawn.iter(f"{svg}image")).attrib["href"]
    content = base64.b64decode(link.removeprefix("data:image/png;base64,"))
    shown = Image.open(io.BytesIO(content))
    assert shown.size == (40_000, 2)
    assert [shown.getpixel((x, 1)) for x in (0, 20_001, 39_999)] == [0, LEVELS // 2, LEVELS - 1]
