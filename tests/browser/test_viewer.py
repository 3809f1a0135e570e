"""The viewer of an utterance: one chosen token everywhere, sound that can be wound, values that are true."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bundles import BANDS, FRAMES, SECONDS, VOLUME, WORDS, bundle
from harness import Site
from PIL import Image

READY = "#viewer[data-ready]"


@pytest.fixture
def viewer(site: Site, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that opens an example page."""

    def opened(name: str = "demo-one", how: str = "file", **more: Any) -> Any:
        page, watch = open_page(site.url(f"examples/{name}.html", how), **more)
        page.locator(READY).wait_for()
        page.watch = watch
        return page

    return opened


def pixels(page: Any, selector: str) -> list[int]:
    """Return the RGBA bytes of a canvas, row by row."""
    return page.locator(selector).evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )


def test_choosing_a_token_marks_it_everywhere(viewer: Callable[..., Any]) -> None:
    page = viewer()
    chips = page.locator(".chip")
    assert chips.all_inner_texts() == [word.replace("▁", "") for word in WORDS]
    assert page.locator(".chip[aria-pressed=true]").inner_text() == "the"
    chips.nth(4).click()
    assert page.locator(".chip[aria-pressed=true]").inner_text() == "jumps"
    tops = page.locator(".lane .row").evaluate_all("r => r.map(x => x.style.top)")
    assert set(tops) == {f"{100 * 4 // len(WORDS)}%"}
    assert "spoken from 1.60 to 2.00 s" in page.locator(".live").inner_text()
    assert page.locator(".segment").evaluate("s => s.style.left") == "40%"
    chips.nth(9).click()
    assert page.get_by_role("button", name="Play this segment").is_disabled()
    assert page.watch.problems == []


def test_the_playhead_ends_where_the_labels_begin(viewer: Callable[..., Any]) -> None:
    page = viewer()
    page.locator("select[name=zoom]").select_option("4")
    tracks = page.locator(".tracks")
    tracks.evaluate("e => e.scrollTo(500, 0)")
    page.wait_for_timeout(100)
    hidden = tracks.evaluate("e => e.scrollLeft")
    assert hidden == 500
    for part in (".overlay", ".axis"):
        clip = page.locator(part).evaluate("e => getComputedStyle(e).clipPath")
        assert clip == f"inset(0px 0px 0px {hidden}px)"
    assert page.watch.problems == []


def test_the_keyboard_moves_between_tokens(viewer: Callable[..., Any]) -> None:
    page = viewer()
    page.locator(".chip[tabindex='0']").focus()
    for key, word in (("ArrowRight", "quick"), ("End", "."), ("ArrowRight", "."), ("Home", "the")):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.textContent") == word
        assert page.locator(".chip[aria-pressed=true]").inner_text() == word
    assert page.locator(".chip[tabindex='0']").count() == 1


def test_bands_and_overlay_show_the_bytes_of_the_bundle(viewer: Callable[..., Any]) -> None:
    page = viewer()
    page.get_by_label("Colours").select_option("grey")
    page.get_by_label("Scale").select_option("token")
    reference = next(m for m in bundle()["maps"] if m["kind"] == "reference")
    levels = base64.b64decode(reference["data"])
    shown = pixels(page, ".track.maps canvas >> nth=0")
    assert shown[0::4] == [255 - level for level in levels]  # from white to black
    page.locator(".chip").nth(2).click()
    page.get_by_label("Over the spectrogram").select_option("chefer")
    chefer = base64.b64decode(next(m for m in bundle()["maps"] if m["id"] == "chefer")["data"])
    strength = int(page.get_by_label("Strength").input_value()) / 100
    alpha = pixels(page, "canvas.over")[3::4]
    wanted = [strength * level for level in chefer[2 * FRAMES : 3 * FRAMES]]
    assert len(alpha) == FRAMES
    assert all(abs(a - w) <= 1 for a, w in zip(alpha, wanted, strict=True))


