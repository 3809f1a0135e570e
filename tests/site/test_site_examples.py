"""Bundles on the site: published as they are, harmless, or left out with a reason."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import result, write

from example_bundle import BUNDLE
from xbench.bundle import to_json
from xbench.errors import UsageError
from xbench.site.build import Options, build
from xbench.site.check import problems

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
Place = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    def put(name: str, audio: bytes | None = None, **fields: Any) -> Path:
        folder = tmp_path / "bundles" / name
        folder.mkdir(parents=True)
        content = {**copy.deepcopy(BUNDLE), "id": name, **fields}
        if audio is not None:
            (folder / "audio.wav").write_bytes(audio)
            content |= {"audio": "audio.wav", "audio_reason": None}
        (folder / "bundle.json").write_text(to_json(content))
        return folder.parent

    return put


def built(tmp_path: Path, bundles: Path, **options: Any) -> Any:
    results = tmp_path / "results"  # of none: examples stand for themselves
    results.mkdir(exist_ok=True)
    return build([results], tmp_path / "site", Options(examples=bundles, **options))


def page(tmp_path: Path, name: str) -> str:
    return (tmp_path / "site" / "examples" / f"{name}.html").read_text()


def script(tmp_path: Path, name: str) -> Any:
    (file,) = (tmp_path / "site" / "js" / "ex").glob(f"{name}.*.js")
    quoted = re.fullmatch(rf"XB\.put\('ex/{name}','(.*)'\);\n", file.read_text())
    assert quoted is not None
    content = json.loads(quoted[1].replace("\\'", "'").replace("\\\\", "\\"))
    return content


def test_a_bundle_is_published_with_its_clip(tmp_path: Path, place: Place) -> None:
    done = built(tmp_path, place("clip-1", WAV, licence="CC0-1.0"))
    assert done.refused == ()
    assert (tmp_path / "site/media/clip-1.wav").read_bytes() == WAV
    assert '<audio id="audio"' in page(tmp_path, "clip-1")
    assert "mean-heads" in page(tmp_path, "clip-1")
    assert "clip-1.html" in page(tmp_path, "index")
    shown = script(tmp_path, "clip-1")
    for entry in shown["maps"]:
        assert (len(entry.pop("beside")), type(entry.pop("sinks"))) == (entry["shape"][0], list)
    assert shown["outline"][0] == "Loudness"  # a header alone is no sound
    assert {key: shown[key] for key in BUNDLE} == {
        **BUNDLE,
        "id": "clip-1",
        "licence": "CC0-1.0",
        "audio": "audio.wav",
        "audio_reason": None,
    }
    assert problems(tmp_path / "site") == []


@pytest.mark.parametrize(
    ("licence", "audio", "told", "reason"),
    [
        ("CC-BY-NC-4.0", "allow-list", "licence of the clip does not allow", "licence-not-allowed"),
        (None, "allow-list", "licence of the clip does not allow", "licence-not-allowed"),
        ("CC0-1.0", "none", "not shipped with this site, though its licence", "not-asked-for"),
    ],
)
def test_clips_are_withheld(
    tmp_path: Path, place: Place, licence: str | None, audio: str, told: str, reason: str
) -> None:
    built(tmp_path, place("clip-1", WAV, licence=licence), audio=audio)
    assert not list((tmp_path / "site").rglob("*.wav"))
    assert told in page(tmp_path, "clip-1")
    # Where it can be heard.
    assert re.search(
        r"Its source has it: <bdi>[^<]|Its source is not recorded", page(tmp_path, "clip-1")
    )
    shown = script(tmp_path, "clip-1")
    assert (shown["audio"], shown["audio_reason"]) == (None, reason)


def test_a_clip_that_the_bundle_does_not_name_is_not_published(
    tmp_path: Path, place: Place
) -> None:
    folder = place("clip-1", licence="CC0-1.0")
    (folder / "clip-1" / "audio.wav").write_bytes(WAV)
    built(tmp_path, folder)
    assert not list((tmp_path / "site").rglob("*.wav"))


def test_hostile_text_stays_text_and_data_stay_whole(tmp_path: Path, place: Place) -> None:
    hostile = "</script><img src=x onerror=alert(1)>a\u202eb\u0000'); alert(1)" + "x" * 5000
    maps = copy.deepcopy(BUNDLE["maps"])
    maps[0] |= {"label": hostile, "method": hostile, "shape": [2, 9000], "data": "AAAA" * 6000}
    built(tmp_path, place("clip-1", hypothesis=hostile, transcript=hostile, maps=maps))
    html = page(tmp_path, "clip-1") + page(tmp_path, "index")
    assert "<img src=x" not in html
    assert "\u202e" not in html
    assert "\x00" not in html
    shown = script(tmp_path, "clip-1")
    assert shown["maps"][0]["data"] == maps[0]["data"]
    assert len(shown["hypothesis"]) <= 1000
    assert problems(tmp_path / "site") == []


def test_broken_bundles_are_left_out_and_named(tmp_path: Path, place: Place) -> None:
    place("good")
    place("Bad Name")
    place("no-clip", b"", licence="CC0-1.0")
    place("other-sound", b"ID3 mp3", licence="CC0-1.0")
    place("cut")
    place("elsewhere")
    bundles = tmp_path / "bundles"
    (bundles / "cut" / "bundle.json").write_text('{"schema": ')
    (bundles / "elsewhere").rename(bundles / "moved")
    done = built(tmp_path, bundles)
    assert {r.file: r.reason for r in done.refused}.keys() == {
        f"{name}/bundle.json" for name in ("Bad Name", "no-clip", "other-sound", "cut", "moved")
    }
    assert sorted(p.stem for p in (tmp_path / "site/examples").iterdir()) == ["good", "index"]
    with pytest.raises(UsageError, match=r"Bad Name/bundle\.json"):
        built(tmp_path, bundles, strict=True)


def test_no_more_examples_than_asked_for(tmp_path: Path, place: Place) -> None:
    for name in "abc":
        place(name)
    built(tmp_path, tmp_path / "bundles", max_examples=2)
    assert sorted(p.stem for p in (tmp_path / "site/examples").iterdir()) == ["a", "b", "index"]


def test_the_page_says_how_the_clip_compares_with_the_others(tmp_path: Path, place: Place) -> None:
    run = result(utterances=5)
    run["utterances"]["pearson@spes-encoder"] = [0.4, 0.1, 0.9, None, 0.2]
    entry = {
        **copy.deepcopy(BUNDLE["maps"][0]),
        "id": "method-mean-heads",
        "label": "mean-heads",
        "kind": "method",
        "method": "mean-heads",
        "params": run["method"]["params"],
        "scores": {"pearson@spes-encoder": 0.4, "gone": 0.1},
    }
    facts = {"task": "demo-asr-en", "model": "xbench-tiny", "utterance": "clip-0000"}
    bundles = place("clip-1", **facts, maps=[entry])
    results = write(tmp_path / "results", [run])
    build([results], tmp_path / "site", Options(examples=bundles))
    # 0.4 is above 0.1 and 0.2, below 0.9; the clip without a score does not count.
    assert page(tmp_path, "clip-1").count("better than 2 of 3</small>") == 1
    # A newer result says something else of this clip: it is not the one that the bundle was made from.
    newer = result(utterances=5, seed=1, date="2026-06-01")
    newer["utterances"]["pearson@spes-encoder"] = [0.5, 0.1, 0.2, 0.3, 0.4]
    build([write(tmp_path / "results", [run, newer])], tmp_path / "site", Options(examples=bundles))
    assert page(tmp_path, "clip-1").count("better than 2 of 3</small>") == 1
    newer["utterances"]["pearson@spes-encoder"][0] = 0.4
    build([write(tmp_path / "results", [run, newer])], tmp_path / "site", Options(examples=bundles))
    assert page(tmp_path, "clip-1").count("better than 3 of 4</small>") == 1
    (names,) = (tmp_path / "site" / "js").glob("entities.*.js")
    assert '"ex/clip-1"' in names.read_text()


def test_models_and_their_examples_link_to_each_other(tmp_path: Path, place: Place) -> None:
    here = {"task": "demo-asr-en", "utterance": "clip-0000"}
    place("clip-1", model="xbench-tiny", **here)
    place("clip-3", model="another", **{**here, "utterance": "of-other-clips"})
    bundles = place("clip-2", model="not-on-the-board", **here)
    results = write(tmp_path / "results", [result(), result(model="another")])
    build([results], tmp_path / "site", Options(examples=bundles))
    models = {p.stem: p.read_text() for p in (tmp_path / "site/models").glob("*.html")}
    found = {stem: re.findall(r"examples/(clip-\d)\.html", text) for stem, text in models.items()}
    assert found == {"index": [], "xbench-tiny": ["clip-1"], "another": ["clip-3"]}
    for target in ("models/xbench-tiny.html", "tasks/demo-asr-en.html"):
        assert page(tmp_path, "clip-1").count(f'href="../{target}"') == 1
    assert 'href="../models/xbench-tiny' not in page(tmp_path, "clip-2")
    # A task of the same name with other clips is another task.
    assert 'href="../tasks/demo-asr-en' not in page(tmp_path, "clip-3")
    assert problems(tmp_path / "site") == []
