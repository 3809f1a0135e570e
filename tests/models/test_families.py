"""Every family on a small random checkpoint: the contract battery, input axes, prompts, refusals, eval."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from wrapped_model import Wrapped
from xbench import registry
from xbench.description import CAPTURES
from xbench.errors import EnvironmentProblem, Unsupported, UsageError, UtteranceError
from xbench.models.configuration import check_config
from xbench.models.loading import load_model, locate
from xbench.models.optional import Inspectable, offers
from xbench.models.protocol import SpeechModel
from xbench.spec import Decoding
from xbench.testing.models import check_model
from xbench.testing.small import WRITERS, write_small

RATE = 16000
GREEDY = Decoding(beams=1, no_repeat_ngram=0, max_tokens=6)
WAVEFORM = {"speecht5", "moonshine", "moonshine_streaming", "speech-encoder-decoder", "omniasr"}
# See test_audio_prefix.py.
PREFIX = {
    *("qwen3_asr", "qwen2_audio", "voxtral", "glmasr", "omniasr", "granite_speech"),
    "phi4_multimodal",
}
# What transformers itself does with padded batches, found by the battery's check.
PADDING_DIFFERS = (WAVEFORM - {"omniasr"}) | {
    *("speech_to_text", "seamless_m4t", "seamless_m4t_v2", "granite_speech", "phi4_multimodal")
}


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    root = tmp_path_factory.mktemp("families")

    @cache
    def loaded(family: str) -> Any:
        return load_model(f"{family}:{write_small(family, root / family)}", device="cpu")

    return loaded


families = pytest.mark.parametrize("family", sorted(WRITERS))


def test_every_registered_family_has_a_small_checkpoint() -> None:
    """Whisper has its own writer in conftest; FAMA's code is not on this machine."""
    assert set(registry.models.names()) - {"whisper", "fama"} == set(WRITERS)


@families
def test_the_battery_passes(family: str, load: Callable[[str], Any]) -> None:
    found = {r.check: r for r in check_model(load(family), [noise(14000), noise(21000, 1)])}
    assert [r for r in found.values() if r.status == "failed"] == []
    assert (found["padding"].status == "expected") == (family in PADDING_DIFFERS)
    long = family in {"speecht5", *PREFIX}
    allowed = {"language", "too-long"} if long else {"language"}
    allowed |= set() if family in PREFIX else {"causal"}
    assert {c for c, r in found.items() if r.status == "skipped"} <= allowed


@families
def test_a_family_fits_the_protocol(family: str, load: Callable[[str], Any]) -> None:
    model = load(family)
    assert isinstance(model, SpeechModel)
    assert offers(model, Inspectable)
    assert model.info.family == family
    assert model.info.spectrogram == (family not in WAVEFORM)
    assert model.info.encoder_layers == model.info.decoder_layers == 2
    assert registry.models.get(family).architecture == model.info.architecture


# -- the input axis -------------------------------------------------------------------------------