def test_the_difference_of_two_maps_is_a_band_of_its_own(viewer: Callable[..., Any]) -> None:
    page = viewer()
    before = page.locator(".track.maps").count()
    page.get_by_label("Scale").select_option("token")
    page.get_by_label("Over the spectrogram").select_option("chefer")
    page.get_by_label("Minus").select_option("spes-encoder")
    band = page.locator(".track.maps").nth(before)
    assert band.locator("figcaption").inner_text() == "chefer − spes-encoder"
    chefer, reference = (
        base64.b64decode(next(m for m in bundle()["maps"] if m["id"] == name)["data"])
        for name in ("chefer", "spes-encoder")
    )
    shown = pixels(page, f".track.maps canvas >> nth={before}")
    for channel, ends in enumerate(((213, 0), (94, 114), (0, 178))):
        wanted = [
            255 + abs(a - b) / 255 * (ends[a < b] - 255)
            for a, b in zip(chefer, reference, strict=True)
        ]
        assert all(abs(a - b) <= 1 for a, b in zip(shown[channel::4], wanted, strict=True))
    page.get_by_role("combobox", name="Minus").select_option("nothing")
    assert page.locator(".track.maps").count() == before
    assert page.watch.problems == []


def test_a_scale_over_the_whole_map_keeps_rows_comparable(viewer: Callable[..., Any]) -> None:
    page = viewer()
    page.get_by_label("Colours").select_option("grey")
    page.locator(".chooser summary").click()
    page.get_by_label("uniform", exact=True).check()
    constant = page.locator(".track.maps", has_text="uniform").locator("canvas")
    constant.wait_for()
    red = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 4 === 0)"
    own = max(constant.evaluate(red))
    page.get_by_label("Scale").select_option("map")
    assert own == 255  # a constant row shows as nothing, not as everything
    shown = pixels(page, ".track.maps canvas >> nth=0")[0::4]
    entry = next(m for m in bundle()["maps"] if m["kind"] == "reference")
    low, high = min(entry["min"]), max(entry["max"])
    data = base64.b64decode(entry["data"])
    for t in (0, 5, 9):
        value = entry["min"][t] + (entry["max"][t] - entry["min"][t]) * data[t * FRAMES] / 255
        assert abs(shown[t * FRAMES] - (255 - 255 * (value - low) / (high - low))) <= 1.5


@pytest.mark.parametrize("how", ["file", "http"])
def test_sound_can_be_wound_also_where_the_server_cannot(
    viewer: Callable[..., Any], how: str
) -> None:
    page = viewer(how=how)
    audio = page.locator("audio")
    page.wait_for_timeout(500)
    assert audio.evaluate("a => a.duration") == pytest.approx(SECONDS, abs=0.05)
    assert audio.evaluate("a => a.paused")
    lane = page.locator("canvas.sound")
    box = lane.bounding_box()
    lane.click(position={"x": box["width"] * 0.75, "y": 20})
    left = 0.0
    for _ in range(50):  # the page's rules on scripts forbid `wait_for_function`
        page.wait_for_timeout(100)
        left = page.locator(".playhead").evaluate("h => parseFloat(h.style.left) || 0")
        if left > 0:
            break
    assert audio.evaluate("a => a.currentTime") == pytest.approx(0.75 * SECONDS, abs=0.05)
    assert left == pytest.approx(75, abs=1.5)
    assert page.watch.problems == []


def test_playing_a_segment_stops_at_its_end(viewer: Callable[..., Any]) -> None:
    page = viewer()
    page.locator(".chip").nth(3).click()
    page.get_by_role("button", name="Play this segment").click()
    page.wait_for_timeout(1500)
    audio = page.locator("audio")
    assert audio.evaluate("a => a.paused")
    assert 1.55 <= audio.evaluate("a => a.currentTime") <= 1.9


def test_explanations_can_be_taken_away_and_added(viewer: Callable[..., Any]) -> None:
    page = viewer()
    assert page.locator(".track.maps bdi").all_inner_texts() == [
        "spes-encoder",
        "mean-heads",
        "chefer",
        "rollout",
    ]
    page.locator(".chooser summary").click()
    page.get_by_label("mean-heads", exact=True).uncheck()
    assert page.locator(".track.maps bdi").all_inner_texts() == [
        "spes-encoder",
        "chefer",
        "rollout",
    ]


