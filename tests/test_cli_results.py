"""The verbs that take result files: score, compare-references, submit, verify; output and exit codes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command_line import Run
from xbench.cli.result_tables import show_results
from xbench.results import load_results


@dataclass(frozen=True)
class Made:
    folder: Path
    model: str
    data: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"


@pytest.fixture(scope="module")
def made(tiny_whisper_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three methods on seven clips of seven speakers."""
    from xbench import Call, ExecutionOptions, RunSpec, evaluate

    folder = tmp_path_factory.mktemp("cli-results")
    generator = np.random.default_rng(0)
    lines = []
    for name in "abcdefg":
        soundfile.write(folder / f"{name}.wav", generator.normal(0, 0.1, 5_000), 16_000)
        lines.append({"id": name, "audio": f"{name}.wav", "language": "en", "transcript": "one"})
    data = folder / "clips.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    made = Made(folder, f"whisper:{tiny_whisper_folder}", data)
    spec = RunSpec(
        model=made.model,
        methods=(Call("mean-heads"), Call("max-heads"), Call("diagonal")),
        tasks=("asr",),
        data=str(data),
        masks=12,
    )
    evaluate(spec, ExecutionOptions(str(made.results), str(made.cache), "cpu"))
    return made


def test_score_writes_and_shows_the_same_numbers(run: Run, made: Made, tmp_path: Path) -> None:
    done = run("score", made.results, "--cache", made.cache, "--output", tmp_path)
    assert done.code == 0, done.err
    assert "mean-heads" in done.out
    first, again = load_results(made.results), load_results(tmp_path)
    assert [r.scores for r in again] == [r.scores for r in first]
    assert [r.utterances for r in again] == [r.utterances for r in first]
    # The group that is not distinguished from the best is marked.
    assert "= " in done.out.split("method")[1]
    # Floor and ceiling by effect stand beside the others, and under them where the second ceiling is from.
    assert "; by effect: floor" in done.out
    assert "xbench audit references" in done.out


def test_a_table_holds_results_of_one_model(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = load_results(made.results)
    others = [replace(r, model=replace(r.model, revision="another one")) for r in results]
    show_results(results, tmp_path)
    alone = capsys.readouterr().out
    show_results([*results, *others], tmp_path)
    both = capsys.readouterr().out
    name = results[0].model.name
    assert both.count(f"asr | {name} (another ") == alone.count("asr | ")
    assert both.count("mean-heads") == 2 * alone.count("mean-heads")
    assert f"asr | {name}" not in alone  # one model needs no name


def test_the_reference_drawn_again_is_marked_and_leads_nothing(
    run: Run, made: Made, tmp_path: Path
) -> None:
    done = run(
        *("eval", "--model", made.model, "--task", "asr", "--data", made.data, "--masks", 12),
        *("--method", "spes-encoder:masks=400", "--method", "mean-heads", "--method", "max-heads"),
        *("--reference", "spes-encoder", "--cache", made.cache, "--output", tmp_path / "out"),
    )
    assert done.code == 0, done.err
    # Names are folded where the terminal is narrow. The best comes first: here the reference against itself.
    marks = [line[1] for line in done.out.splitlines() if line[:3] in (" ~ ", " = ")]
    assert marks == ["~", "=", "="]


def test_score_takes_metrics_and_options(run: Run, made: Made, tmp_path: Path) -> None:
    arguments = ("--cache", made.cache, "--output", tmp_path, "--json")
    done = run("score", made.results, *arguments, "--metric", "pearson-paper")
    assert {s["metric"] for s in json.loads(done.out)[0]["scores"]} == {"pearson-paper"}
    done = run("score", made.results, *arguments, "--scoring", "pool_time=mean")
    assert json.loads(done.out)[0]["task"]["scoring"]["pool_time"] == "mean"


def test_an_interrupted_score_leaves_no_half_file(
    run: Run, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xbench import store

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", fail)
    done = run("score", made.results, "--cache", made.cache, "--output", tmp_path)
    assert done.code == 3
    assert "is full" in done.err
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_compare_references_prints_a_table_or_json(run: Run, made: Made) -> None:
    arguments = ("compare-references", made.results, "--cache", made.cache, "--metric", "pearson")
    done = run(*arguments, "--scoring", "window=centred", "--map", "max-heads")
    assert done.code == 0, done.err
    for view in ("pearson@spes-input", "[window=centred]", "pearson@map:max-heads"):
        assert view in done.out
    rows = json.loads(run(*arguments, "--json").out)
    assert [row["view"] for row in rows] == ["pearson@spes-input"]
    assert -1 <= rows[0]["tau"]["low"] <= rows[0]["tau"]["high"] <= 1
    assert (rows[0]["methods"], rows[0]["tau"]["n_clusters"]) == (3, 7)


def test_verify_agrees_or_exits_one(run: Run, made: Made, tmp_path: Path) -> None:
    (file,) = made.results.rglob("mean-heads*.json")
    where = ("--model", made.model, "--data", made.data, "--device", "cpu")
    done = run("verify", file, "--sample", 1, *where)
    assert done.code == 0, done.err
    assert "1 utterances run again: 8 of 8 values agree" in done.out
    forged = json.loads(file.read_text())
    forged["utterances"]["hypothesis"] = ["x"] * 7
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    done = run("verify", tmp_path / "forged.json", "--sample", 1, *where)
    assert done.code == 1
    assert "hypothesis: x in the file" in done.err


def test_submit_refuses_local_models_and_clips(run: Run, made: Made, tmp_path: Path) -> None:
    (file,) = made.results.rglob("mean-heads*.json")
    done = run("submit", file, "--to", tmp_path)
    assert done.code == 2
    assert "only registered datasets are ranked" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["score", "compare-references", "submit", "verify"])
@pytest.mark.parametrize("what", ["missing", "broken", "task"])
def test_files_that_are_no_results_exit_two(run: Run, tmp_path: Path, verb: str, what: str) -> None:
    file = tmp_path / "file.json"
    if what != "missing":
        file.write_text("{" if what == "broken" else '{"name": "asr"}')
    done = run(verb, file)
    assert done.code == 2
    assert "file.json" in done.err
    assert "Traceback" not in done.err


def test_misuse_exits_two(run: Run, made: Made, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    score, compare = ("score", made.results), ("compare-references", made.results)
    (file,) = made.results.rglob("mean-heads*.json")
    for arguments, message in (
        (("score", tmp_path / "empty"), "holds no result file"),
        ((*score, "--cache", tmp_path / "empty"), "does not know this run"),
        ((*score, "--scoring", "pool=max"), "not key=value of"),
        ((*score, "--metric", "pearsn"), "did you mean"),
        ((*compare, "--metric", "bleu"), "have no metric 'bleu'"),
        ((*compare, "--map", "energy", "--cache", made.cache), "not among the results"),
        (("verify", file), "--model whisper:FOLDER"),
        (("verify", file, "--sample", "0"), ""),
        (("submit", file, "--to", tmp_path / "none"), ""),
        (("submit",), "Missing argument"),
    ):
        done = run(*arguments)
        assert (done.code, message in done.err) == (2, True), (arguments, done.err)
