"""`xbench data prepare`: what is cut, referred to, reused, left out and told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from xbench.cli import main
from xbench.data import prepare
from xbench.data.audio import audio_sha256, read_audio
from xbench.data.corpora import europarl_st
from xbench.data.corpora.clip import Clip
from xbench.data.datasets import manifest_path
from xbench.data.manifest import Word, read_manifest
from xbench.data.prepared import prepared_manifest
from xbench.errors import EnvironmentProblem, UsageError
from xbench.spec import Dataset

RATE = prepare.RATE


@pytest.fixture(autouse=True)
def _data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBENCH_DATA", str(tmp_path / "prepared"))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three seconds in which sample n is n / 2**17: a part of it shows where it was cut."""
    path = tmp_path / "corpus" / "long.wav"
    path.parent.mkdir()
    soundfile.write(path, np.arange(3 * RATE) / 2**17, RATE, subtype="FLOAT")
    return path


def clip(
    name: str, audio: Path | bytes, start: float | None = None, end: float = 0, **more: Any
) -> Clip:
    times = {} if start is None else {"offset": start, "duration": end - start}
    return Clip(
        **{
            "id": name,
            "audio": audio,
            "language": "en",
            "transcript": name,
            "cluster": "s",
            **times,
            **more,
        }
    )


def entries(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]