def test_without_sound_the_maps_are_shown_and_the_reason_is_said(
    viewer: Callable[..., Any],
) -> None:
    page = viewer("demo-two")
    assert page.locator("audio").count() == 0
    assert "No audio here" in page.locator("main").inner_text()
    assert page.locator(".track.maps").count() == 4
    assert page.locator("main script, main b").count() == 0
    page.locator("canvas.sound").click()
    assert page.watch.problems == []


def test_a_map_of_cells_lies_on_the_spectrogram_with_low_bands_below(
    viewer: Callable[..., Any],
) -> None:
    page = viewer()
    page.get_by_label("Strength").fill("100")
    page.locator(".chip").nth(6).click()
    alpha = pixels(page, "canvas.over")[3::4]
    cells = BANDS * FRAMES
    bands = [
        VOLUME[6 * cells + b * FRAMES : 6 * cells + (b + 1) * FRAMES]
        for b in reversed(range(BANDS))
    ]
    assert alpha == [level for band in bands for level in band]


def test_every_row_has_its_token_and_the_chosen_one_stands_out(
    viewer: Callable[..., Any],
) -> None:
    page = viewer()
    rows = page.locator(".track.maps").first.locator(".rows li")
    assert [text.split()[0] for text in rows.all_inner_texts()] == [
        word.replace("▁", "") for word in WORDS
    ]
    page.locator(".chip").nth(4).click()
    assert page.locator(".rows .on").count() == page.locator(".track.maps").count()
    assert page.locator(".rows .on").first.inner_text().startswith("jumps")


def test_the_view_stands_in_the_address(viewer: Callable[..., Any]) -> None:
    page = viewer()
    assert "#" not in page.url
    page.get_by_label("Colours").select_option("grey")
    page.get_by_label("Zoom").select_option("4")
    page.locator(".chip").nth(4).click()
    address = page.url
    page.wait_for_load_state("networkidle")  # leaving would break off the icon's request
    page.goto("about:blank")
    page.goto(address)
    page.locator(READY).wait_for()
    assert page.get_by_label("Colours").input_value() == "grey"
    assert page.get_by_label("Zoom").input_value() == "4"
    assert page.locator(".chip[aria-pressed=true]").inner_text() == "jumps"
    lane = page.locator(".lane").first.evaluate("l => l.getBoundingClientRect().width")
    shown = page.locator(".tracks").evaluate("t => t.clientWidth")
    assert lane > 3 * shown
    assert page.watch.problems == []


def test_at_first_the_brightest_frames_of_a_row_share_a_colour(viewer: Callable[..., Any]) -> None:
    page = viewer()
    page.get_by_label("Colours").select_option("grey")
    assert page.get_by_label("Scale").input_value() == "robust"
    reference = next(m for m in bundle()["maps"] if m["kind"] == "reference")
    row = base64.b64decode(reference["data"])[:FRAMES]
    top = sorted(row)[int(0.99 * (FRAMES - 1))]
    assert 0 < top < 255
    wanted = [min(255, 255 * level / top) for level in row]
    shown = [255 - level for level in pixels(page, ".track.maps canvas >> nth=0")[0::4][:FRAMES]]
    assert all(abs(a - b) <= 1.01 for a, b in zip(shown, wanted, strict=True))


@pytest.mark.parametrize("how", ["file", "http"])
def test_a_map_that_did_not_come_with_the_page_is_loaded_when_it_is_asked_for(
    viewer: Callable[..., Any], how: str
) -> None:
    page = viewer(how=how)
    page.locator(".chooser summary").click()
    box = page.get_by_label("uniform", exact=True)
    assert not box.is_checked()
    page.get_by_label("mean-heads", exact=True).uncheck()
    box.check()
    page.locator(".track.maps bdi", has_text="uniform").wait_for()
    page.get_by_label("Over the spectrogram").select_option("uniform")
    assert page.locator(".track.maps").count() == 4
    assert page.watch.problems == []


