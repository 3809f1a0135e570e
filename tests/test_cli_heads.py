"""`xbench heads`: heads ranked on some clips, a set chosen on others, written for generation_config.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command_line import Run, runner
from xbench.data.manifest import read_manifest
from xbench.errors import UsageError
from xbench.runner.heads import halves, heads_plan, write_alignment_heads
from xbench.spec import RunSpec
from xbench.testing.small import write_small


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command line with a store and a working folder of its own."""
    monkeypatch.setenv("XBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    return runner(monkeypatch, capsys)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A manifest of five short clips of four speakers."""
    generator = np.random.default_rng(0)
    lines = []
    for name, speaker in zip("abcde", "wxyzz", strict=True):
        soundfile.write(tmp_path / f"{name}.wav", generator.normal(0, 0.1, 12_000), 16_000)
        line = {"id": name, "audio": f"{name}.wav", "language": "en", "transcript": "one two"}
        lines.append(line | {"cluster": speaker})
    manifest = tmp_path / "clips.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    return manifest


def asked(folder: Path, clips: Path, *more: str) -> list[str]:
    return ["heads", f"whisper:{folder}", "--data", str(clips), "--masks", "12", *more]


def test_heads_of_a_decoder_only_model_are_those_of_its_language_model(
    run: Run, clips: Path, tmp_path: Path
) -> None:
    folder = write_small("qwen3_asr", tmp_path / "model")
    done = run("heads", f"qwen3_asr:{folder}", "--data", str(clips), "--masks", "12", "--json")
    assert done.code == 0, done.err
    ranked = {(head["layer"], head["head"]) for head in json.loads(done.out)["heads"]}
    assert ranked == {(layer, head) for layer in range(2) for head in range(4)}


def test_heads_are_ranked_and_a_set_is_chosen_on_other_clips(
    run: Run, tiny_whisper_folder: Path, clips: Path, tmp_path: Path
) -> None:
    file, figure = tmp_path / "generation_config.json", tmp_path / "heads.png"
    file.write_text('{"max_length": 7}')
    options = ("--json", "--out", str(file), "--picture", str(figure), "--most", "3")
    done = run(*asked(tiny_whisper_folder, clips, *options))
    assert done.code == 0, done.err
    told = json.loads(done.out)
    values = [head["score"]["value"] for head in told["heads"]]
    assert len({(head["layer"], head["head"]) for head in told["heads"]}) == len(values) == 4
    assert values == sorted(values, reverse=True)
    assert (told["metric"], told["reference"]) == ("pearson", "spes-encoder")
    assert told["n"] + told["dev"] == 5
    assert told["untested"] == "fewer-than-6-clusters"
    assert [head["best"] for head in told["heads"]] == [True, False, False, False]
    sets = {each["method"]: each for each in told["sets"]}
    assert sets["greedy-heads"]["chosen"] == sets["best-head"]["chosen"] == "dev"
    assert sets["greedy-heads"]["heads"][:1] == sets["best-head"]["heads"]
    assert sets["greedy-heads"]["heads"] == told["recommended"]
    assert 1 <= len(told["recommended"]) <= 3
    assert sets["mean-heads"]["chosen"] == "none"
    written = json.loads(file.read_text())
    assert written == {"max_length": 7, "alignment_heads": sorted(told["recommended"])}
    assert figure.stat().st_size > 1000

    # The same again, from the store, as a table.
    shown = run(*asked(tiny_whisper_folder, clips, "--most", "3"))
    assert shown.code == 0, shown.err
    assert "chosen on" in shown.out
    assert f"{told['dev']} other clips" in shown.out
    assert f"use these (layer, head): {told['recommended']}" in shown.out
    assert "heads are not told apart: fewer than 6 clusters" in shown.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--metric", "emd"), "heads cannot be chosen by 'emd': it takes a metric that compares"),
        (("--metric", "deletion-auc"), "heads cannot be chosen by 'deletion-auc'"),
        (("--task", "core"), "heads are ranked on one task at a time; name one with --task: "),
        (("--out", "."), ". is a folder; name the file, such as generation_config.json"),
        (("--picture", "heads.txt"), "heads.txt"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_model_is_loaded(
    run: Run, tiny_whisper_folder: Path, clips: Path, more: tuple[str, ...], message: str
) -> None:
    done = run(*asked(tiny_whisper_folder, clips, *more))
    assert done.code == 2
    assert message in done.err


def test_without_clips_it_asks_for_some(run: Run) -> None:
    done = run("heads", "xbench-tiny")
    assert done.code == 2
    assert "--task NAME" in done.err


def test_halves_share_no_cluster_and_one_cluster_gives_none(clips: Path) -> None:
    manifest = read_manifest(clips)
    dev, test = halves(manifest, 0)
    speakers = {u.id: u.cluster for u in manifest.utterances}
    assert sorted((*dev, *test)) == list("abcde")
    assert len({speakers[i] for i in dev}) == len({speakers[i] for i in test}) == 2
    assert not {speakers[i] for i in dev} & {speakers[i] for i in test}
    assert halves(manifest, 0) == (dev, test)
    alone = [json.loads(line) | {"cluster": "w"} for line in clips.read_text().splitlines()]
    clips.write_text("\n".join(map(json.dumps, alone)))
    assert halves(read_manifest(clips), 0) == ((), tuple("abcde"))


def test_a_task_with_a_dev_split_is_chosen_on_that(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RunSpec(model="xbench-tiny", methods=(), tasks=("demo-asr-en",))
    (plan,) = heads_plan(spec, 4).tasks
    assert plan.dev is not None
    assert not {u.id for u in plan.dev.utterances} & {u.id for u in plan.manifest.utterances}
    assert [c.name for c in plan.task.references] == [plan.task.headline.reference]
    assert [c.name for c in plan.task.metrics] == [plan.task.headline.metric]


def test_a_file_that_is_no_object_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[1]")
    with pytest.raises(UsageError, match="it holds no JSON object"):
        write_alignment_heads(path, [[1, 0]])
    assert path.read_text() == "[1]"
    write_alignment_heads(tmp_path / "new.json", [[2, 1], [0, 3]])
    assert json.loads((tmp_path / "new.json").read_text()) == {"alignment_heads": [[0, 3], [2, 1]]}


def test_heads_are_ordered_for_a_purpose_and_the_best_one_is_written(
    run: Run, tiny_whisper_folder: Path, clips: Path, tmp_path: Path
) -> None:
    file = tmp_path / "generation_config.json"
    call = asked(tiny_whisper_folder, clips, "--for", "streaming", "--out", str(file))
    done = run(*call, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    purposes = told["purposes"]
    places = [head["places"]["streaming"] for head in purposes["heads"]]
    assert places == [1, 2, 3, 4]
    assert told["recommended"] == [purposes["best"]["streaming"]]
    assert json.loads(file.read_text())["alignment_heads"] == told["recommended"]
    # Nobody knows when words were said, which is told, and the other two are compared.
    assert set(purposes["best"]) == {"explanation", "streaming"}
    assert any("no clip has word times" in reason for reason in purposes["absent"])
    shown = run(*call)
    assert "orders for explanation and streaming: Kendall's tau" in shown.out
    assert "purposes disagree" in shown.out or "one head leads" in shown.out


@pytest.mark.parametrize(
    ("purpose", "told"),
    [("timing", "no clip has word times"), ("timeing", "did you mean 'timing'")],
)
def test_a_purpose_that_cannot_be_told_is_refused_before_the_model_is_loaded(
    run: Run, tiny_whisper_folder: Path, clips: Path, purpose: str, told: str
) -> None:
    refused = run(*asked(tiny_whisper_folder, clips, "--for", purpose))
    assert (refused.code, told in refused.err) == (2, True)
