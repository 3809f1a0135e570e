"""Bundles of examples: sound ones become pages, broken ones are named, audio only where it may be."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from synthetic import result, write

from xbench.errors import UsageError
from xbench.site.build import Options, build
from xbench.site.check import problems
from xbench.site.examples import read_examples


def packed(*shape: int) -> str:
    size = 1
    for length in shape:
        size *= length
    return base64.b64encode(bytes(i % 256 for i in range(size))).decode()


def bundle(**changes: Any) -> dict[str, Any]:
    tokens = [{"text": text, "content": text != "<end>"} for text in ("a", " b", "<end>")]
    shown = {
        "shape": [3, 7],
        "min": [0.0, 0.0, None],
        "max": [0.4, 0.5, None],
        "data": packed(3, 7),
    }
    return {
        "schema": "xbench.example/1",
        "task": "demo-asr-en",
        "model": "xbench-tiny",
        "utterance": "en-0001",
        "language": "en",
        "hypothesis": "a b",
        "transcript": "a b",
        "translation": None,
        "licence": "CC0-1.0",
        "seconds": 0.14,
        "frame_seconds": 0.02,
        "melframe_seconds": 0.01,
        "tokens": tokens,
        "spectrogram": {"shape": [14, 8], "data": packed(14, 8)},
        "peaks": packed(20),
        "maps": [
            {
                "id": "spes-encoder",
                "label": "spes-encoder",
                "kind": "reference",
                "scores": {},
                **shown,
            },
            {
                "id": "m",
                "label": "mean-heads",
                "kind": "method",
                "scores": {"pearson": 0.5},
                **shown,
            },
        ],
        **changes,
    }


def put(folder: Path, content: Any, name: str = "en-0001") -> Path:
    (folder / name).mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name / "bundle.json").write_text(text)
    (folder / name / "audio.wav").write_bytes(b"RIFF" + bytes(40))
    return folder


def test_an_example_becomes_a_page_with_its_audio(tmp_path: Path) -> None:
    examples = put(tmp_path / "examples", bundle(hypothesis="<b>a</b>"))
    out = tmp_path / "out"
    build([write(tmp_path / "r", [result()])], out, Options(examples=examples))
    assert problems(out) == []
    page = (out / "examples/en-0001.html").read_text()
    assert "../media/en-0001.wav" in page
    assert "&lt;b&gt;a&lt;/b&gt;" in page
    assert (out / "media/en-0001.wav").read_bytes().startswith(b"RIFF")
    assert "en-0001.html" in (out / "examples/index.html").read_text()


def test_arrays_stay_exact_however_long(tmp_path: Path) -> None:
    long = bundle(spectrogram={"shape": [500, 80], "data": packed(500, 80)})
    (example,), _, _ = read_examples(put(tmp_path, long), 9, "none")
    assert example.bundle["spectrogram"] == long["spectrogram"]
    assert example.audio is None


def test_audio_needs_a_licence(tmp_path: Path) -> None:
    put(tmp_path, bundle(licence="all rights reserved"))
    (example,), media, refused = read_examples(tmp_path, 9, "allow-list")
    assert (example.audio, media, refused) == (None, {}, ())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Expecting"),
        (json.dumps(bundle()).replace("0.14", "NaN"), "NaN is not allowed"),
        (bundle(schema="other"), "xbench.example/1"),
        (bundle(spectrogram={"shape": [14, 9], "data": packed(14, 8)}), "as many bytes"),
        (bundle(tokens=[]), "one row for each token"),
        (bundle(peaks="<script>"), "peaks"),
        (bundle(extra=1), "extra"),
    ],
)
def test_a_broken_bundle_is_named(content: Any, why: str, tmp_path: Path) -> None:
    examples, _, refused = read_examples(put(tmp_path, content), 9, "none")
    assert examples == ()
    assert why in refused[0].reason
    assert refused[0].file == "en-0001/bundle.json"


def test_other_folders_and_files_that_lie_are_refused(tmp_path: Path) -> None:
    put(tmp_path, bundle(), "No Good")
    put(tmp_path, bundle(), "lies")
    (tmp_path / "lies" / "audio.wav").write_bytes(b"<html>")
    examples, _, refused = read_examples(tmp_path, 9, "allow-list")
    assert examples == ()
    assert len(refused) == 2
    with pytest.raises(UsageError, match="no such folder"):
        read_examples(tmp_path / "none", 9, "none")
