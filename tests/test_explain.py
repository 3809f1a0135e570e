"""`xbench explain`: one clip, its hypothesis, its map, its picture."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xbench import cli
from xbench.errors import EnvironmentProblem, UsageError
from xbench.plot import figure
from xbench.plot.explanation import save_explanation
from xbench.runner.clip import Explanation, explain
from xbench.spec import Call

METHOD = Call.parse("mean-heads")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 15_000), 16_000)
    return path


@pytest.fixture
def explanation(clip: Path, tiny_whisper_folder: Path) -> Explanation:
    return explain(clip, f"whisper:{tiny_whisper_folder}", METHOD)


def test_an_explanation_has_a_row_per_content_token_that_sums_to_one(
    explanation: Explanation,
) -> None:
    # 15,000 samples are 94 spectrogram frames, 47 encoder frames
    assert explanation.values.shape == (len(explanation.tokens), 47)
    assert explanation.spectrogram.shape == (94, 16)
    np.testing.assert_allclose(explanation.values.sum(1), 1, atol=1e-5)
    assert explanation.frame_seconds == pytest.approx(0.02)
    assert explanation.audio == "clip.wav"


def test_it_is_the_map_that_eval_scores(
    explanation: Explanation, clip: Path, tiny_whisper_folder: Path
) -> None:
    from xbench.data.audio import read_audio
    from xbench.models.loading import load_model
    from xbench.spec import Decoding

    model = load_model(f"whisper:{tiny_whisper_folder}")
    features = model.features(read_audio(clip, 16_000))
    hypothesis = model.decode(features, "en", None, Decoding())
    attention = model.trace(features, hypothesis, frozenset()).cross_attention
    expected = attention.mean((0, 1))[list(hypothesis.content)]
    np.testing.assert_allclose(explanation.values, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: p.write_bytes(b"no audio at all"), "cannot be decoded"),
        (lambda p: soundfile.write(p, np.zeros(8_000), 16_000), "it is silent"),
        (lambda p: soundfile.write(p, np.zeros(0), 16_000), "holds no samples"),
        (
            lambda p: soundfile.write(p, np.full(2_400 * 1000, 0.1), 1000),
            "lasts longer than 4 s, the most that is read",
        ),
        (lambda p: None, "No such file"),
    ],
    ids=["not audio", "silence", "empty", "forty minutes", "missing"],
)
def test_unusable_audio_is_one_sentence(
    tmp_path: Path, tiny_whisper_folder: Path, make, expected: str
) -> None:
    path = tmp_path / "bad.wav"
    make(path)
    with pytest.raises(UsageError, match=expected) as error:
        explain(path, f"whisper:{tiny_whisper_folder}", METHOD)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("bad.wav: ")


def test_an_unknown_language_is_named(clip: Path, tiny_whisper_folder: Path) -> None:
    with pytest.raises(UsageError, match="does not know the language 'sw'; it knows en, it, zh"):
        explain(clip, f"whisper:{tiny_whisper_folder}", METHOD, language="sw")


def test_a_sweep_is_refused(clip: Path, tiny_whisper_folder: Path) -> None:
    with pytest.raises(UsageError, match="shows one map"):
        explain(clip, f"whisper:{tiny_whisper_folder}", Call.parse("raw-attention:layer=*,head=0"))


@pytest.mark.parametrize(
    ("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_pictures_are_written_and_reproducible(
    explanation: Explanation, tmp_path: Path, suffix: str, magic: bytes
) -> None:
    for name in ("one", "two"):
        save_explanation(explanation, str(tmp_path / f"{name}.{suffix}"))
    one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
    assert one.startswith(magic)
    assert one == two


def test_a_bad_picture_name_is_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match=r"must end in \.png, \.pdf, \.svg"):
        figure.check_target("figure.jpeg")


def test_a_missing_matplotlib_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'xbench\[plot\]'"):
        figure.check_target("figure.png")


def test_the_command_prints_a_strip_per_token(
    clip: Path,
    tiny_whisper_folder: Path,
    explanation: Explanation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["explain", str(clip), "--model", f"whisper:{tiny_whisper_folder}"]
    monkeypatch.setattr(sys, "argv", ["xbench", *arguments, "--method", "mean-heads"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("clip.wav (0.94 s)")
    assert len(lines) == 3 + len(explanation.tokens)
    # every row is scaled to its own maximum, so each strip reaches the full block
    assert all("█" in line for line in lines[2:-1])


@pytest.mark.parametrize("name", ["best-head", "corpus-mean", "shuffled"])
def test_methods_that_need_other_utterances_say_so(
    name: str, clip: Path, tiny_whisper_folder: Path
) -> None:
    with pytest.raises(UsageError, match="needs other utterances; use `xbench eval`"):
        explain(clip, f"whisper:{tiny_whisper_folder}", Call.parse(name))
