from __future__ import annotations

import json
import math
import re
import shutil
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from xbench import Call, ExecutionOptions, RunSpec, bundle, evaluate
from xbench.bundle import map_id, read_bundle, unpack
from xbench.data.audio import read_audio
from xbench.data.demo import demo_manifest
from xbench.data.manifest import read_manifest
from xbench.errors import UsageError
from xbench.maps import on_encoder_grid
from xbench.results import RunResult
from xbench.runner import bench, compare
from xbench.runner.examples import Options, bundles, export
from xbench.runner.examples.clips import rights
from xbench.runner.examples.maps import path_starts, word_starts
from xbench.runner.keys import map_key, reference_key
from xbench.runner.record import find
from xbench.runner.rescore import Change, stored_run
from xbench.store import Store

HOSTILE = "../../b"
CLIPS = {"a": 0.6, HOSTILE: 0.8, "日本語": 0.7}
METHODS = (
    "random",
    "uniform",
    "raw-attention:layer=1,head=*",
    "mean-heads:layers=1",
    "input-x-gradient",
    "mean-heads",
    "spes-encoder:masks=12",
)
WORDS = [{"word": "ab", "start": 0.1, "end": 0.3}]


@pytest.fixture(scope="module")
def made(
    tiny_whisper_folder: Path,
    clip: Callable[..., np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[RunResult], Store, Path]:
    folder = tmp_path_factory.mktemp("examples")
    lines = []
    for number, (name, seconds) in enumerate(CLIPS.items()):
        audio = folder / f"{number}.wav"
        soundfile.write(audio, clip(seconds, number), 16_000, subtype="FLOAT")
        line = {"id": name, "audio": audio.name, "language": "en", "transcript": "one"}
        lines.append(line | ({"words": WORDS, "cluster": "s1"} if name == "a" else {}))
    (folder / "clips.jsonl").write_text("\n".join(map(json.dumps, lines)))
    spec = RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=tuple(map(Call.parse, METHODS)),
        tasks=("asr",),
        data=str(folder / "clips.jsonl"),
        masks=12,
        references=(Call("spes-input"), Call("spes-encoder")),
    )
    options = ExecutionOptions(
        output=str(folder / "results"), cache=str(folder / "cache"), device="cpu"
    )
    return evaluate(spec, options), Store(folder / "cache"), folder