def test_a_head_opens_from_its_small_picture_and_stands_in_the_address(
    viewer: Callable[..., Any],
) -> None:
    page = viewer()
    page.locator("summary", has_text="Single heads").click()
    openers = page.locator(".minis button")
    openers.nth(4).wait_for()
    assert openers.all_inner_texts() == [
        f"layer {layer}, head {head}: 0.25" for layer in range(2) for head in range(3)
    ]
    openers.nth(4).click()
    band = page.locator(".track.maps", has_text="layer 1, head 1")
    band.wait_for()
    page.get_by_label("Colours").select_option("grey")
    data = base64.b64decode(bundle()["heads"][4]["data"])
    shown = band.locator("canvas").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    assert shown[0::4] == [255 - level for level in data]
    address = page.url
    assert "head-1-1" in address
    page.wait_for_load_state("networkidle")
    page.goto("about:blank")
    page.goto(address)
    page.locator(".track.maps", has_text="layer 1, head 1").wait_for()
    assert page.watch.problems == []


def test_the_path_goes_through_each_method_and_can_be_hidden(viewer: Callable[..., Any]) -> None:
    page = viewer()
    lines = page.locator(".lane svg.path polyline")
    references = page.locator(".track.maps figcaption .tag", has_text="reference").count()
    assert references == 1
    assert lines.count() == page.locator(".track.maps").count() - references
    points = lines.first.get_attribute("points").split()
    ends = [*range(20, FRAMES, 20), FRAMES]
    wanted = [(x, t + 0.5) for t, end in enumerate(ends) for x in (20 * t, end)]
    assert [tuple(map(float, point.split(","))) for point in points] == wanted
    page.get_by_label("Path").select_option("hidden")
    assert not lines.first.is_visible()
    assert "path=hidden" in page.url


def test_values_are_read_by_keyboard(viewer: Callable[..., Any]) -> None:
    page = viewer()
    page.locator(".track.maps canvas").first.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    seconds = 2 * bundle()["frame_seconds"]
    said = page.locator(".readout").inner_text()
    assert said.startswith(f"spes-encoder, quick at {seconds:.2f} s: ")


def downloaded(page: Any, button: str, folder: Any) -> Any:
    """Return the file that a button saves."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    download.value.save_as(folder / button)
    return folder / button


def test_a_map_is_saved_with_its_values(viewer: Callable[..., Any], tmp_path: Any) -> None:
    page = viewer()
    page.get_by_label("Over the spectrogram").select_option("chefer")
    lines = downloaded(page, "CSV", tmp_path).read_text("utf-8").splitlines()
    entry = next(m for m in bundle()["maps"] if m["id"] == "chefer")
    assert len(lines) == 1 + len(WORDS)
    data = base64.b64decode(entry["data"])
    first = entry["min"][0] + (entry["max"][0] - entry["min"][0]) * data[0] / 255
    assert float(lines[1].split(",")[1]) == pytest.approx(first, rel=1e-3)


def test_a_picture_of_a_map_can_be_seen(viewer: Callable[..., Any], tmp_path: Any) -> None:
    page = viewer()
    page.get_by_label("Over the spectrogram").select_option("chefer")
    tokens, frames = next(m["shape"] for m in bundle()["maps"] if m["id"] == "chefer")
    with Image.open(downloaded(page, "PNG", tmp_path)) as picture:
        assert picture.size == (4 * frames, 16 * tokens)
        cells = np.asarray(picture.convert("RGB")).reshape(tokens, 16, frames, 4, 3)
    assert (cells == cells[:, :1, :, :1]).all()  # a cell is of one colour
    assert len(np.unique(cells[:, 0, :, 0].reshape(-1, 3), axis=0)) > 20


def test_space_plays_and_pauses(viewer: Callable[..., Any]) -> None:
    page = viewer()
    page.locator("h1").click()
    page.keyboard.press("Space")
    page.wait_for_timeout(200)
    assert not page.locator("audio").evaluate("a => a.paused")
    page.keyboard.press("Space")
    assert page.locator("audio").evaluate("a => a.paused")
