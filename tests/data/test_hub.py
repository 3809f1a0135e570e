"""The hub reader, against a stand-in for `datasets`: no network is needed to know what it asks for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from xbench.data import prepare
from xbench.data.corpora import hub
from xbench.data.manifest import read_manifest
from xbench.errors import EnvironmentProblem, UsageError


class Rows:
    """What load_dataset(streaming=True) returns, as far as the reader uses it."""

    def __init__(self, rows: list[dict[str, Any]], fail_at: int | None = None) -> None:
        self.rows, self.fail_at, self.cast = rows, fail_at, ("", None)
        self.format = ""

    def cast_column(self, name: str, feature: Any) -> Rows:
        self.cast = (name, feature)
        return self

    def with_format(self, name: str) -> Rows:
        self.format = name
        return self

    def __iter__(self) -> Iterator[Any]:
        assert (self.cast[1], self.format) == ("undecoded", "arrow")
        for number, row in enumerate(self.rows):
            if number == self.fail_at:
                raise ConnectionError("Connection reset")
            yield SimpleNamespace(to_pylist=lambda row=row: [row])


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Install fake `datasets` and `huggingface_hub`; `calls` are what they were asked."""
    wav = tmp_path / "one.flac"
    soundfile.write(wav, np.zeros(8000), 16_000)
    rows = [
        {
            "audio": {"bytes": wav.read_bytes(), "path": "a.flac"},
            "sentence": "uno",
            "speaker": 7,
            "en": "one",
        },
        {"audio": {"bytes": None, "path": str(wav)}, "sentence": "due", "speaker": 8, "en": "two"},
    ]
    state = SimpleNamespace(rows=Rows(rows), calls=[], error=None)

    def load_dataset(name: str, config: str | None, **options: Any) -> Rows:
        state.calls.append((name, config, options))
        if state.error:
            raise state.error
        return state.rows

    def dataset_info(name: str, revision: str | None) -> SimpleNamespace:
        if state.error:
            raise state.error
        return SimpleNamespace(sha=f"commit-of-{revision}")

    datasets, client = ModuleType("datasets"), ModuleType("huggingface_hub")
    datasets.load_dataset = load_dataset  # type: ignore[attr-defined]
    datasets.Audio = lambda decode: "decoded" if decode else "undecoded"  # type: ignore[attr-defined]
    client.HfApi = lambda endpoint: SimpleNamespace(dataset_info=dataset_info)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    return state


COLUMNS = {"text": "sentence", "cluster": "speaker", "translation": "en", "config": "it_it"}


def test_rows_become_clips_and_the_commit_is_recorded(
    stand_in: SimpleNamespace, tmp_path: Path
) -> None:
    clips = hub.read("owner/name@v2", "test", ("it",), ("en",), **COLUMNS)
    out = tmp_path / "m.jsonl"
    prepare.write_manifest(clips, out)
    (call,) = stand_in.calls
    assert call == (
        "owner/name",
        "it_it",
        {"split": "test", "revision": "commit-of-v2", "streaming": True},
    )
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert (first["id"], first["transcript"], first["cluster"]) == ("test-000000", "uno", "7")
    assert first["source"] == second["source"] == "owner/name@commit-of-v2"
    assert first["translation_en"] == "one"
    assert first["sha256"] == second["sha256"], "the bytes are kept as they are"
    assert first["audio"].startswith("m-clips/test-000000-")
    assert [u.language for u in read_manifest(out).utterances] == ["it", "it"]


def test_a_stream_is_not_read_beyond_its_limit(stand_in: SimpleNamespace, tmp_path: Path) -> None:
    stand_in.rows.fail_at = 1
    description, call, split = prepare.find_corpus("hub:text=sentence", "odd_split")
    clips = prepare.read_corpus(description, call, "owner/name", split, languages=("it",), limit=1)
    assert [clip.transcript for clip in clips] == ["uno"]


def test_a_local_copy_needs_no_hub(stand_in: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (clip, _) = hub.read(str(tmp_path / "copy"), "test", ("it",), (), text="sentence")
    assert clip.source == "copy"
    assert stand_in.calls[0][2]["revision"] is None


@pytest.mark.parametrize("when", ["at first", "later"])
def test_an_unreachable_hub_says_what_to_set(stand_in: SimpleNamespace, when: str) -> None:
    if when == "at first":
        stand_in.error = ConnectionError("Max retries\nexceeded")
    else:
        stand_in.rows.fail_at = 1
    with pytest.raises(
        EnvironmentProblem, match=r"owner/name cannot be read \(Conn.*HF_ENDPOINT.*local copy"
    ) as caught:
        list(hub.read("owner/name", "test", ("it",), (), text="sentence"))
    assert "\n" not in str(caught.value)


def test_a_missing_column_offers_the_nearest(stand_in: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match="no column 'sentense', did you mean 'sentence'"):
        list(hub.read("owner/name", "test", ("it",), (), text="sentense"))
    with pytest.raises(UsageError, match="the audio column of owner/name holds no audio"):
        list(hub.read("owner/name", "test", ("it",), (), audio="en", text="sentence"))


@pytest.mark.parametrize(
    ("languages", "targets", "columns"),
    [
        ((), (), {}),
        (("it", "en"), (), {}),
        (("it",), ("en",), {}),
        (("it",), (), {"translation": "en"}),
    ],
)
def test_languages_and_columns_go_together(
    languages: tuple[str, ...], targets: tuple[str, ...], columns: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match="give one --language"):
        list(hub.read("owner/name", "test", languages, targets, **columns))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'xbench\[hub\]'"):
        list(hub.read("owner/name", "test", ("it",), ()))
