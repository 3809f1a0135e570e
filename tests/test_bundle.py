"""Bundles: arrays come back, names are harmless, and what contradicts itself is refused."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from example_bundle import BUNDLE
from xbench import bundle
from xbench.bundle import bundle_id, map_id, pack, read_bundle, to_json, unpack
from xbench.errors import UsageError

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def written(folder: Path, content: Any) -> Path:
    path = folder / BUNDLE["id"] / "bundle.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else to_json(content))
    return path


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_bundle(written(tmp_path, BUNDLE)) == BUNDLE


def test_arrays_by_hand() -> None:
    packed = pack(np.array([[0.0, 1.0, 0.5], [7.0, 7.0, 7.0], [-1.0, 0.0, -0.8]]))
    # 127.5 goes to the even neighbour; a constant row is all zeros.
    assert list(base64.b64decode(packed["data"])) == [0, 255, 128, 0, 0, 0, 0, 255, 51]
    assert (packed["min"], packed["max"]) == ([0.0, 7.0, -1.0], [1.0, 7.0, 0.0])


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-(2.0**99), 2.0**99, width=32),
    )
)
def test_values_come_back_within_half_a_step_of_their_row(values: np.ndarray) -> None:
    values = values.astype(np.float64)
    back = unpack({"shape": list(values.shape), **pack(values)})
    span = values.max(axis=1) - values.min(axis=1)
    rounding = 1e-8 * np.abs(values).max(axis=1)  # nine digits of the ends
    assert (np.abs(back - values) <= (span / 510 + rounding)[:, None] * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    "hostile",
    ["../../etc/passwd", "", ".", "日本語", "a/b\\c:d", "x" * 300, "con", "a\nb\x00", "-"],
)
def test_names_of_bundles_are_plain_and_differ(hostile: str) -> None:
    names = [
        bundle_id("task", "model", hostile, "run"),
        bundle_id("task", "model", hostile, "other run"),
        bundle_id("task", "model", hostile + ".", "run"),
        bundle_id(hostile, hostile, hostile, "run"),
        map_id("method", hostile),
        map_id("control", hostile),
    ]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,80}", name) for name in names)


def test_names_tell_task_model_and_clip() -> None:
    assert bundle_id("asr", "Tiny.en", "en-1", "r").startswith("asr-tiny-en-en-1-")


def put(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        *above, last = path
        for key in above:
            content = content[key]
        content[last] = value

    return change


def volume(**fields: Any) -> Callable[[Any], None]:
    whole = {"map": "method-mean-heads", "shape": [2, 1, 2], "min": [0, 0], "max": [1, 1]}
    return put("volumes", value=[{**whole, "data": "AP8A/w==", **fields}])


def test_volumes_come_back_in_their_shape(tmp_path: Path) -> None:
    with_volume = copy.deepcopy(BUNDLE)
    volume()(with_volume)
    (found,) = read_bundle(written(tmp_path, with_volume))["volumes"]
    assert unpack(found).tolist() == [[[0, 1]], [[0, 1]]]


def twice(content: Any) -> None:
    content["maps"] *= 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("schema", value="xbench.example/2"), "schema: expected 'xbench.example/1'"),
        (put("id", value="../up"), "id: '../up' is not a name of a-z"),
        (put("id", value="other"), "not the name of its folder"),
        (put("extra", value=1), "unknown key 'extra'"),
        (put("seconds", value=-1), "seconds: must be at least 0"),
        (put("audio_reason", value=None), "audio_reason: there must be one"),
        (put("audio", value="../audio.wav"), "audio: expected one of audio.wav"),
        (put("maps", value=[]), "maps: must not be empty"),
        (put("maps", 0, "shape", value=[3, 2]), r"maps\[0\].shape: 3 rows for 2 tokens"),
        (put("maps", 0, "shape", value=[2, 3]), r"maps\[0\].data: 4 values do not fill"),
        (put("maps", 0, "shape", value=[2, 10**12]), r"maps\[0\].data: 4 values do not fill"),
        (put("maps", 0, "min", value=[0.0]), r"maps\[0\].min: 1 values for 2 tokens"),
        (put("maps", 0, "max", value=[-1.0, 0.5]), r"maps\[0\]: a min is above its max"),
        (put("maps", 0, "data", value="AP8"), r"maps\[0\].data: "),
        (put("maps", 0, "data", value="<script>"), r"maps\[0\].data: '<script>' is not base64"),
        (put("maps", 0, "row_reliability", value=[0.5]), "row_reliability: 1 values"),
        (put("maps", 0, "space", value="input"), "space: expected 'encoder'"),
        (put("spectrogram", "shape", value=[3, 2]), "spectrogram.data: 4 values"),
        (volume(map="other"), r"volumes\[0\].map: there is no map 'other'"),
        (volume(shape=[2, 2, 2]), r"volumes\[0\].data: 4 values"),
        (volume(shape=[1, 2, 2]), r"volumes\[0\].shape: 1 rows for 2 tokens"),
        (volume(min=[0]), r"volumes\[0\].min: 1 values for 2 tokens"),
        (twice, "'method-mean-heads' is used twice"),
    ],
)
def test_contradictions_are_refused(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    broken = copy.deepcopy(BUNDLE)
    change(broken)
    with pytest.raises(UsageError, match=message):
        read_bundle(written(tmp_path, broken))


def test_audio_that_is_named_must_lie_there(tmp_path: Path) -> None:
    heard = {**BUNDLE, "audio": "audio.wav", "audio_reason": None}
    path = written(tmp_path, heard)
    with pytest.raises(UsageError, match=r"there is no audio\.wav"):
        read_bundle(path)
    (path.parent / "audio.wav").write_bytes(b"RIFF")
    assert read_bundle(path) == heard


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "expected a mapping"),
        (json.dumps(BUNDLE).replace("0.04", "NaN"), "NaN is not allowed"),
        (json.dumps(BUNDLE)[:-20], "not valid JSON"),
        (" " * (bundle.LARGEST + 1), "MB are more than"),
    ],
)
def test_files_that_are_no_bundle_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_bundle(written(tmp_path, text))


def test_nothing_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        read_bundle(tmp_path / "bundle.json")


def test_committed_examples_of_recorded_speech_have_no_audio() -> None:
    """Only the synthetic speech of the demo travels in the repository; recorded clips stay where they come from."""
    folders = [each.parent for each in EXAMPLES.glob("*/bundle.json")]
    for folder in folders:
        data = json.loads((folder / "bundle.json").read_bytes())
        synthetic = data["task"].startswith("demo-")
        assert (data["audio"] is not None) == synthetic, folder.name
        assert (folder / "audio.wav").exists() == synthetic, folder.name
    assert {f.name.startswith("demo-") for f in folders} == {True, False}