@families
def test_valid_frames_are_those_of_the_encoder_for_any_length(
    family: str, load: Callable[[str], Any]
) -> None:
    model = load(family)

    @settings(max_examples=8, deadline=None)
    @given(st.integers(2000, 30000))
    def check(samples: int) -> None:
        features = model.features(noise(samples))
        with torch.inference_mode():
            made = model.encode(features.values[None]).shape[1]
        in_audio = -(-features.melframes // features.stride)
        assert features.frames == min(made, in_audio)
        if family == "voxtral":  # a window, all of which it attends to
            assert len(features.values) == 600
            return
        if (
            family == "granite_speech"
        ):  # pairs of melframes; a last window of three positions, filled up
            assert len(features.values) == (1 + samples // 160) // 2 * 2
            assert made - features.frames <= 2
            return
        filled_up = family == "qwen3_asr" and samples < RATE // 2
        margin = 3 if family in {"qwen2_audio", "glmasr"} else 0
        assert len(features.values) == (50 if filled_up else features.melframes + margin)
        assert filled_up or made - features.frames <= 1

    check()


@families
def test_audio_without_a_frame_is_refused(family: str, load: Callable[[str], Any]) -> None:
    model = load(family)
    if family in {"canary", "cohere_asr", "moonshine_streaming"}:
        samples = 0 if family == "moonshine_streaming" else 100
    else:
        samples = 0 if family in PREFIX else 100
    with pytest.raises(UtteranceError) as caught:
        model.features(noise(samples))
    assert caught.value.reason in {"too-short", "non-finite-features"}


def test_a_waveform_model_reads_the_waveform_in_pieces(load: Callable[[str], Any]) -> None:
    audio = noise(1000)
    values = load("moonshine").features(audio).values
    assert values.shape == (3, 384)
    np.testing.assert_array_equal(values.flatten()[:1000], audio)
    assert not values.flatten()[1000:].any()


def test_seamless_unstacks_its_filterbanks(load: Callable[[str], Any]) -> None:
    model = load("seamless_m4t")
    features = model.features(noise(9000))
    own = model.loaded.extractor(noise(9000), sampling_rate=RATE, return_tensors="pt")
    stacked = own.input_features[0]
    assert features.values.shape[1] * 2 == stacked.shape[1]
    torch.testing.assert_close(features.values[0::2], stacked[: features.melframes // 2, :16])
    torch.testing.assert_close(features.values[1::2], stacked[: features.melframes // 2, 16:])


def test_silence_is_refused_where_it_has_no_features(load: Callable[[str], Any]) -> None:
    with pytest.raises(UtteranceError, match="is the audio silent") as caught:
        load("speech_to_text").features(np.zeros(8000, dtype=np.float32))
    assert caught.value.reason == "non-finite-features"


# -- languages and prompts ------------------------------------------------------------------------


def prompt(model: Any, source: str, target: str | None) -> list[str]:
    ids = model.family.prompt(model.loaded, source, target)
    tokens: list[str] = model.tokenizer.convert_ids_to_tokens(list(ids))
    return tokens


def test_prompts_name_language_and_task(load: Callable[[str], Any]) -> None:
    seamless, canary, cohere = load("seamless_m4t"), load("canary"), load("cohere_asr")
    assert prompt(seamless, "fr", None) == ["</s>", "__fra__"]
    assert prompt(seamless, "fr", "en") == ["</s>", "__eng__"]
    assert prompt(seamless, "cmn", None) == ["</s>", "__cmn__"]
    assert prompt(canary, "en", None)[3:5] == ["<|en|>", "<|en|>"]
    assert prompt(canary, "en", "de")[3:5] == ["<|en|>", "<|de|>"]
    assert prompt(cohere, "it", None)[4:6] == ["<|it|>", "<|it|>"]
    assert prompt(load("speech_to_text"), "en", "de") == ["</s>"]
    assert prompt(load("moonshine"), "en", None) == ["<s>"]


def test_a_forced_first_token_belongs_to_the_prompt(load: Callable[[str], Any]) -> None:
    model = load("speech-encoder-decoder")
    model.network.generation_config.forced_bos_token_id = 9
    try:
        hypothesis = model.decode(model.features(noise(9000)), "en", "de", GREEDY)
    finally:
        model.network.generation_config.forced_bos_token_id = None
    assert hypothesis.prompt == (2, 9)
    assert len(hypothesis.tokens) <= GREEDY.max_tokens


def test_a_multilingual_speech_to_text_writes_the_target_language_first(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load("speech_to_text")
    monkeypatch.setattr(model.tokenizer, "lang_code_to_id", {"de": 7, "it": 8})
    assert model.family.prompt(model.loaded, "en", "it") == (2, 8)
    model.check_language("en", "de")
    with pytest.raises(UtteranceError, match="does not know the language 'fr'; it knows en"):
        model.check_language("fr", "de")
    with pytest.raises(
        UtteranceError, match="cannot translate into 'nl'; it translates 'en' into de, it"
    ):
        model.check_language("en", "nl")


@pytest.mark.parametrize(
    ("family", "source", "target", "message"),
    [
        ("canary", "xx", None, "does not know the language 'xx'; it knows de, en, it"),
        ("canary", "de", "it", "cannot translate into 'it'; it translates 'de' into en"),
        ("cohere_asr", "en", "de", "cannot translate into 'de'; it only transcribes"),
        ("seamless_m4t_v2", "it", None, "does not know the language 'it'"),
        ("moonshine", "en", "de", "cannot translate into 'de'; it only transcribes"),
    ],
)
def test_languages_that_a_checkpoint_does_not_know_are_refused(
    load: Callable[[str], Any], family: str, source: str, target: str | None, message: str
) -> None:
    with pytest.raises(UtteranceError, match=message) as caught:
        load(family).check_language(source, target)
    assert caught.value.reason == "unsupported-language"


# -- what a model cannot give ---------------------------------------------------------------------


def test_an_adapter_leaves_no_encoder_attention_to_compose(
    load: Callable[[str], Any], case_of: Callable[..., Any]
) -> None:
    from xbench.methods.compute import check_supported
    from xbench.models.attention_gradients import attention_gradients

    model = load("seamless_m4t")
    trace = model.trace(*shown(model), CAPTURES)
    assert set(trace.blocks) == {"cross", "decoder"}
    assert trace.encoder_attention is None
    with pytest.raises(Unsupported, match="keeps every eighth frame"):
        check_supported(registry.methods.get("full-rollout"), model.info)
    with pytest.raises(Unsupported, match="keeps every eighth frame"):
        next(attention_gradients(model, *shown(model), lambda x: x[..., 0], whole_network=True))


def shown(model: Any) -> tuple[Any, Any]:
    features = model.features(noise(14000))
    return features, model.decode(features, "en", None, GREEDY)


def test_a_waveform_has_no_cells_to_hide_or_explain(load: Callable[[str], Any]) -> None:
    from xbench.case import Case
    from xbench.methods.compute import compute_map
    from xbench.references.estimation import Sampling
    from xbench.references.spes import spes_encoder, spes_input
    from xbench.spec import Call

    model = load("moonshine")
    case = Case(model, *shown(model), "clip")
    options = {"rates": "400", "compactness": 0.1, "sigma": 0.0, "cap_seconds": 7.5}
    with pytest.raises(Unsupported, match="raw waveform"):
        spes_input(case, Sampling(), masks=6, p=0.5, **options)
    for name in ("saliency", "energy"):
        description, call = registry.methods.resolve(Call(name))
        with pytest.raises(Unsupported, match="raw waveform"):
            compute_map(description, call, case)
    assert np.isfinite(spes_encoder(case, Sampling(), masks=6, p=0.7).mean()).all()


@families
def test_a_twin_in_bfloat16_runs_and_agrees(family: str, load: Callable[[str], Any]) -> None:
    """Whatever a family's attention is: a twin hands it one dtype."""
    from xbench.case import Case
    from xbench.references.estimation import Sampling
    from xbench.references.spes import spes_encoder

    model = load(family)
    case = Case(model, *shown(model), "clip")
    found = {
        precision: spes_encoder(case, Sampling(), masks=12, p=0.7, precision=precision)
        for precision in ("float32", "bfloat16")
    }
    if family in {"qwen3_asr", "omniasr"}:  # rounding of zeros would be normalised to whole vectors
        how = found["bfloat16"].computation
        assert (how["precision"], how["precision_reason"]) == ("float32", "no-twin")
        return
    assert found["bfloat16"].computation["precision"] == "bfloat16"
    exact, fast = (found[precision].mean() for precision in ("float32", "bfloat16"))
    assert not np.array_equal(exact, fast)
    np.testing.assert_allclose(fast, exact, rtol=0.1, atol=0.02 * float(np.nanmax(exact)))


def test_an_evaluation_of_a_waveform_model_has_a_null_for_the_input_reference(
    load: Callable[[str], Any], tmp_path: Path, make_manifest: Callable[..., Path]
) -> None:
    from xbench import Call, RunSpec, evaluate
    from xbench.spec import ExecutionOptions

    folder = write_small("moonshine", tmp_path / "moonshine")
    spec = RunSpec(
        model=f"moonshine:{folder}",
        methods=(Call("mean-heads"), Call("saliency")),
        tasks=("asr",),
        data=str(make_manifest({"a": 1.0, "b": 1.3})),
        masks=12,
    )
    options = ExecutionOptions(str(tmp_path / "results"), str(tmp_path / "cache"), "cpu", None)
    attention, gradient = evaluate(spec, options)
    assert attention.status == "complete"
    by_reference = {s.reference: s for s in attention.scores if s.metric == "pearson"}
    assert by_reference["spes-encoder"].value is not None
    assert by_reference["spes-input"].value is None
    assert by_reference["spes-input"].undefined == {"unsupported-reference": 2}
    assert gradient.status == "unsupported"
    assert "raw waveform" in str(gradient.reason)


# -- what is refused when loading -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model_type": "voxtral", "architectures": ["VoxtralForConditionalGeneration"]},
            "use --model voxtral:",
        ),
        (
            {"model_type": "voxtral_realtime"},
            "adds audio to the embeddings of its text step by step",
        ),
        ({"model_type": "kyutai_speech_to_text"}, "step by step"),
        ({"model_type": "qwen2_5_omni"}, "among pictures and speech that it writes"),
        ({"model_type": "gemma3n"}, "share keys and values"),
        ({"model_type": "phi4_multimodal"}, "use --model phi4_multimodal:"),
        ({"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"]}, "CTC model: .* emits"),
        ({"model_type": "parakeet_tdt", "architectures": ["ParakeetForTDT"]}, "transducer"),
        ({"model_type": "whisper"}, "use --model whisper:"),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "of text alone"),
        (
            {"model_type": "phi4mm", "architectures": ["OwnForCausalLM"], "auto_map": {}},
            "its code comes with the checkpoint .* a family has to be written for it",
        ),
        ({"model_type": "bert"}, "'moonshine:' loads 'moonshine'; `xbench list models`"),
    ],
)
def test_another_architecture_is_refused_with_the_reason(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match=message):
        check_config(locate("moonshine:somebody/model"), settings, "moonshine")
    with pytest.raises(UsageError, match=message):
        load_model(f"moonshine:{tmp_path}")


@pytest.mark.parametrize(
    ("architecture", "why"),
    [("Wav2Vec2ForCTC", "no text attends to audio"), ("LlamaForCausalLM", "no audio positions")],
)
def test_a_family_with_code_of_its_own_refuses_what_does_not_attend_to_audio(
    architecture: str, why: str, tmp_path: Path
) -> None:
    settings = {"model_type": "other", "architectures": [architecture]}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match=f"{why}.*; `xbench list models`"):
        load_model(f"fama:{tmp_path}", trust_remote_code=True)


@pytest.mark.parametrize("change", ["missing", "unexpected", "mismatched"])
@pytest.mark.parametrize("family", ["speech_to_text", "moonshine", "canary"])
def test_weights_that_do_not_fill_the_model_are_refused(
    family: str, change: str, tmp_path: Path
) -> None:
    path = write_small(family, tmp_path) / "model.safetensors"
    weights = load_file(path)
    name = next(n for n, w in weights.items() if "fc1.weight" in n and w.ndim == 2)
    if change == "missing":
        del weights[name]
    elif change == "mismatched":
        weights[name] = weights[name][:-1].clone()
    else:
        weights["surplus.weight"] = torch.zeros(2)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UsageError, match=f"{change} keys"):
        load_model(f"{family}:{tmp_path}", device="cpu")


