"""What the command line itself refuses: arguments, models without cross-attention, an interruption."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import Run
from xbench import cli


def test_an_output_that_cannot_be_a_folder_is_told_before_anything_is_computed(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        given = f"--model xbench-tiny --task demo-asr-en --method mean-heads --output {output}"
        for command in (f"eval {given}", f"score {tmp_path} --output {output}"):
            code, _, err = run(*command.split())
            assert code == 2
            assert f"--output {output}: {tmp_path / 'file'} is a file; give a folder" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("lst", "No such command 'lst'. Did you mean 'list'?"),
        ("eval --method mean-heads", "Missing option '--model'."),
        ("eval --model", "Option '--model' requires an argument."),
        ("cache info --x", "No such option"),
        ("data prepare a b --limit 0", "Invalid value for '--limit'"),
    ],
)
def test_bad_arguments_are_told_and_exit_two(run: Run, arguments: str, message: str) -> None:
    code, out, err = run(*arguments.split())
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_an_interruption_exits_130_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xbench.cli import listing

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "rows", interrupted)
    code, _, err = run("list", "models")
    assert code == 130
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            {"model_type": "voxtral_realtime"},
            "step by step",
        ),
        ({"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"]}, "CTC model"),
    ],
)
@pytest.mark.parametrize("family", ["whisper", "speech_to_text"])
def test_a_model_without_cross_attention_is_one_line_and_exits_two(
    run: Run, family: str, settings: dict[str, object], why: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    code, _, err = run("check", "model", f"{family}:{tmp_path}")
    assert code == 2
    assert why in err
    assert "`xbench list models`" in err
    assert len(err.splitlines()) == 1


def test_a_family_in_the_place_of_a_model_is_told_from_an_unknown_name(run: Run) -> None:
    code, _, err = run("check", "model", "speech_to_text")
    assert code == 2
    assert "'speech_to_text' is a family of models" in err
    assert "write 'speech_to_text:FOLDER'" in err
    assert "unknown model 'speech_to_tex'" in run("check", "model", "speech_to_tex").err


def test_an_interruption_while_modules_are_imported_is_quiet(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    assert run("list", "models") == (130, "", "")


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", "xxx"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "/folder"), 3),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "file"), 3),
    ],
)
def test_a_file_that_the_system_refuses_is_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, problem: OSError, expected: int
) -> None:
    from xbench.cli import listing

    def refused(*_: object) -> None:
        raise problem

    monkeypatch.setattr(listing, "rows", refused)
    code, _, err = run("list", "models")
    assert code == expected
    assert err == f"error: {problem.filename}: {problem.strerror}\n"


@pytest.mark.parametrize("command", ["validate {}", "leaderboard build {} --out x", "score {}"])
def test_a_name_that_is_too_long_is_a_sentence(run: Run, command: str) -> None:
    code, _, err = run(*command.format("x" * 300 + ".json").split())
    assert code == 2
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".yaml"])
def test_pipes_and_links_in_a_circle_are_refused_at_once(
    run: Run, tmp_path: Path, suffix: str
) -> None:
    pipe, loop = tmp_path / f"pipe{suffix}", tmp_path / f"loop{suffix}"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    code, _, err = run("validate", pipe, loop)
    assert code == 2
    assert err.splitlines() == [
        f"error: {pipe}: cannot be read: it is a named pipe, not a plain file",
        f"error: {loop}: cannot be read: Too many levels of symbolic links",
    ]


def test_text_of_strangers_commands_no_terminal(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text(json.dumps({"a\x1b]0;PWNED\x07\x1b[31mred\x9b\u202e": 1}))
    code, _, err = run("validate", file)
    assert code == 2
    assert "a\\u001b]0;PWNED\\u0007\\u001b[31mred\\u009b\\u202e" in err
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(err)


def in_a_shell(pipeline: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"{sys.executable} -c 'from xbench.cli import main; main()'"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", pipeline.replace("xbench", program, 1)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_who_reads_no_further_ends_the_output_and_not_the_command() -> None:
    done = in_a_shell("xbench list methods --json | head -n 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


def test_a_terminal_that_cannot_write_a_character_gets_an_escape() -> None:
    done = in_a_shell("xbench list metrics", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    done = in_a_shell("xbench show metric pearson --json", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0
    assert json.loads(done.stdout)["name"] == "pearson"