def test_a_part_of_a_recording_is_cut_at_its_samples(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "m" / "clips.jsonl"
    parts = [
        clip("a", recording, 0.5, 1.25, translations={"it": "x"}, words=(Word("a", 0.1, 0.2),)),
        clip("b", recording, 2.0, 3.0, cluster=None),
    ]
    done = prepare.write_manifest(parts, out, workers=2)
    assert (done.clips, done.problems) == ({"en": 2}, ())
    assert done.seconds == pytest.approx(1.75)
    first, second = entries(out)
    assert first == {
        "id": "a",
        "audio": first["audio"],
        "language": "en",
        "transcript": "a",
        "cluster": "s",
        "translation_it": "x",
        "words": [{"word": "a", "start": 0.1, "end": 0.2}],
        "duration": 0.75,
        "sha256": audio_sha256(out.parent / first["audio"]),
    }
    assert "cluster" not in second
    samples = read_audio(out.parent / first["audio"], RATE)
    assert len(samples) == 0.75 * RATE
    assert samples == pytest.approx(np.arange(0.5 * RATE, 1.25 * RATE) / 2**17, abs=2**-15)
    read = read_manifest(out)
    assert [u.id for u in read.utterances] == ["a", "b"]
    assert [u.cluster_assumed for u in read.utterances] == [False, True]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=6, unique=True)
)
def test_every_part_holds_its_own_samples(
    tmp_path_factory: Any, spans: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("spans")
    path = folder / "long.wav"
    soundfile.write(path, np.arange(3 * RATE) / 2**17, RATE, subtype="FLOAT")
    parts = [clip(f"{s}-{n}", path, s / 20, (s + n) / 20) for s, n in spans]
    prepare.write_manifest(parts, folder / "m.jsonl", workers=2)
    for (start, length), line in zip(spans, entries(folder / "m.jsonl"), strict=True):
        samples = read_audio(folder / line["audio"], RATE)
        assert len(samples) == length * RATE // 20
        assert samples[0] == pytest.approx(start * RATE / 20 / 2**17, abs=2**-15)


def test_a_whole_file_stays_where_it_is(recording: Path, tmp_path: Path) -> None:
    inside, outside = tmp_path / "m.jsonl", tmp_path / "other" / "m.jsonl"
    prepare.write_manifest([clip("a", recording)], inside)
    prepare.write_manifest([clip("a", recording)], outside)
    assert entries(inside)[0]["audio"] == "corpus/long.wav"
    assert entries(outside)[0]["audio"] == str(recording)
    assert not list(tmp_path.rglob("*.flac"))
    assert read_manifest(inside).fingerprint == read_manifest(outside).fingerprint


def test_a_recording_is_decoded_once_and_not_again(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []

    def counting(path: Path, rate: int) -> np.ndarray:
        decoded.append(path)
        return read_audio(path, rate)

    monkeypatch.setattr(prepare, "read_audio", counting)
    parts = [clip(str(n), recording, n / 4, n / 4 + 0.25) for n in range(8)]
    out = tmp_path / "m.jsonl"
    prepare.write_manifest(parts, out)
    assert decoded == [recording]
    first = out.read_bytes()
    prepare.write_manifest(parts, out)
    assert decoded == [recording]
    assert out.read_bytes() == first
    # Other times are another clip; another recording under the same name is too.
    prepare.write_manifest([clip("0", recording, 0.5, 1.0)], out)
    soundfile.write(recording, np.arange(3 * RATE)[::-1] / 2**17, RATE, subtype="FLOAT")
    os.utime(recording, ns=(1, 1))
    prepare.write_manifest(parts, out)
    assert decoded == [recording] * 3
    falling = read_audio(out.parent / entries(out)[3]["audio"], RATE)
    assert falling[0] > falling[-1]


def test_an_interrupted_call_goes_on(recording: Path, tmp_path: Path) -> None:
    def clips(interrupt: bool) -> Iterator[Clip]:
        yield clip("a", recording, 0, 1)
        other = recording.with_name("other.wav")
        other.write_bytes(recording.read_bytes())
        yield clip("b", other, 0, 1)
        if interrupt:
            # The first recording is cut while the reader goes on.
            while not list(tmp_path.rglob("a-*.flac")):
                time.sleep(0.01)
            raise KeyboardInterrupt

    out = tmp_path / "m.jsonl"
    with pytest.raises(KeyboardInterrupt):
        prepare.write_manifest(clips(True), out, workers=1)
    assert not out.exists()
    (cut,) = tmp_path.rglob("a-*.flac")
    before = cut.stat().st_mtime_ns
    assert prepare.write_manifest(clips(False), out).clips == {"en": 2}
    assert cut.stat().st_mtime_ns == before


def test_bad_clips_are_left_out_and_named(recording: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "corpus" / "damaged.wav"
    damaged.write_bytes(b"RIFF" + bytes(50))
    done = prepare.write_manifest(
        [
            clip("good", recording, 0, 1),
            clip("slack", recording, 2.5, 3.3),
            clip("late", recording, 2.5, 3.6),
            clip("reversed", recording, 2.0, 1.0),
            clip("absent", tmp_path / "absent.flac", 0, 1),
            clip("damaged part", damaged, 0, 1),
            clip("damaged", damaged),
            clip("gone", tmp_path / "gone.flac"),
            clip("a,b", recording),
        ],
        tmp_path / "m.jsonl",
    )
    assert done.clips == {"en": 2}
    told = "\n".join(done.problems)
    assert len(done.problems) == 7
    assert "late: 2.50 s to 3.60 s is not within the 3.00 s of its recording" in told
    assert "reversed: 2.00 s to 1.00 s is not within" in told
    for name in ("absent", "gone"):
        assert f"{name}: {tmp_path / name}.flac: cannot be read: No such file" in told
    assert "damaged part: " in told
    assert "damaged: " in told
    assert "'a,b' is not an id" in told


def test_nothing_left_and_ids_twice_are_refused(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no clip is left .*the first problem: gone: .*gone\.wav"):
        prepare.write_manifest([clip("gone", tmp_path / "gone.wav")], tmp_path / "m.jsonl")
    with pytest.raises(UsageError, match="1 ids occur twice, such as 'a'"):
        prepare.write_manifest(
            [clip("a", recording), clip("a", recording, 0, 1)], tmp_path / "m.jsonl"
        )
    assert not (tmp_path / "m.jsonl").exists()


def test_a_full_disk_is_told(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        prepare.write_manifest([clip("a", recording)], tmp_path / "file" / "m.jsonl")


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["xbench", "data", "prepare", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
    done = capsys.readouterr()
    return int(stop.value.code or 0), done.out, done.err


def test_prepare_makes_a_dataset_that_tasks_find(
    europarl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        EnvironmentProblem,
        match=r"not prepared .*`xbench data prepare europarl-st ROOT --split test`",
    ):
        manifest_path(Dataset("europarl-st"), "test")
    code, out, _ = run(capsys, "europarl-st", str(europarl))
    assert code == 0
    assert "4 clips (3 in en, 1 in it), 0.00 h" in out
    read = read_manifest(manifest_path(Dataset("europarl-st"), "test"))
    assert len({u.cluster for u in read.utterances}) == 3
    samples = read_audio(read.utterances[0].audio, RATE)
    assert len(samples) == 1.75 * RATE
    assert samples[0] == pytest.approx(0.5 * RATE / 2**17, abs=2**-15)


def test_prepare_into_a_manifest_of_ones_own(
    covost2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my clips.jsonl"
    code, said, _ = run(
        capsys, "covost2", str(covost2), "--out", str(out), "--target", "de", "--limit", "1"
    )
    assert (code, len(entries(out))) == (0, 1)
    assert f"--data '{out}'" in said
    assert read_manifest(out).utterances[0].translations == (("de", 'Er sagte "nein.'),)


def test_the_limit_is_per_language(fleurs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "fleurs", str(fleurs), "--limit", "1", "--language", "en,it")
    assert (code, "2 clips (1 in en, 1 in it)" in out) == (0, True)


def test_opus_is_read(mls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = run(capsys, "mls", str(mls))
    assert code == 0
    for utterance in read_manifest(prepared_manifest("mls", "test")).utterances:
        assert len(read_audio(utterance.audio, RATE)) == pytest.approx(RATE / 2, abs=RATE / 50)


def test_missing_files_cost_their_clips_only(
    librispeech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (librispeech / "test-clean/61/70968/61-70968-0001.flac").unlink()
    code, out, err = run(capsys, "librispeech", str(librispeech))
    assert code == 1
    assert "2 clips" in out
    assert "left out: 61-70968-0001: " in err


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("fleur", "x"), 2, "unknown dataset 'fleur', did you mean 'fleurs'"),
        (("demo", "x"), 2, "nothing to prepare"),
        (
            ("librispeech", "x", "--split", "test"),
            2,
            "has no split 'test', did you mean 'test-other' or 'test-clean'",
        ),
        (("librispeech", "x"), 2, "there is no x/test-clean nor x/LibriSpeech/test-clean"),
        (("mls:x=1", "x"), 2, "unknown parameter 'x'"),
        (("mls", "x", "--out", "m.json"), 2, "a manifest's name ends in .jsonl"),
        (("hub", "x"), 2, "say where with --out"),
        (("hub", "x", "--out", "m.jsonl"), 2, "give one --language"),
    ],
)
def test_wrong_usage(
    arguments: tuple[str, ...], code: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _, err = run(capsys, *arguments)
    assert (found, reason in err) == (code, True), err


def test_an_interrupt_says_that_nothing_is_lost(
    europarl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "write_manifest", interrupted)
    code, _, err = run(capsys, "europarl-st", str(europarl))
    assert (code, "the same command goes on" in err) == (130, True)


def test_europarl_recordings_are_decoded_once_each(
    europarl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(
        prepare, "read_audio", lambda p, r: (decoded.append(p.name), read_audio(p, r))[1]
    )
    clips = europarl_st.read(str(europarl), "test", (), ())
    prepare.write_manifest(clips, tmp_path / "m.jsonl")
    assert len(decoded) == len(set(decoded)) == 3
