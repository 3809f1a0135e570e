"""The command line as users and programs see it: output, exit codes, one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command_line import Run, runner
from xbench.errors import EnvironmentProblem
from xbench.results import load_results, read_result


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Run:
    """The command line with a store and a working folder of its own."""
    monkeypatch.setenv("XBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.chdir(tmp_path)
    return runner(monkeypatch, capsys)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A manifest of two short clips."""
    generator = np.random.default_rng(0)
    lines = []
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", generator.normal(0, 0.1, 12_000), 16_000)
        lines.append(
            {"id": name, "audio": f"{name}.wav", "language": "en", "transcript": "one two"}
        )
    manifest = tmp_path / "clips.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    return manifest


def evaluation(
    folder: Path, clips: Path, *more: str, methods: Sequence[str] = ("mean-heads",)
) -> list[str]:
    arguments = ["eval", "--model", f"whisper:{folder}", "--data", str(clips), "--masks", "12"]
    for method in methods:
        arguments += ["--method", method]
    return [*arguments, *more]


def test_eval_writes_results_and_prints_a_table(
    run: Run, tiny_whisper_folder: Path, clips: Path
) -> None:
    done = run(*evaluation(tiny_whisper_folder, clips, methods=("mean-heads", "diagonal")))
    assert done.code == 0, done.err
    results = load_results("results")
    assert sorted(r.method.name for r in results) == ["diagonal", "mean-heads"]
    assert {r.status for r in results} == {"complete"}
    for expected in ("spes-encoder, 12 masks", "pearson*", "mean-heads", "floor", "2 result files"):
        assert expected in done.out


def test_json_output_is_the_files(run: Run, tiny_whisper_folder: Path, clips: Path) -> None:
    done = run(*evaluation(tiny_whisper_folder, clips, "--json"))
    printed = json.loads(done.out)
    written = json.loads(next(Path("results").rglob("*.json")).read_text())
    assert printed == [written]


def test_no_absolute_path_in_a_result(run: Run, tiny_whisper_folder: Path, clips: Path) -> None:
    run(*evaluation(tiny_whisper_folder, clips))
    text = next(Path("results").rglob("*.json")).read_text()
    for folder in (tiny_whisper_folder.parent, clips.parent, Path.home()):
        assert str(folder) not in text
    assert clips.name in text


def test_partial_runs_do_not_overwrite_full_ones(
    run: Run, tiny_whisper_folder: Path, clips: Path
) -> None:
    run(*evaluation(tiny_whisper_folder, clips))
    run(*evaluation(tiny_whisper_folder, clips, "--limit", "1"))
    run(*evaluation(tiny_whisper_folder, clips, "--ids", "b"))
    results = load_results("results")
    assert sorted(r.status for r in results) == ["complete", "partial", "partial"]


def test_a_refused_utterance_exits_one_and_keeps_the_rest(
    run: Run, tiny_whisper_folder: Path, clips: Path
) -> None:
    (clips.parent / "b.wav").write_bytes(b"not audio")
    done = run(*evaluation(tiny_whisper_folder, clips))
    assert done.code == 1
    assert "b: corrupt-audio" in done.err
    (result,) = load_results("results")
    assert result.utterances["id"] == ["a"]
    assert [(f.id, f.reason) for f in result.failures] == [("b", "corrupt-audio")]


def test_an_unsupported_layer_is_told_and_the_others_go_on(
    run: Run, tiny_whisper_folder: Path, clips: Path
) -> None:
    methods = ("raw-attention:layer=7,head=0", "mean-heads")
    done = run(*evaluation(tiny_whisper_folder, clips, methods=methods))
    assert done.code == 0
    assert "layer 7 does not exist: the decoder has layers 0 to 1" in done.err
    statuses = {r.method.name: r.status for r in load_results("results")}
    assert statuses == {"raw-attention": "unsupported", "mean-heads": "complete"}
    alone = run(*evaluation(tiny_whisper_folder, clips, methods=methods[:1]))
    assert alone.code == 1  # nothing was scored