def test_a_decoder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, SpeechEncoderDecoderConfig, SpeechEncoderDecoderModel

    write_small("speech-encoder-decoder", tmp_path)
    encoder = SpeechEncoderDecoderConfig.from_pretrained(tmp_path).encoder
    decoder = BertConfig(
        vocab_size=31,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        is_decoder=True,
        add_cross_attention=True,
    )
    config = SpeechEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    SpeechEncoderDecoderModel(config).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="a decoder of type 'bert' cannot be read"):
        load_model(f"speech-encoder-decoder:{tmp_path}", device="cpu")


@pytest.mark.parametrize("family", ["whisper", "canary"])
def test_a_decoder_only_model_on_the_hub_is_refused_before_its_weights_are_fetched(
    family: str, hub_cache: Callable[[str], Path]
) -> None:
    settings = {"model_type": "qwen2_5_omni"}
    (hub_cache("Qwen/Qwen2.5-Omni-7B") / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match="it is a decoder-only model"):
        load_model(f"{family}:Qwen/Qwen2.5-Omni-7B", device="cpu")


def test_code_of_a_checkpoint_runs_only_when_it_is_allowed() -> None:
    with pytest.raises(UsageError, match="allow it with --trust-remote-code"):
        load_model("fama-small", device="cpu")


