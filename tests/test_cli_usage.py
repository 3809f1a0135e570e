"""What the command line itself refuses: arguments, models without cross-attention, an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Run


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
            {"model_type": "voxtral", "architectures": ["VoxtralForConditionalGeneration"]},
            "decoder-only model",
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