def test_a_task_beyond_the_model_is_one_note_and_the_others_are_done(
    run: Run, tiny_whisper_folder: Path, clips: Path
) -> None:
    lines = [
        json.loads(line) | {"translation_de": "eins"} for line in clips.read_text().splitlines()
    ]
    clips.write_text("\n".join(map(json.dumps, lines)))
    into_german = clips.parent / "into-german.yaml"
    into_german.write_text(
        "schema: xbench.task/1\nname: into-german\nversion: 1\ntitle: beyond Whisper\n"
        "include: builtin:_st.yaml\nsource_languages: [en]\ntarget_language: de\n"
        "dataset: {name: manifest}\nlicence: none\n"
    )
    asked = evaluation(tiny_whisper_folder, clips, "--task", str(into_german), "--task", "asr")
    done = run(*asked)
    assert done.code == 0, done.err
    assert done.err.count("cannot translate into 'de'") == 1
    assert done.out.count("cannot translate into 'de'") == 1
    german, asr = sorted(load_results("results"), key=lambda r: r.task.name != "into-german")
    assert (german.status, asr.status) == ("unsupported", "complete")
    assert "cannot translate into 'de'" in (german.reason or "")
    assert german.failures == []
    assert german.utterances["id"] == []
    assert run("score", "results", "--output", "again").code == 0
    assert {r.status for r in load_results("again")} == {"unsupported", "complete"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model", "whisper-tinny", "--method", "mean-heads"], "did you mean 'whisper-tiny'"),
        (["--model", "whisper-tiny", "--method", "mean-head"], "did you mean 'mean-heads'"),
        (
            ["--model", "whisper-tiny", "--method", "mean-heads", "--task", "dem"],
            "did you mean 'demo'",
        ),
        (
            ["--model", "whisper-tiny", "--method", "mean-heads", "--task", "asr"],
            "needs --data MANIFEST.jsonl",
        ),
        (
            ["--model", "whisper:nowhere/at/all", "--method", "mean-heads"],
            "there is no folder or file 'nowhere/at/all'",
        ),
        (
            ["--model", "whisper-tiny", "--method", "mean-heads:layer=1"],
            "unknown parameter 'layer'",
        ),
        (
            ["--model", "whisper-tiny", "--method", "raw-attention:layer=a,head=0"],
            "is not a whole number",
        ),
        (["--model", "whisper-tiny", "--method", "diagonal:width=2"], "must be >= 0 and <= 1"),
        (
            ["--model", "whisper-tiny", "--method", "mean-heads", "--batch-size", "0"],
            "--batch-size '0'",
        ),
        (
            ["--model", "whisper-tiny", "--method", "mean-heads", "--precision", "int8"],
            "--precision 'int8'",
        ),
        (
            ["--model", "whisper-tiny", "--method", "mean-heads", "--data", "none.jsonl"],
            "none.jsonl",
        ),
        (
            [
                "--model",
                "whisper-tiny",
                "--method",
                "mean-heads",
                "--task",
                "demo",
                "--preset",
                "papr",
            ],
            "did you mean 'paper'",
        ),
    ],
)
def test_bad_usage_exits_two_with_one_line(run: Run, arguments: list[str], expected: str) -> None:
    done = run("eval", *arguments)
    assert done.code == 2
    assert expected in done.err.replace("\n", " ")
    assert done.err.startswith("error: ")
    assert len(done.err.strip().splitlines()) == 1
    assert not Path("results").exists()


def test_masks_below_the_minimum_are_refused(
    run: Run, tiny_whisper_folder: Path, clips: Path
) -> None:
    done = run(*evaluation(tiny_whisper_folder, clips, "--masks", "2"))
    assert done.code == 2
    assert "masks=2' must be >= 6" in done.err


def test_interruption_exits_130_and_says_what_is_kept(
    run: Run, tiny_whisper_folder: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xbench.runner import stages

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "refer", stop)
    done = run(*evaluation(tiny_whisper_folder, clips))
    assert done.code == 130
    assert "what was finished is kept" in done.err
    assert list(Path("cache/hypothesis").rglob("*.json"))
    assert not Path("results").exists()


def test_environment_problems_exit_three(
    run: Run, tiny_whisper_folder: Path, clips: Path, monkeypatch
) -> None:
    from xbench import store

    def full(*_: object, **__: object) -> None:
        raise EnvironmentProblem("the disk is full")

    monkeypatch.setattr(store, "write_atomically", full)
    done = run(*evaluation(tiny_whisper_folder, clips))
    assert (done.code, done.err.splitlines()[-1]) == (3, "error: the disk is full")


def test_a_bug_exits_three_with_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from xbench.cli import listing

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(listing, "rows", broken)
    done = run("list", "models")
    assert done.code == 3
    assert "ZeroDivisionError" in done.err
    assert "bug" in done.err


def test_plan_counts_passes_and_writes_no_result(
    run: Run, tiny_whisper_folder: Path, clips: Path
) -> None:
    done = run(*evaluation(tiny_whisper_folder, clips, "--plan", "--json"))
    assert done.code == 0, done.err
    (plan,) = json.loads(done.out)
    # per utterance: one trace, and 12 masks and a clean pass for each of two references
    assert (plan["utterances"], plan["forward passes"]) == (2, 2 * (1 + 13 + 13))
    assert plan["expected seconds"] > 0
    assert not Path("results").exists()