def test_a_hub_that_cannot_be_reached_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EnvironmentProblem, match=r"set HF_HOME .* use --model moonshine:FOLDER"):
        load_model("moonshine:nobody/no-such-model")


@pytest.mark.parametrize("revision", ["", "@main", "@COMMIT"])
@pytest.mark.parametrize("family", ["speech_to_text", "whisper"])
def test_a_checkpoint_of_the_hub_is_known_by_its_commit(
    family: str,
    revision: str,
    hub_cache: Callable[[str], Path],
    tiny_whisper_folder: Path,
    tmp_path: Path,
) -> None:
    whisper = family == "whisper"
    source = tiny_whisper_folder if whisper else write_small(family, tmp_path / "written")
    snapshot = hub_cache("nobody/small")
    shutil.copytree(source, snapshot, dirs_exist_ok=True)
    asked = revision.replace("COMMIT", snapshot.name)
    info = load_model(f"{family}:nobody/small{asked}", device="cpu").info
    assert (info.revision, info.source) == (snapshot.name, "nobody/small")
    with pytest.raises(EnvironmentProblem, match="nobody/small are not on this machine"):
        load_model(f"{family}:nobody/small@{'1' * 40}", device="cpu")


# -- the battery can fail -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        ("own-forward", {"read_out": lambda network, states: 1.1 * network.lm_head(states)}),
        ("rows", {"read_out": lambda network, states: network.lm_head(states.roll(1, 1))}),
        (
            "batch",
            {
                "encode": lambda loaded, values: (
                    loaded.network.model.encoder(values).last_hidden_state
                    + 0.1 * values.std() * (len(values) > 1)
                )
            },
        ),
        (
            "gradients",
            {
                "encode": lambda loaded, values: (
                    loaded.network.model.encoder(values).last_hidden_state.detach()
                    + 0 * values.sum()
                )
            },
        ),
        ("captures", {"stacks": lambda network: without_encoder(network)}),
        ("trace", {"stacks": lambda network: with_wrong_scale(network)}),
    ],
)
def test_a_broken_family_is_found(
    load: Callable[[str], Any], check: str, broken: dict[str, Any]
) -> None:
    model = load("speech_to_text")
    wrong = replace(model, family=replace(model.family, **broken))
    found = {r.check: r.status for r in check_model(wrong, [noise(14000), noise(21000, 1)])}
    assert found[check] == "failed"


