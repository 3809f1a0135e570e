"""`xbench explain`: one clip, its hypothesis, its map, its picture."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xbench import cli
from xbench.errors import EnvironmentProblem, UsageError
from xbench.plot import figure, fonts
from xbench.plot.explanation import save_explanation
from xbench.runner.clip import explain
from xbench.runner.evaluate import evaluate
from xbench.runner.explanation import Explanation, whole_characters
from xbench.spec import Call, ExecutionOptions, RunSpec

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
        (lambda p: p.write_bytes(b"no audio at all"), "holds text and no audio"),
        (lambda p: soundfile.write(p, np.zeros(8_000), 16_000), "is silent"),
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


REFERENCE = "spes-encoder:masks=40"


@pytest.fixture
def compared(clip: Path, tiny_whisper_folder: Path, tmp_path: Path) -> Explanation:
    return explain(
        clip,
        f"whisper:{tiny_whisper_folder}",
        ["mean-heads", "diagonal"],
        reference=REFERENCE,
        cache=str(tmp_path / "cache"),
    )


def test_methods_stand_beside_the_reference_with_the_scores_of_a_run(
    compared: Explanation, clip: Path, tiny_whisper_folder: Path, tmp_path: Path
) -> None:
    assert [(band.call.name, band.kind) for band in compared.bands] == [
        ("mean-heads", "method"),
        ("diagonal", "method"),
        ("spes-encoder", "reference"),
    ]
    manifest = tmp_path / "clips.jsonl"
    line = {"id": clip.name, "audio": clip.name, "language": "en", "transcript": "a"}
    manifest.write_text(json.dumps(line))
    spec = RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=["mean-heads", "diagonal"],
        tasks="asr",
        data=str(manifest),
        references=[REFERENCE],
    )
    options = ExecutionOptions(str(tmp_path / "results"), str(tmp_path / "other-cache"), "cpu")
    for result, band in zip(evaluate(spec, options), compared.bands, strict=False):
        score = result.score("pearson", "spes-encoder")
        assert band.agreement is not None
        assert band.agreement.value == pytest.approx(score.value, abs=1e-6)
    estimate = compared.bands[-1].estimate
    assert estimate is not None
    assert estimate.masks == 40
    assert estimate.ceiling.upper == pytest.approx(score.ceiling.value, abs=1e-6)


def test_json_has_every_map_with_its_score(compared: Explanation) -> None:
    facts = json.loads(json.dumps(compared.facts()))
    assert facts["metric"] == "pearson"
    first, _, last = facts["bands"]
    np.testing.assert_allclose(first["values"], compared.values, rtol=1e-3)
    assert first["score"] == compared.bands[0].agreement.value
    assert (last["kind"], last["masks"]) == ("reference", 40)


def test_a_picture_and_a_notebook_show_all_bands(compared: Explanation, tmp_path: Path) -> None:
    save_explanation(compared, str(tmp_path / "picture.svg"))
    picture = (tmp_path / "picture.svg").read_text()
    assert picture.count("<image") == 6  # a spectrogram and a map for each
    assert "spes-encoder  (reference)" in picture
    for band in compared.bands:
        assert band.caption("pearson") in picture
    assert compared._repr_html_().count("<figure>") == 3


def test_a_reference_nobody_registered_is_told_before_the_model_is_loaded(clip: Path) -> None:
    with pytest.raises(UsageError, match="unknown reference 'spes-encodr', did you mean"):
        explain(clip, "whisper:/nowhere", METHOD, reference="spes-encodr")


@pytest.mark.parametrize(
    ("tokens", "counts", "texts"),
    [
        ([b" a", b"b"], (1, 1), (" a", "b")),
        # U+65E5 is E6 97 A5, U+672C is E6 9C AC: one split in two, the other in three, side by side
        ([b"\xe6\x97", b"\xa5", b"\xe6", b"\x9c", b"\xac", b"!"], (2, 3, 1), ("日", "本", "!")),
        # a token that ends one character and begins the next joins both
        ([b"\xe6\x97", b"\xa5\xe6\x9c", b"\xac"], (3,), ("日本",)),
        # what never becomes a character takes no neighbour with it
        ([b"\xe6", b" a", b"\xe6"], (1, 1, 1), ("\ufffd", " a", "\ufffd")),
    ],
    ids=["latin", "two and three", "chained", "broken"],
)
def test_tokens_that_share_a_character_are_one_row(
    tokens: list[bytes], counts: tuple[int, ...], texts: tuple[str, ...]
) -> None:
    def written(first: int, end: int) -> str:
        return b"".join(tokens[first:end]).decode("utf-8", "replace")

    alone = [written(i, i + 1) for i in range(len(tokens))]
    assert whole_characters(alone, written) == (counts, texts)


def test_a_row_of_several_tokens_is_their_mean(explanation: Explanation) -> None:
    rows = (2,) + (1,) * (len(explanation.tokens) - 2)
    joined = replace(explanation, rows=rows, row_texts=explanation.row_texts[1:])
    shown = joined.shown(joined.bands[0])
    np.testing.assert_allclose(shown[0], explanation.values[:2].mean(0))
    np.testing.assert_allclose(shown[1:], explanation.values[2:])


def test_a_clip_passes_the_encoder_once(
    clip: Path, tiny_whisper_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xbench.models.loading import load_model

    model = load_model(f"whisper:{tiny_whisper_folder}")
    passes = []
    model.network.model.encoder.register_forward_hook(lambda *_: passes.append(1))  # type: ignore[attr-defined]
    once = explain(clip, model, METHOD)
    assert len(passes) == 1
    again = explain(clip, model, ["mean-heads", "alti"])  # needs the encoder's own attention
    assert len(passes) == 3
    np.testing.assert_allclose(once.values, again.values, atol=1e-6)


def test_a_character_that_no_font_has_is_told_once(
    explanation: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_characters", lambda name: set(map(chr, range(128))))
    written = replace(explanation, row_texts=("日", "日", *explanation.row_texts[2:]))
    with pytest.warns(
        UserWarning, match=r"has 1 character of the texts, such as '日' \(cjk\): the picture shows"
    ) as told:
        save_explanation(written, str(tmp_path / "picture.png"))
    assert len(told) == 1
    save_explanation(written, str(tmp_path / "picture.svg"))  # keeps the text: no warning
    assert "日" in (tmp_path / "picture.svg").read_text()


def test_a_font_that_has_the_script_is_found() -> None:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    def has(name: str) -> set[int]:
        return set(FT2Font(font_manager.findfont(name)).get_charmap())

    only = min(has("STIXGeneral") - has("DejaVu Sans"))
    families = fonts.families_for([chr(only), "a"])
    assert families[0] == "DejaVu Sans"
    assert any(only in has(name) for name in families[1:])
    assert fonts.families_for(["plain", "größer"]) == ["DejaVu Sans"]