@pytest.mark.parametrize(
    "kind", ["models", "methods", "metrics", "references", "tasks", "datasets", "plugins"]
)
def test_list_prints_a_table_and_json(run: Run, kind: str) -> None:
    rows = json.loads(run("list", kind, "--json").out)
    assert rows
    assert all(row["name"] for row in rows)
    assert run("list", kind).code == 0


def test_list_and_show_offer_the_nearest_name(run: Run) -> None:
    assert "did you mean 'methods'" in run("list", "method").err
    assert "did you mean 'reference'" in run("show", "referense", "spes-input").err
    assert "did you mean 'spes-input'" in run("show", "reference", "spes-inptu").err


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("model", "whisper-large-v3", "openai/whisper-large-v3"),
        ("model", "whisper", "whisper-tiny"),
        ("method", "raw-attention", "attention head, from 0"),
        ("metric", "pearson", "agreement"),
        ("reference", "spes-input", "2411.01710"),
        ("task", "demo-asr-en", "spes-encoder:design="),
        ("task", "demo", "demo-st-multi"),
        ("dataset", "demo", "CC0-1.0"),
    ],
)
def test_show_tells_what_is_known(run: Run, kind: str, name: str, expected: str) -> None:
    done = run("show", kind, name)
    assert done.code == 0, done.err
    assert expected in done.out


def test_validate_tells_every_problem(run: Run, tiny_whisper_folder: Path, clips: Path) -> None:
    run(*evaluation(tiny_whisper_folder, clips))
    result = next(Path("results").rglob("*.json"))
    assert run("validate", str(clips), str(result)).out.strip() == "2 files valid"
    assert run("validate", "results").out.strip() == "1 file valid"
    Path("empty").mkdir()
    assert "holds no .yaml task" in run("validate", "empty").err
    lines = [json.loads(line) for line in clips.read_text().splitlines()]
    clips.write_text("\n".join(json.dumps({**line, "clusters": "x"}) for line in lines))
    warned = run("validate", str(clips))
    assert warned.code == 0
    assert "field 'clusters' is ignored, did you mean 'cluster'?" in warned.err

    data = json.loads(result.read_text())
    data["status"] = "great"
    del data["model"]["revision"]
    result.write_text(json.dumps(data))
    done = run("validate", str(result))
    assert done.code == 2
    assert "status: expected one of complete, partial" in done.err
    assert "model: missing key 'revision'" in done.err


def test_a_result_with_nan_is_refused(run: Run, tiny_whisper_folder: Path, clips: Path) -> None:
    run(*evaluation(tiny_whisper_folder, clips))
    result = next(Path("results").rglob("*.json"))
    read_result(result)
    result.write_text(
        result.read_text().replace('"padding_mass": 0', '"padding_mass": NaN, "x": 0')
    )
    assert "NaN is not allowed" in run("validate", str(result)).err


def test_cache_info_verify_clear(run: Run, tiny_whisper_folder: Path, clips: Path) -> None:
    run(*evaluation(tiny_whisper_folder, clips))
    info = json.loads(run("cache", "info", "--json").out)
    # two utterances: a hypothesis each, two references each, the method and the floor each
    assert [info[k]["artefacts"] for k in ("hypothesis", "reference", "map")] == [2, 4, 4]
    assert run("cache", "verify").out.strip() == "every artefact is sound"
    damaged = next(Path("cache/map").rglob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert run("cache", "verify").code == 1
    assert (
        run("cache", "clear", "--yes").out.strip() == "18 artefacts deleted"
    )  # with 6 interventions, the record of the run, and the facts of the model


def test_doctor_reports(run: Run) -> None:
    facts = json.loads(run("doctor", "--json").out)
    assert facts["torch"]
    assert set(facts["extras"]) == {"hub", "peft", "plot", "ray"}


def test_a_finished_command_does_not_wait_for_threads_of_plugins() -> None:
    code = (
        "import sys, threading, time\nimport xbench.cli as cli\ncli._PATIENCE = 0.2\n"
        "threading.Thread(target=time.sleep, args=(60,), name='idle').start()\n"
        "sys.argv = ['xbench', {words}]\ncli.main()\n"
    )
    for words, expected in (("'version'", 0), ("'show', 'method', 'nobody'", 2)):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code.format(words=words)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert time.monotonic() - started < 30
        assert done.returncode == expected
        assert done.stderr.endswith("what a plugin left at work: thread 'idle'\n")


def test_help_names_every_command_and_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['xbench', '--help']\n"
        "from xbench.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False False")
    for command in ("eval", "list", "show", "validate", "cache", "doctor"):
        assert command in done.stdout