class Shifted(Wrapped):
    def trace(self, features: Any, hypothesis: Any, needs: Any) -> Any:
        trace = self.model.trace(features, hypothesis, needs)
        return replace(trace, source_attention=trace.source_attention.roll(5, -1))


class Polyglot(Wrapped):
    def check_language(self, source: str, target: str | None) -> None:
        pass


class Seeding(Wrapped):
    def logits(self, encoded: Any, hypothesis: Any) -> Any:
        torch.manual_seed(0)
        return self.model.logits(encoded, hypothesis)


class Ending(Wrapped):
    def decode(self, features: Any, source: str, target: str | None, decoding: Any) -> Any:
        found = self.model.decode(features, source, target, decoding)
        return replace(found, content=tuple(range(len(found.tokens))))


class Dropping(Wrapped):
    def features(self, audio: Any) -> Any:
        found = self.model.features(audio)
        return replace(found, frames=found.frames - 3)


@pytest.mark.parametrize(
    ("check", "kind", "message"),
    [
        ("trace", Shifted, "attention is not that of its blocks"),
        ("language", Polyglot, "it takes language 'zz-none'"),
        ("surroundings", Seeding, "it changes torch's random numbers"),
        ("hypothesis", Ending, "end of text counts as content"),
        ("features", Dropping, "carry audio"),
    ],
)
def test_a_careless_model_is_found(check: str, kind: type[Wrapped], message: str) -> None:
    wrapped: Any = kind()
    wrapped.model = load_model("xbench-tiny", device="cpu")
    (found,) = (r for r in check_model(wrapped) if r.check == check)
    assert found.status == "failed"
    assert message in found.detail


def without_encoder(network: Any) -> Any:
    from xbench.models.families.speech_to_text import FAMILY

    return {name: s for name, s in FAMILY.stacks(network).items() if name != "encoder"}


def with_wrong_scale(network: Any) -> Any:
    from xbench.models.families.speech_to_text import FAMILY

    stacks = dict(FAMILY.stacks(network))
    wrong = lambda module, query, key, seen: (2 * query, key, None)  # noqa: E731
    return stacks | {"encoder": replace(stacks["encoder"], positions=wrong)}


# -- the trained model ----------------------------------------------------------------------------


def test_the_trained_speech_to_text_writes_what_was_said(shared_folder: Path) -> None:
    from xbench.data.audio import read_audio

    name = "speech2text-micro-en-zh-he-to-en"
    model: Any = load_model(f"speech_to_text:{shared_folder / 'models' / name}", device="cpu")
    audio = read_audio(shared_folder / "audio" / "en-digits-nicolas.flac", RATE)
    features = model.features(audio)
    hypothesis = model.decode(features, "en", None, Decoding(beams=1, no_repeat_ngram=0))
    assert hypothesis.text == "nine zero six"
    assert hypothesis.texts[0].startswith(" ")
    assert not hypothesis.truncated
    longer = read_audio(shared_folder / "audio" / "en-digits-theo.flac", RATE)
    found = check_model(model, [audio, longer])
    assert [r for r in found if r.status == "failed"] == []


def test_copies_are_separate(load: Callable[[str], Any], tmp_path: Path) -> None:
    folder = write_small("moonshine", tmp_path / "a")
    shutil.copytree(folder, tmp_path / "b")
    assert write_small("moonshine", tmp_path / "c", seed=1).is_dir()
    first, second, third = (
        load_model(f"moonshine:{tmp_path / name}", device="cpu") for name in "abc"
    )
    assert first.info.revision == second.info.revision != third.info.revision