@pytest.fixture(scope="module")
def exported(
    made: tuple[list[RunResult], Store, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    results, store, _ = made
    done = export(results, store, tmp_path_factory.mktemp("bundles"), Options(maps=99))
    assert done.left_out == ()
    return {b["utterance"]: b for b in map(read_bundle, done.files)}


def test_no_model_is_loaded_and_every_utterance_has_a_bundle(
    made: tuple[list[RunResult], Store, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(bench, "load_located", refuse)
    results, store, _ = made
    out = tmp_path / "deep" / "out"
    done = export(results, store, out)
    assert [read_bundle(file)["utterance"] for file in done.files] == list(CLIPS)
    assert all(re.fullmatch("[a-z0-9-]+", file.parent.name) for file in done.files)
    # Nothing lies outside, whatever the ids say.
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(done.files)


def test_maps_and_scores_are_those_of_the_store_and_the_results(
    made: tuple[list[RunResult], Store, Path], exported: dict[str, dict[str, Any]]
) -> None:
    results, store, _ = made
    stored = stored_run(results, store, Change())
    for row, job in enumerate(stored.jobs):
        spoken, scoring = stored.spoken[job.utterance.id], job.task.scoring
        decoded = spoken.decoded
        entries = {e["id"]: e for e in exported[job.utterance.id]["maps"]}
        expected: dict[str, np.ndarray] = {}
        for position, result in enumerate(results):
            method = stored.methods[position]
            array = store.get(map_key(stored.record.info, spoken, method))
            assert array is not None
            kind = "control" if result.method.kind == "control" else "method"
            signed = result.method.signed
            grid = on_encoder_grid(array.arrays["values"], decoded.layout, scoring, signed=signed)
            name = map_id(kind, result.method.label)
            expected[name] = grid.values
            scores = entries[name]["scores"]
            assert scores == {
                name: result.utterances[name][row]
                for score in result.scores
                for name in [f"{score.metric}@{score.reference}".removesuffix("@None")]
            }
        for call in job.task.references:
            key = reference_key(stored.record.info, spoken, call)
            reference = compare.read_reference(call, stored.shelf.artefact(key))
            grid = on_encoder_grid(reference.mean(), decoded.layout, scoring)
            name = map_id("reference", str(call))
            expected[name] = grid.values
            reliability = entries[name]["row_reliability"]
            rows = results[0].utterances[f"row_reliability@{call.name}"][row]
            assert [reliability[i] for i in decoded.layout.content] == pytest.approx(rows, abs=1e-6)
        floor = map_id("control", results[0].task.floor)
        assert entries.keys() == expected.keys() | {floor}, "the floor is drawn too"
        column = results[0].utterances["floor:pearson@spes-encoder"]
        assert entries[floor]["scores"]["pearson@spes-encoder"] == column[row]
        assert len({e["id"] for e in entries.values()}) == len(entries)
        for name, values in expected.items():
            span = values.max(axis=1, keepdims=True) - values.min(axis=1, keepdims=True)
            assert (np.abs(unpack(entries[name]) - values) <= span / 255 + 1e-9).all(), name


def test_facts_of_an_utterance(
    made: tuple[list[RunResult], Store, Path], exported: dict[str, dict[str, Any]]
) -> None:
    results, _, folder = made
    first, second = exported["a"], exported[HOSTILE]
    assert first["hypothesis"] == results[0].utterances["hypothesis"][0]
    assert first["quality"] == {"metric": "wer", "value": results[0].utterances["wer"][0]}
    assert (first["cluster"], second["cluster"]) == ("s1", None)
    assert (first["seconds"], first["frame_seconds"]) == (0.6, 0.02)
    assert first["spectrogram"]["shape"] == [60, 80]
    assert sum(token["content"] for token in first["tokens"]) == results[0].utterances["tokens"][0]
    # One word was spoken, so each letter that is written belongs to it.
    spans = {(t["start"], t["end"]) for t in first["tokens"] if t["content"]}
    assert spans == {(0.1, 0.3)}
    assert {t["start"] for t in second["tokens"]} == {None}
    # Nobody states the licence of clips given with --data.
    assert (first["audio"], first["audio_reason"]) == (None, "clips-given-with-data")
    assert (first["licence"], first["attribution"]) == (None, None)
    assert folder.name not in json.dumps(first)


def test_cells_of_input_maps(
    made: tuple[list[RunResult], Store, Path], exported: dict[str, dict[str, Any]]
) -> None:
    results, store, _ = made
    (position,) = [i for i, r in enumerate(results) if r.method.name == "input-x-gradient"]
    stored = stored_run(results, store, Change())
    for job in stored.jobs:
        found = exported[job.utterance.id]
        volumes = {volume["map"]: volume for volume in found["volumes"]}
        ids = {entry["method"]: entry["id"] for entry in found["maps"]}
        assert volumes.keys() == {ids["spes-input"], ids["input-x-gradient"]}
        spoken = stored.spoken[job.utterance.id]
        key = map_key(stored.record.info, spoken, stored.methods[position])
        cells = np.abs(stored.shelf.artefact(key).arrays["values"])
        volume = unpack(volumes[ids["input-x-gradient"]])
        rows, melframes, mels = cells.shape
        assert volume.shape == (rows, mels, -(-melframes // 2)), "16 channels are few enough"
        for token, band, frame in ((0, 0, 0), (rows - 1, mels - 1, volume.shape[2] - 1), (1, 5, 7)):
            expected = cells[token, 2 * frame : 2 * frame + 2, band].max()
            assert volume[token, band, frame] == pytest.approx(
                expected, abs=float(cells[token].max()) / 500
            )


def test_the_order_of_maps(
    made: tuple[list[RunResult], Store, Path], exported: dict[str, dict[str, Any]]
) -> None:
    results, _, _ = made
    labels = [(entry["kind"], entry["method"]) for entry in exported["a"]["maps"]]
    values = {r.method.label: r.score("pearson", "spes-encoder").value for r in results}
    scores = {label: -math.inf if s is None else s for label, s in values.items()}
    assert results[0].task.headline == {"metric": "pearson", "reference": "spes-encoder"}
    controls = {r.method.label for r in results if r.method.kind == "control"}
    shown = [str(Call.make(entry["method"], entry["params"])) for entry in exported["a"]["maps"]]
    assert [e["label"] for e in exported["a"]["maps"]][:2] == ["spes-encoder", "spes-input"]
    assert {e["label"] for e in exported["a"]["maps"]} >= {
        "mean-heads:layers=1",
        "mean-heads:layers=all",
        "raw-attention:head=0",
        "input-x-gradient",
        "diagonal",
    }
    assert labels[:2] == [("reference", "spes-encoder"), ("reference", "spes-input")]
    mean, floor = "mean-heads:heads=all,layers=all", results[0].task.floor
    kinds = {r.method.label: r.method.kind for r in results}
    heads = {label for label in scores if label.startswith("raw-attention")}
    rest = sorted((label in heads, label in controls, -s, label) for label, s in scores.items())
    families: dict[str, str] = {}
    for _, control, _, label in rest:
        if not control and label not in heads:
            families.setdefault(kinds[label], label)
    assert set(families) == {"attention", "gradient", "perturbation"}
    others = sorted((f for f in families if f != "attention"), key=lambda f: -scores[families[f]])
    first = [mean, families["attention"], *(families[f] for f in others), floor]
    first = list(dict.fromkeys(first))
    assert shown[2:] == [*first, *(label for *_, label in rest if label not in first)]


def test_single_heads_stand_apart(
    made: tuple[list[RunResult], Store, Path],
    exported: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    results, store, _ = made
    (file,) = export(results, store, tmp_path, Options(ids=("a",), maps=99, heads=True)).files
    apart = read_bundle(file)
    among = {m["params"]["head"]: m for m in exported["a"]["maps"] if "head" in m["params"]}
    assert [(one["layer"], one["head"]) for one in apart["heads"]] == [(1, 0), (1, 1)]
    for one in apart["heads"]:
        assert {key: among[one["head"]][key] for key in ("data", "scores")} == {
            key: one[key] for key in ("data", "scores")
        }
    assert not any("head" in entry["params"] for entry in apart["maps"])


def test_the_path_follows_a_staircase() -> None:
    steps = np.array([[9.0, 9, 1, 1, 1, 1], [1, 1, 9, 9, 1, 1], [1, 1, 1, 1, 9, 9]])
    assert word_starts(steps, (0, 1, 2)) == [0, 2, 4]
    # Every token looks mostly at the last frame: relative to each other the tokens still take turns.
    assert word_starts(steps + np.array([0, 0, 0, 0, 0, 500.0]), (0, 1, 2)) == [0, 2, 4]
    # -1 and 1 in place of 1 and 9: the path collects the ones.
    assert path_starts(np.where(steps > 1, 1.0, -1.0)) == [0, 2, 4]


def test_a_long_spectrogram_has_fewer_columns(
    made: tuple[list[RunResult], Store, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, store, _ = made
    whole, shorter = (
        read_bundle(export(results, store, tmp_path / name, Options(ids=("a",))).files[0])
        for name in _twice(monkeypatch)
    )
    assert whole["spectrogram"]["shape"] == [60, 80]
    assert shorter["spectrogram"]["shape"] == [20, 80]
    assert shorter["melframe_seconds"] == pytest.approx(3 * whole["melframe_seconds"])
    picture, loudest = unpack(whole["spectrogram"]), unpack(shorter["spectrogram"])
    assert loudest == pytest.approx(picture.reshape(20, 3, 80).max(axis=1), abs=0.05)


def _twice(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    yield "whole"
    monkeypatch.setattr(bundles, "_COLUMNS", 20)
    yield "shorter"


def test_bytes_depend_on_nothing_but_the_content(
    made: tuple[list[RunResult], Store, Path], tmp_path: Path
) -> None:
    results, store, _ = made
    one = export(results, store, tmp_path / "one")
    two = export([*results[::-1], results[0]], store, tmp_path / "two")
    assert [f.read_bytes() for f in one.files] == [f.read_bytes() for f in two.files]
    assert [f.parent.name for f in one.files] == [f.parent.name for f in two.files]


def test_selections(made: tuple[list[RunResult], Store, Path], tmp_path: Path) -> None:
    results, store, _ = made

    def chosen(**options: Any) -> list[str]:
        done = export(results, store, tmp_path, Options(**options))
        return [read_bundle(file)["utterance"] for file in done.files]

    assert chosen(limit=2) == ["a", HOSTILE]
    assert chosen(ids=("日本語", "a")) == ["a", "日本語"]
    assert chosen(ids=("日本語", "a"), limit=1) == ["a"]
    leading = results[0]
    for result in results:
        score, best = (r.score("pearson", "spes-encoder").value for r in (result, leading))
        alone = result.method.label.startswith("raw-attention")
        if result.method.kind != "control" and not alone and (score or -1) > (best or -1):
            leading = result
    values = leading.utterances["pearson@spes-encoder"]
    order = [name for _, name in sorted(zip(values, leading.utterances["id"], strict=True))]
    assert chosen(spread=True) == order[::-1]  # three clips: best, middle, worst
    (file,) = export(results, store, tmp_path, Options(limit=1, maps=3)).files
    assert len(read_bundle(file)["maps"]) == 3
    with pytest.raises(UsageError, match="no result has an utterance 'aa', did you mean 'a'"):
        chosen(ids=("a", "aa"))


def test_another_task_or_seed_is_another_bundle(
    made: tuple[list[RunResult], Store, Path], exported: dict[str, dict[str, Any]]
) -> None:
    assert len({b["id"] for b in exported.values()}) == len(CLIPS)
    assert all(b["id"].startswith("asr-whisper-") for b in exported.values())


def test_large_bundles_lose_their_last_maps(
    made: tuple[list[RunResult], Store, Path],
    exported: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results, store, _ = made
    whole = exported["a"]
    size = len(bundle.to_json(whole).encode())
    monkeypatch.setattr(bundle, "LARGEST", size - 1)
    done = export(results, store, tmp_path, Options(ids=("a",), maps=99))
    first = read_bundle(done.files[0])
    assert (first["maps"], first["volumes"]) == (whole["maps"], whole["volumes"][:-1])
    assert len(done.left_out) == 1
    less = len(bundle.to_json({**whole, "volumes": []}).encode())
    monkeypatch.setattr(bundle, "LARGEST", less - 1)
    done = export(results, store, tmp_path, Options(ids=("a",), maps=99))
    assert read_bundle(done.files[0])["maps"] == whole["maps"][:-1]
    last = whole["maps"][-1]
    assert "head" in last["params"]  # single heads come last
    assert done.left_out[-1].split(": ")[1:3] == ["a", last["label"]]
    monkeypatch.setattr(bundle, "LARGEST", 1000)
    with pytest.raises(UsageError, match="nothing to export"):
        export(results, store, tmp_path / "none", Options(ids=("a",)))
    assert not (tmp_path / "none").exists()


# -- errors ----------------------------------------------------------------------------------------


def one_line(problem: pytest.ExceptionInfo[UsageError]) -> bool:
    return "\n" not in str(problem.value)


def test_a_store_that_is_gone(made: tuple[list[RunResult], Store, Path], tmp_path: Path) -> None:
    results, store, _ = made
    with pytest.raises(UsageError, match="does not know this run") as caught:
        export(results, Store(tmp_path / "empty"), tmp_path / "out")
    assert one_line(caught)
    shutil.copytree(store.folder, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache" / "map")
    with pytest.raises(UsageError, match="no longer holds") as caught:
        export(results, Store(tmp_path / "cache"), tmp_path / "out")
    assert one_line(caught)
    assert not (tmp_path / "out").exists()


def test_clips_that_are_gone_moved_or_others(
    made: tuple[list[RunResult], Store, Path], tmp_path: Path
) -> None:
    results, store, folder = made
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in (*folder.glob("*.wav"), folder / "clips.jsonl"):
        shutil.copy(file, moved)
    manifest = moved / "clips.jsonl"
    assert len(export(results, store, tmp_path / "out", Options(data=manifest)).files) == 3
    shutil.copy(moved / "0.wav", moved / "1.wav")
    with pytest.raises(UsageError, match=r"'\.\./\.\./b' is another file") as caught:
        export(results, store, tmp_path / "out", Options(data=manifest))
    assert one_line(caught)
    (moved / "1.wav").unlink()
    with pytest.raises(UsageError, match=r"line 2: audio of '\.\./\.\./b'") as caught:
        export(results, store, tmp_path / "out", Options(data=manifest))
    assert one_line(caught)
    with pytest.raises(UsageError, match="name it with --data") as caught:
        export(results, store, tmp_path / "out", Options(data=tmp_path / "no.jsonl"))
    assert one_line(caught)


def test_columns_that_lack_an_utterance_are_told(
    made: tuple[list[RunResult], Store, Path], tmp_path: Path
) -> None:
    results, store, _ = made
    short = {**results[0].utterances, "pearson@spes-input": []}
    with pytest.raises(UsageError, match="columns are incomplete"):
        export([replace(results[0], utterances=short)], store, tmp_path)


def test_unsupported_methods_have_no_map(
    made: tuple[list[RunResult], Store, Path], tmp_path: Path
) -> None:
    results, store, _ = made
    # It comes first in the alphabet: the floor's scores must not be sought in it.
    mean = next(r for r in results if r.method.name == "mean-heads")
    refused = replace(mean, status="unsupported", reason="no such layer", utterances={})
    (file,) = export([refused, *results[:1]], store, tmp_path, Options(limit=1)).files
    shown = [entry["method"] for entry in read_bundle(file)["maps"] if entry["kind"] != "reference"]
    assert shown == ["diagonal", "random"]


# -- audio -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "audio", "expected"),
    [
        ("demo", None, "allow-list", ("CC0-1.0", None)),
        ("demo", None, "none", ("CC0-1.0", "not-asked-for")),
        ("demo", "demo.jsonl", "allow-list", (None, "clips-given-with-data")),
        ("librispeech", None, "allow-list", ("CC-BY-4.0", None)),
        ("must-c", None, "allow-list", ("CC-BY-NC-ND-4.0", "licence-not-allowed")),
        ("nobody-knows", None, "allow-list", (None, "clips-given-with-data")),
    ],
)
def test_clips_are_published_by_the_licence_of_their_dataset(
    made: tuple[list[RunResult], Store, Path],
    name: str,
    data: str | None,
    audio: str,
    expected: tuple[str | None, str | None],
) -> None:
    results, store, _ = made
    record = find(store, results[0])
    assert record is not None
    spec, manifest = replace(record.spec, data=data), replace(record.manifest, name=name)
    licence, _, reason = rights(replace(record, spec=spec, manifest=manifest), audio)
    assert (licence, reason) == expected


def test_the_clip_of_a_demo_utterance(tmp_path: Path) -> None:
    spec = RunSpec(
        model="xbench-tiny",
        methods=(Call("uniform"),),
        tasks=("demo-asr-en",),
        masks=6,
        references=(Call("spes-encoder"),),
        selection=replace(RunSpec("", ()).selection, limit=1),
    )
    options = ExecutionOptions(str(tmp_path / "results"), str(tmp_path / "cache"), "cpu")
    results = evaluate(spec, options)
    store = Store(tmp_path / "cache")
    (file,) = export(results, store, tmp_path / "out").files
    found = read_bundle(file)
    (utterance,) = [
        u for u in read_manifest(demo_manifest("test")).utterances if u.id == found["utterance"]
    ]
    floor = found["maps"][1]
    assert (str(Call.make(floor["method"], floor["params"])), floor["kind"]) == (
        results[0].task.floor,
        "control",
    )
    assert floor["method"] not in {result.method.name for result in results}
    (score,) = results[0].utterances["floor:pearson@spes-encoder"]
    assert floor["scores"]["pearson@spes-encoder"] == score is not None
    assert (found["audio"], found["licence"]) == ("audio.wav", "CC0-1.0")
    with wave.open(str(file.parent / "audio.wav")) as clip:
        assert clip.getparams()[:3] == (1, 2, 16_000)
        heard = np.frombuffer(clip.readframes(clip.getnframes()), "<i2") / 32767
    expected = read_audio(utterance.audio, 16_000)
    np.testing.assert_allclose(heard, expected.clip(-1, 1), atol=0.5 / 32767 + 1e-7)
    assert found["seconds"] == pytest.approx(len(expected) / 16_000, abs=1e-6)
    # A later export without audio takes the clip away.
    export(results, store, tmp_path / "out", Options(audio="none"))
    assert read_bundle(file)["audio_reason"] == "not-asked-for"
    assert sorted(p.name for p in file.parent.iterdir()) == ["bundle.json"]
