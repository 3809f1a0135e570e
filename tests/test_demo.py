"""The embedded model and clips: enough of them, disjoint, small, and really learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xbench.data.audio import read_audio
from xbench.data.demo import demo_manifest
from xbench.data.manifest import Utterance, read_manifest
from xbench.errors import UtteranceError
from xbench.metrics.quality import corpus_quality
from xbench.models.loading import load_model
from xbench.spec import Decoding, Quality, Selection

DEMO = demo_manifest("test").parent
LANGUAGES = ("en", "it", "de", "fr")


def utterances(split: str) -> tuple[Utterance, ...]:
    return read_manifest(demo_manifest(split), selection=Selection()).utterances


def test_each_task_has_enough_clips_and_voices() -> None:
    test = utterances("test")
    english = [u for u in test if u.language == "en"]
    translated = [u for u in test if u.target_text("en") and u.language != "en"]
    assert min(len(english), len(translated)) >= 24
    for language in LANGUAGES:
        assert sum(u.language == language for u in test) >= 8
    for clips in (english, translated):
        assert len({u.cluster for u in clips}) >= 12
    assert not any(u.cluster_assumed for u in test)


def test_dev_shares_neither_voice_nor_sentence_with_test() -> None:
    test, dev = utterances("test"), utterances("dev")
    assert {u.language for u in dev} == set(LANGUAGES)
    for name in ("cluster", "transcript", "id", "audio_sha256"):
        assert not {getattr(u, name) for u in test} & {getattr(u, name) for u in dev}
    translations = [{u.target_text("en") for u in split if u.translations} for split in (test, dev)]
    assert not translations[0] & translations[1]


def test_sizes_stay_within_what_a_package_can_carry() -> None:
    def total(folder: Path) -> int:
        return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())

    assert total(DEMO / "audio") <= 4_000_000
    assert total(DEMO / "model") <= 4_000_000
    assert not [f for f in DEMO.rglob("*") if f.suffix in {".bin", ".pt", ".npz"}]


@pytest.mark.parametrize("split", ["test", "dev"])
def test_words_are_the_transcript_in_order_and_in_time(split: str) -> None:
    durations = {
        line["id"]: line["duration_s"]
        for line in map(json.loads, demo_manifest(split).read_text("utf-8").splitlines())
    }
    for utterance in utterances(split):
        assert utterance.words
        assert [w.word for w in utterance.words] == utterance.transcript.split()
        edges = [edge for w in utterance.words for edge in (w.start, w.end)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] < edges[-1] <= durations[utterance.id] + 0.01
        samples = read_audio(utterance.audio, 16_000)
        assert len(samples) / 16_000 == pytest.approx(durations[utterance.id], abs=0.01)


@pytest.fixture(scope="module", params=["xbench-tiny", "xbench-tiny-lm"])
def tiny(request: pytest.FixtureRequest) -> Any:
    return load_model(request.param, device="cpu")


def test_it_loads_by_name_and_knows_what_it_cannot_do(tiny: Any) -> None:
    assert tiny.info.name in ("xbench-tiny", "xbench-tiny-lm")
    for language in LANGUAGES:
        tiny.check_language(language, None)
    # Spanish: the published models of both families know it.
    for language in ("pl", "es"):
        with pytest.raises(
            UtteranceError,
            match=f"model '{tiny.info.name}' does not know the language '{language}'; it knows de, en, fr, it$",
        ):
            tiny.check_language(language, None)
    tiny.check_language("it", "en")
    with pytest.raises(UtteranceError, match="cannot translate into 'fr'"):
        tiny.check_language("it", "fr")
    with pytest.raises(UtteranceError, match="cannot translate into 'de'"):
        tiny.check_language("en", "de")


def test_both_models_are_small_files_and_hear_the_same() -> None:
    """The sibling has the trained audio encoder of xbench-tiny, so that only what reads it differs."""
    whisper, prefix = (
        load_model(name, device="cpu").network  # type: ignore[attr-defined]
        for name in ("xbench-tiny", "xbench-tiny-lm")
    )
    theirs = prefix.model.audio_tower.state_dict()
    for name, weight in whisper.model.encoder.state_dict().items():
        torch.testing.assert_close(theirs[name][: len(weight)], weight, rtol=0, atol=1e-3)
    for folder in ("model", "model-lm"):
        weights = demo_manifest("test").parent / folder / "model.safetensors"
        assert weights.stat().st_size <= 4_000_000


def hypotheses(
    tiny: Any, clips: list[Utterance], target: str | None, swap: bool = False
) -> list[str]:
    heard = [*clips[1:], clips[0]] if swap else clips
    texts = []
    for clip, source in zip(clips, heard, strict=True):
        features = tiny.features(read_audio(source.audio, 16_000))
        texts.append(tiny.decode(features, clip.language, target, Decoding(beams=1)).text)
    return texts


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_transcribes_held_out_sentences(tiny: Any, language: str) -> None:
    torch.set_num_threads(2)
    clips = [u for u in utterances("test") if u.language == language]
    said = [u.transcript for u in clips]
    of_language = [language] * len(clips)
    wer = Quality("wer", 50)
    right = corpus_quality(wer, hypotheses(tiny, clips, None), said, of_language)
    wrong = corpus_quality(wer, hypotheses(tiny, clips, None, swap=True), said, of_language)
    assert right is not None
    assert wrong is not None
    assert right <= 8
    assert wrong >= 60


@pytest.mark.slow
@pytest.mark.parametrize("language", ["it", "de", "fr"])
def test_it_translates_held_out_sentences(tiny: Any, language: str) -> None:
    clips = [u for u in utterances("test") if u.language == language]
    targets = [u.target_text("en") or "" for u in clips]
    chrf = Quality("chrf", 30)
    right = corpus_quality(chrf, hypotheses(tiny, clips, "en"), targets, ["en"] * len(clips))
    wrong = corpus_quality(
        chrf, hypotheses(tiny, clips, "en", swap=True), targets, ["en"] * len(clips)
    )
    assert right is not None
    assert wrong is not None
    assert right >= 80
    assert wrong <= 40


def test_silence_is_not_transcribed_as_a_test_sentence(tiny: Any) -> None:
    features = tiny.features(np.zeros(48_000, dtype=np.float32))
    text = tiny.decode(features, "en", None, Decoding(beams=1)).text
    assert text not in {u.transcript for u in utterances("test")}
