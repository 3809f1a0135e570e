"""Trained models and real speech, from ../shared: the only tests that say anything about faithfulness."""

from __future__ import annotations

from pathlib import Path

import pytest

from xbench import Call, ExecutionOptions, RunResult, RunSpec, Selection, evaluate

MICRO = "whisper-micro-en-zh-he"
MASKS = 200
EN, ZH, LONG = "en-digits-theo", "zh-words-2", "he-yesno-1"


@pytest.fixture(scope="module")
def results(
    shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], RunResult]:
    """Evaluate three clips once for the whole module: results by (task, method)."""
    folder = tmp_path_factory.mktemp("real-speech")
    spec = RunSpec(
        model=f"whisper:{shared_folder / 'models' / MICRO}",
        methods=(Call("mean-heads"), Call("random")),
        tasks=("asr", "st"),
        data=str(shared_folder / "audio" / "manifest.jsonl"),
        references=(Call("spes-encoder"),),
        masks=MASKS,
        selection=Selection(ids=(EN, ZH, LONG)),
    )
    options = ExecutionOptions(str(folder / "results"), str(folder / "cache"), "cpu")
    return {(r.task.name, r.method.name): r for r in evaluate(spec, options)}


def of(result: RunResult, column: str) -> dict[str, object]:
    return dict(zip(result.utterances["id"], result.utterances[column], strict=True))


def test_transcripts_are_right(results: dict[tuple[str, str], RunResult]) -> None:
    result = results["asr", "mean-heads"]
    found = of(result, "hypothesis")
    assert found[EN] == "two seven one eight two eight"
    assert str(found[ZH]).replace(" ", "") == "老师昨天买三书"
    assert of(result, "wer") == {EN: 0, ZH: 0}
    assert result.quality.value == 0


def test_the_translation_is_right(results: dict[tuple[str, str], RunResult]) -> None:
    result = results["st", "mean-heads"]
    assert of(result, "hypothesis") == {ZH: "teacher yesterday buy three book"}
    assert result.quality.value == pytest.approx(100)


def test_a_clip_longer_than_the_window_is_refused(
    results: dict[tuple[str, str], RunResult],
) -> None:
    for task in ("asr", "st"):
        result = results[task, "mean-heads"]
        assert [(f.id, f.reason) for f in result.failures] == [(LONG, "too-long")]
        assert result.status == "partial"


@pytest.mark.parametrize("task", ["asr", "st"])
def test_attention_says_more_than_a_diagonal_and_chance(
    results: dict[tuple[str, str], RunResult], task: str
) -> None:
    attention = of(results[task, "mean-heads"], "pearson@spes-encoder")
    chance = of(results[task, "random"], "pearson@spes-encoder")
    floor = of(results[task, "mean-heads"], "floor:pearson@spes-encoder")
    for clip, score in attention.items():
        assert float(score) > float(floor[clip]) + 0.1  # type: ignore[arg-type]
        assert abs(float(chance[clip])) < 0.2  # type: ignore[arg-type]


def test_reliability_is_estimated_and_bounds_the_ceiling(
    results: dict[tuple[str, str], RunResult],
) -> None:
    (reference,) = results["asr", "mean-heads"].references
    assert reference.masks == [MASKS // 2, MASKS // 2]
    assert 0.05 < (reference.reliability.value or 0) < 0.95
    ceiling = reference.ceiling["pearson"].value
    score = results["asr", "mean-heads"].score("pearson").value
    assert ceiling is not None
    assert score is not None
    assert score < ceiling < 1


def test_attention_of_the_aligned_layer_lies_on_the_words(
    micro: object, shared_folder: Path
) -> None:
    # ../shared/README.md: decoder layer 1 has 87 to 95 % of its mass within the true word.
    import json

    from xbench.data.audio import read_audio
    from xbench.methods.attention import mean_heads
    from xbench.models.families.whisper import WhisperModel
    from xbench.spec import Decoding

    assert isinstance(micro, WhisperModel)
    audio = shared_folder / "audio"
    lines = (audio / "manifest.jsonl").read_text("utf-8").splitlines()
    (words,) = (r["words"] for r in map(json.loads, lines) if r["id"] == EN)
    features = micro.features(read_audio(audio / f"{EN}.flac", 16000))
    hypothesis = micro.decode(features, "en", None, Decoding())
    attention = mean_heads(micro.trace(features, hypothesis, frozenset()), layers="1")
    seconds = 0.02
    inside = [
        attention[
            row, max(0, round((w["start"] - 0.1) / seconds)) : round((w["end"] + 0.1) / seconds)
        ]
        for row, w in enumerate(words)
    ]
    shares = [float(part.sum()) for part in inside]
    assert min(shares) > 0.6
    assert sum(shares) / len(shares) > 0.8
