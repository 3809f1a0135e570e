"""Decoder-only families: where audio stands, what hiding it does, which methods explain it, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from xbench import registry
from xbench.case import Case
from xbench.description import CAPTURES
from xbench.errors import Unsupported, UsageError, UtteranceError
from xbench.hiding.cells import AudioPositions
from xbench.maps import Layout, pool
from xbench.methods.compute import check_supported, compute_map
from xbench.methods.gradient_attention import one_stack_row
from xbench.models.audio_prefix import audio_span, for_batch, language_model
from xbench.models.families import granite_speech, qwen3_asr
from xbench.models.families.log_mel import filled, whole_windows
from xbench.models.families.requests import widened
from xbench.models.loading import load_model
from xbench.models.rotary import turned
from xbench.references.audio import spes_audio
from xbench.references.estimation import Sampling
from xbench.runner.compare import unsupported_reference
from xbench.spec import Call, Decoding, Scoring
from xbench.testing.references import check_reference
from xbench.testing.small import write_small

FAMILIES = (
    *("glmasr", "granite_speech", "omniasr", "phi4_multimodal", "qwen2_audio"),
    *("qwen3_asr", "voxtral"),
)
# Of these, those whose prompt has text before the audio, which a position without its own key can attend to.
BEHIND_TEXT = tuple(family for family in FAMILIES if family != "omniasr")
GREEDY = Decoding(beams=1, no_repeat_ngram=0, max_tokens=6)
families = pytest.mark.parametrize("family", FAMILIES)
behind_text = pytest.mark.parametrize("family", BEHIND_TEXT)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    root = tmp_path_factory.mktemp("prefix")

    @cache
    def loaded(family: str) -> Any:
        return load_model(f"{family}:{write_small(family, root / family)}", device="cpu")

    return loaded


@pytest.fixture(scope="module")
def case_of(load: Callable[[str], Any]) -> Callable[[str], Case]:
    @cache
    def made(family: str) -> Case:
        model = load(family)
        features = model.features(noise(14000))
        hypothesis = model.decode(features, "en", None, GREEDY)
        trace = model.trace(features, hypothesis, CAPTURES)
        return Case(model, features, hypothesis, "clip", trace)

    return made


def encoded(case: Case) -> torch.Tensor:
    with torch.no_grad():
        return case.model.encode(case.features.values[None])


@families
def test_a_family_loads_from_the_hub_and_has_registered_names(
    family: str, hub_cache: Callable[[str], Path]
) -> None:
    snapshot = hub_cache("nobody/small")
    write_small(family, snapshot)
    if family == "phi4_multimodal":  # the hub has said that there is no adapter
        nowhere = snapshot.parents[1] / ".no_exist" / snapshot.name / "speech-lora"
        nowhere.mkdir(parents=True)
        (nowhere / "adapter_config.json").touch()
        (nowhere / "adapter_model.safetensors").touch()
    model = load_model(f"{family}:nobody/small", device="cpu")
    assert (model.info.source, model.info.revision) == ("nobody/small", snapshot.name)
    assert any(each.hub_id for each in registry.models.get(family).checkpoints)


# -- where audio stands ---------------------------------------------------------------------------


@families
def test_a_small_checkpoint_is_small(family: str, load: Callable[[str], Any]) -> None:
    assert load(family).info.n_parameters < 150_000
    assert load(family).info.kind == "audio-prefix"


@families
def test_the_trace_is_the_audio_slice_of_the_networks_own_attention(
    family: str, case_of: Callable[[str], Case]
) -> None:
    case = case_of(family)
    model, trace, hypothesis = case.model, case.trace, case.hypothesis
    network = model.network  # type: ignore[attr-defined]
    ids = torch.tensor([hypothesis.prompt + hypothesis.tokens[:-1]])
    inputs = model.family.inputs(  # type: ignore[attr-defined]
        model.loaded,  # type: ignore[attr-defined]
        case.features.values[None],
        torch.tensor([len(case.features.values)]),
    )
    network.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            own = network(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                output_attentions=True,
                **inputs,
            ).attentions
    finally:
        network.set_attn_implementation("sdpa")
    rows = torch.cat(own)[:, :, len(hypothesis.prompt) - 1 :]
    at = [i for i, token in enumerate(ids[0].tolist()) if token == ids[0, trace.first_column]]
    assert at[0] == trace.first_column
    audio = rows[..., at[: case.features.frames]]
    share = audio.sum(-1)
    torch.testing.assert_close(
        trace.source_attention, audio / share[..., None], rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(trace.audio_share, share, rtol=1e-3, atol=1e-5)
    assert trace.source_attention.shape[:2] == (2, 4)
    assert set(trace.blocks) == {"self"}
    assert 0.01 < float(trace.audio_share.mean()) < 0.99, (
        "nothing lies on text: the crop is untested"
    )


@families
def test_prompt_rows_are_those_that_see_all_of_the_audio(
    family: str, case_of: Callable[[str], Case]
) -> None:
    case = case_of(family)
    trace, model = case.trace, case.model
    audio = model.audio_positions(case.hypothesis)  # type: ignore[attr-defined]
    expected = len(case.hypothesis.prompt) - 1 - audio.stop
    assert trace.prompt_attention.shape[2] == expected
    assert expected > 0


def test_qwen3_asr_has_thirteen_positions_a_second() -> None:
    assert [qwen3_asr._positions(n) for n in (1, 8, 9, 96, 97, 100, 101, 1000)] == [
        *(1, 1, 2, 12, 13, 13, 14, 130)
    ]


def test_the_spectrogram_of_granite_speech_is_that_of_torchaudio() -> None:
    """Values of transformers' own extractor with torchaudio 2.11, which is not needed here."""
    found = granite_speech.Spectrogram()(noise(1600))
    expected = [
        [0.92975795, 1.13323236, 1.29608035],
        [0.79786646, 0.98963034, 1.21589923],
        [1.04081690, 1.16421068, 1.25756645],
    ]
    assert found.shape == (10, 80)
    torch.testing.assert_close(
        found[[0, 4, 8]][:, [0, 20, 79]], torch.tensor(expected), rtol=0, atol=1e-5
    )
    assert granite_speech.Spectrogram()(noise(256)).shape == (0, 80)


def test_granite_speech_has_three_positions_a_window(load: Callable[[str], Any]) -> None:
    loaded = load("granite_speech").loaded
    found = [granite_speech._positions(loaded, n // 160 + 1) for n in (14000, 16000, 48000, 47900)]
    assert found == [9, 12, 30, 30]
    # The last window of 0.3 s is filled up: positions that begin behind the clip are not about it.
    assert load("granite_speech").features(noise(48001)).frames == 30
    assert load("granite_speech").features(noise(49600)).frames == 31


def test_phi4_multimodal_has_a_position_for_eight_melframes(load: Callable[[str], Any]) -> None:
    features = load("phi4_multimodal").features
    # A melframe of 400 samples for every 160; what does not fill one is not heard.
    found = [features(noise(n)) for n in (400, 400 + 7 * 160, 400 + 8 * 160, 14_000)]
    assert [len(f.values) for f in found] == [1, 8, 9, 86]
    assert [f.frames for f in found] == [1, 1, 2, 11]
    with pytest.raises(UtteranceError, match=r"gives model .* no encoder frame"):
        features(noise(399))
    with pytest.raises(UtteranceError, match="is longer than the 40 s"):
        features(noise(40 * 16_000 + 1))


def test_windows_of_a_fractional_stride_tile_the_time_axis() -> None:
    layout = Layout(
        (1,), ("a",), (0,), frames=26, melframes=200, stride=100 / 13, melframe_seconds=0.01
    )
    ramp = np.arange(200.0)[None, :, None]
    pooled = pool(ramp, layout, Scoring(pool_time="mean"))
    starts = np.rint(np.arange(27) * 100 / 13)
    assert starts[13] == 100
    np.testing.assert_allclose(pooled[0], [(a + b - 1) / 2 for a, b in pairwise(starts)])


def test_windows_are_filled_up_with_the_silence_of_the_clip(load: Callable[[str], Any]) -> None:
    values = torch.arange(2 * 10 * 3.0).view(2, 10, 3)
    found = filled(load("glmasr").loaded, values, torch.tensor([10, 6]))
    assert found.shape == (2, 600, 3)
    torch.testing.assert_close(found[0, :10], values[0])
    assert (found[0, 10:] == values[0, 9]).all()
    torch.testing.assert_close(found[1, :6], values[1, :6])
    assert (found[1, 6:] == values[1, 5]).all()


@pytest.mark.parametrize("samples", [14000, 14001, 6 * 16000, 7 * 16000])
def test_a_window_made_of_features_is_the_one_that_the_extractor_makes(
    samples: int, load: Callable[[str], Any]
) -> None:
    model = load("glmasr")
    features = model.features(noise(samples))
    expected = whole_windows(model.loaded, noise(samples))
    torch.testing.assert_close(filled(model.loaded, features.values[None])[0], expected)


def test_turned_positions_meet_by_their_distance_alone() -> None:
    angles = torch.arange(6.0)[:, None] * torch.tensor([1.0, 0.3])
    cos, sin = (f(torch.cat([angles, angles], -1)) for f in (torch.cos, torch.sin))
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 4, generator=generator).expand(2, 1, 6, 4)
    scores = (turned(query, cos, sin) @ turned(key, cos, sin).transpose(1, 2))[0]
    torch.testing.assert_close(scores[0, 2], scores[3, 5])
    torch.testing.assert_close(scores[0, 0], (query[0, 0] * key[0, 0]).sum())
    assert not torch.isclose(scores[0, 2], scores[0, 3])


# -- prompts --------------------------------------------------------------------------------------


def prompt(model: Any, source: str, target: str | None) -> str:
    ids = model.family.prompt(model.loaded, source, target, 3)
    return "".join(model.tokenizer.convert_ids_to_tokens(list(ids)))


def test_prompts_hold_the_audio_and_the_request(load: Callable[[str], Any]) -> None:
    three = "<|begin|><|audio|><|audio|><|audio|><|end|>"
    start = f"<s><|user|>{three}"
    assert prompt(load("qwen3_asr"), "it", None).startswith(f"{start}<|assistant|>language")
    assert prompt(load("qwen3_asr"), "it", None).endswith("<asr_text>")
    assert prompt(load("glmasr"), "en", None).startswith(start)
    asr, st = (prompt(load("qwen2_audio"), "de", target) for target in (None, "en"))
    assert asr.startswith(start)
    assert asr != st
    granite = "<s><|user|><|audio|><|audio|><|audio|>can"
    assert prompt(load("granite_speech"), "en", None).startswith(granite)
    assert prompt(load("granite_speech"), "en", "de") != prompt(load("granite_speech"), "en", "fr")
    phi = "<s><|user|><|audio|><|audio|><|audio|><unk>ranscribe"
    assert prompt(load("phi4_multimodal"), "en", None).startswith(phi)
    assert prompt(load("phi4_multimodal"), "en", "de") != prompt(
        load("phi4_multimodal"), "en", "fr"
    )
    omni = "<|audio|><|audio|><|audio|><|lang:ita_latn|><s>"
    assert prompt(load("omniasr"), "it", None) == omni
    audio = "<s>[INST][BEGIN_AUDIO][AUDIO][AUDIO][AUDIO]"
    assert prompt(load("voxtral"), "en", None).startswith(f"{audio}[/INST]lang")
    assert prompt(load("voxtral"), "en", None).endswith("[TRANSCRIBE]")
    assert prompt(load("voxtral"), "en", "fr").endswith("[/INST]")


@pytest.mark.parametrize(
    ("family", "source", "target", "message"),
    [
        ("qwen3_asr", "xx", None, "does not know the language 'xx'"),
        ("qwen3_asr", "en", "de", "it only transcribes"),
        ("glmasr", "de", None, "it knows en, yue, zh"),
        ("qwen2_audio", "en", "nl", "cannot translate into 'nl'"),
        ("granite_speech", "de", "fr", "cannot translate into 'fr'"),
        ("phi4_multimodal", "de", "fr", "cannot translate into 'fr'; it translates 'de' into en"),
        ("phi4_multimodal", "en", "ko", "cannot translate into 'ko'"),
        ("omniasr", "de", None, "it knows en, it"),
        ("omniasr", "en", "it", "it only transcribes"),
        ("voxtral", "en", "en", "cannot translate into 'en'"),
    ],
)
def test_languages_and_targets_that_a_family_does_not_know_are_refused(
    load: Callable[[str], Any], family: str, source: str, target: str | None, message: str
) -> None:
    with pytest.raises(UtteranceError, match=message):
        load(family).check_language(source, target)


# -- hiding ---------------------------------------------------------------------------------------


@behind_text
def test_what_stands_at_a_position_without_a_key_does_not_matter(
    family: str, case_of: Callable[[str], Case]
) -> None:
    """Whatever is put there, in a reading that shares what stands before and in whole passes."""
    case = case_of(family)
    model, audio = case.model, encoded(case)
    generator = torch.Generator().manual_seed(0)
    keys = torch.rand(3, audio.shape[1], generator=generator) > 0.5
    keys[0] = True
    reading = model.audio_reading(case.hypothesis)  # type: ignore[attr-defined]
    other = torch.where(keys[..., None], audio, torch.randn(audio.shape, generator=generator))
    with torch.no_grad():
        found = reading(audio.expand(3, -1, -1), keys)
        torch.testing.assert_close(reading(other, keys), found, rtol=1e-4, atol=1e-4)
        whole = model.logits_without_keys(audio.expand(3, -1, -1), keys, case.hypothesis)  # type: ignore[attr-defined]
        torch.testing.assert_close(whole, found, rtol=1e-4, atol=1e-4)
        clean = model.logits(audio, case.hypothesis)
        zeroed = model.frame_masking(audio, case.hypothesis)(keys)
    torch.testing.assert_close(found[0], clean[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[1], zeroed[1], atol=1e-2), "zeroing is as good as removing"


def test_what_stands_before_the_audio_is_one_memory_for_all_masks() -> None:
    from transformers import DynamicCache

    shared, new = DynamicCache(), torch.ones(1, 2, 3, 4)
    shared.update(new, 2 * new, 0)
    cache = for_batch(shared, 5)
    assert cache.layers[0].keys.data_ptr() == shared.layers[0].keys.data_ptr()
    assert cache.layers[0].keys.shape == (5, 2, 3, 4)
    cache.update(torch.zeros(5, 2, 1, 4), torch.zeros(5, 2, 1, 4), 0)
    assert cache.get_seq_length() == 4
    assert shared.get_seq_length() == 3


@families
def test_a_mask_costs_little_more_than_the_language_model_over_what_it_changes(
    family: str, case_of: Callable[[str], Case]
) -> None:
    """Counted operations: nothing before the audio is read again, and only rows that are read meet the vocabulary."""
    case, batch = case_of(family), 3
    model, audio = case.model, encoded(case).expand(3, -1, -1)
    changing = AudioPositions(case).positions - 1  # the last token predicts nothing
    network = model.network  # type: ignore[attr-defined]
    reading = model.audio_reading(case.hypothesis)  # type: ignore[attr-defined]

    def operations(run: Callable[[], Any]) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    ours = operations(lambda: reading(audio, None))
    states = torch.zeros(batch, changing, audio.shape[-1])
    own = operations(lambda: language_model(network)(inputs_embeds=states, use_cache=False))
    read = torch.zeros(batch, len(case.hypothesis.tokens), audio.shape[-1])
    own += operations(lambda: network.lm_head(read))
    assert own <= ours <= 1.3 * own


@behind_text
def test_spes_audio_has_three_neutral_values(family: str, case_of: Callable[[str], Case]) -> None:
    case = replace(case_of(family), trace=None)
    found = {
        neutral: spes_audio(case, Sampling(), masks=12, p=0.5, neutral=neutral)
        for neutral in ("zero", "mean", "key-removed")
    }
    maps = {neutral: reference.mean() for neutral, reference in found.items()}
    for values in maps.values():
        assert values.shape == (len(case.hypothesis.tokens), case.features.frames)
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert values.max() > 0
    assert not np.allclose(maps["zero"], maps["mean"])
    assert not np.allclose(maps["zero"], maps["key-removed"])
    assert len({reference.facts().neutral for reference in found.values()}) == 3


def test_audio_that_comes_first_keeps_its_keys(case_of: Callable[[str], Case]) -> None:
    """Nothing stands before the audio of OmniASR: two neutral values are left, and the third says why."""
    case = replace(case_of("omniasr"), trace=None)
    for neutral in ("zero", "mean"):
        found = spes_audio(case, Sampling(), masks=12, p=0.5, neutral=neutral).mean()
        assert np.isfinite(found).all()
        assert found.max() > 0
    with pytest.raises(Unsupported, match="nothing stands before the audio"):
        spes_audio(case, Sampling(), masks=12, p=0.5, neutral="key-removed")


@pytest.mark.parametrize("neutral", ["zero", "mean", "key-removed"])
def test_spes_audio_keeps_the_contract_of_a_reference(
    neutral: str, case_of: Callable[[str], Case]
) -> None:
    results = check_reference(f"spes-audio:neutral={neutral}", case=case_of("qwen3_asr"))
    found = {r.check: r for r in results}
    assert (
        "no audio positions" in found.pop("evidence").detail
    )  # the toy model is no language model
    assert [r for r in found.values() if r.status != "passed"] == []


def test_a_mask_runs_what_stands_from_the_audio_on(case_of: Callable[[str], Case]) -> None:
    case = case_of("qwen3_asr")
    audio = case.model.audio_positions(case.hypothesis)  # type: ignore[attr-defined]
    assert audio.start > 0
    whole = len(case.hypothesis.prompt) + len(case.hypothesis.tokens)
    assert AudioPositions(case).positions == whole - audio.start


def test_an_encoder_decoder_has_no_audio_positions(tmp_path: Path) -> None:
    model = load_model(f"moonshine:{write_small('moonshine', tmp_path)}", device="cpu")
    features = model.features(noise(14000))
    case = Case(model, features, model.decode(features, "en", None, GREEDY), "clip")
    with pytest.raises(Unsupported, match="has no audio positions"):
        spes_audio(case, Sampling(), masks=6, p=0.5)
    assert unsupported_reference(model.info, "spes-encoder") is None
    assert "of kind encoder-decoder" in str(unsupported_reference(model.info, "spes-audio"))
    only = replace(registry.methods.get("mean-heads"), kinds=("audio-prefix",))
    with pytest.raises(Unsupported, match="explains models of kind audio-prefix"):
        check_supported(only, model.info)


# -- methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        "mean-heads",
        "raw-attention:layer=1,head=3",
        "sinks-dropped:rows=all",
        "frame-zscore:per=mean,part=signed,rows=generated,layers=upper-half",
        "doa",
        "prefix-rollout",
        "value-norm",
        "value-norm:heads=separate",
        "grad-attention",
        "attention-gradcam",
        "chefer",
        "input-x-gradient-encoder",
        "saliency",
        "rise-encoder:samples=6",
        "diagonal",
    ],
)
def test_a_method_explains_a_decoder_only_model(
    method: str, case_of: Callable[[str], Case]
) -> None:
    case = case_of("qwen2_audio")
    description, call = registry.methods.resolve(Call.parse(method))
    values = compute_map(description, call, case)
    assert np.isfinite(values).all()
    assert values.any()
    if description.distribution:
        np.testing.assert_allclose(values.sum(1), 1, atol=1e-4)


@pytest.mark.parametrize(
    "method",
    [
        *(
            "alti",
            "alti-plus",
            "attention-flow",
            "encoder-rollout",
            "entropy-rollout",
            "full-rollout",
        ),
        *("globenc", "value-norm-resln", "value-zeroing"),
    ],
)
def test_a_method_of_two_stacks_is_refused_with_the_reason(
    method: str, load: Callable[[str], Any]
) -> None:
    with pytest.raises(Unsupported, match="in the same stack as text"):
        check_supported(registry.methods.get(method), load("qwen2_audio").info)


def test_deeplift_is_refused_where_one_activation_stands_in_several_places(
    case_of: Callable[[str], Case],
) -> None:
    """Phi-4-multimodal has one ReLU behind all convolutions of its audio encoder."""
    case = case_of("phi4_multimodal")
    with pytest.raises(Unsupported, match="stands in several places"):
        method_map(case, "deeplift")
    assert np.isfinite(method_map(case, "deeplift-encoder")).all()


def method_map(case: Case, name: str) -> np.ndarray:
    description, call = registry.methods.resolve(Call.parse(name))
    return compute_map(description, call, case)


def test_value_norms_are_those_of_the_audio_columns(case_of: Callable[[str], Case]) -> None:
    case = case_of("glmasr")
    trace, maps = case.trace, []
    for block in trace.blocks["self"]:
        moved = torch.einsum("hps,shd->psd", block.attention(), block.transformed()).norm(dim=-1)
        rows = moved[trace.prompt_length - 1 :, trace.first_column :][:, : case.features.frames]
        maps.append(rows / rows.sum(1, keepdim=True))
    np.testing.assert_allclose(method_map(case, "value-norm"), torch.stack(maps).mean(0), atol=1e-4)


def test_grad_attention_is_gradient_times_weight_of_the_networks_own_attention(
    case_of: Callable[[str], Case],
) -> None:
    case = case_of("qwen2_audio")
    model, hypothesis, audio = case.model, case.hypothesis, encoded(case)
    network = model.network  # type: ignore[attr-defined]
    span = model.audio_positions(hypothesis)  # type: ignore[attr-defined]
    embedded = network.get_input_embeddings()(
        torch.tensor([hypothesis.prompt + hypothesis.tokens[:-1]])
    ).clone()
    embedded[:, span] = audio
    network.set_attn_implementation("eager")
    try:
        out = network.model.language_model(
            inputs_embeds=embedded.requires_grad_(), use_cache=False, output_attentions=True
        )
        scores = network.lm_head(out.last_hidden_state[0]).log_softmax(-1)
        rows = []
        for row, token in enumerate(hypothesis.tokens):
            position = len(hypothesis.prompt) - 1 + row
            gradients = torch.autograd.grad(
                scores[position, token], out.attentions, retain_graph=True
            )
            parts = zip(gradients, out.attentions, strict=True)
            products = torch.stack([(g * a).clamp_min(0)[0, :, position] for g, a in parts])
            rows.append(products.mean((0, 1))[span][: case.features.frames])
    finally:
        network.set_attn_implementation("sdpa")
    found = method_map(case, "grad-attention")
    np.testing.assert_allclose(found, torch.stack(rows).detach(), rtol=1e-3, atol=1e-6)


def test_chefer_of_one_stack_multiplies_its_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    blocks = [torch.rand(4, 4, generator=generator).tril() for _ in range(3)]
    product = torch.eye(4)
    for block in blocks:
        product = (torch.eye(4) + block) @ product
    torch.testing.assert_close(one_stack_row(blocks, 2), (product - torch.eye(4))[2])


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "message"),
    [((1, 2), "has no slots for audio"), ((9, 1, 9), "has 2 slots for audio")],
)
def test_a_template_has_one_slot(tokens: tuple[int, ...], message: str) -> None:
    assert widened((1, 9, 2), 9, 3, "x") == (1, 9, 9, 9, 2)
    with pytest.raises(UsageError, match=message):
        widened(tokens, 9, 3, "x")


def test_a_template_without_a_slot_is_refused_in_one_line(tmp_path: Path) -> None:
    write_small("glmasr", tmp_path)
    (tmp_path / "chat_template.jinja").write_text("<s>{{ messages[0]['role'] }}")
    model = load_model(f"glmasr:{tmp_path}", device="cpu")
    with pytest.raises(UsageError, match="has no slots for audio") as caught:
        model.decode(model.features(noise(14000)), "en", None, GREEDY)
    assert len(str(caught.value).splitlines()) == 1


def test_granite_speech_with_an_unknown_spectrogram_is_refused(tmp_path: Path) -> None:
    file = write_small("granite_speech", tmp_path) / "preprocessor_config.json"
    file.write_text(json.dumps({"melspec_kwargs": {"n_mels": 16, "power": 1}}))
    with pytest.raises(UsageError, match=r"has melspec_kwargs .*'power'.*, and known are"):
        load_model(f"granite_speech:{tmp_path}", device="cpu")


def test_code_that_lies_beside_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    """Without the flag, the classes of transformers read what is there; see test_families.py for other networks."""
    settings = write_small("qwen2_audio", tmp_path) / "tokenizer_config.json"
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | own))
    (tmp_path / "own.py").write_text("raise SystemExit('the code of the checkpoint ran')")
    assert load_model(f"qwen2_audio:{tmp_path}", device="cpu").info.remote_code is False


def test_audio_stands_in_one_place() -> None:
    assert audio_span((1, 9, 9, 2), 9, "x") == slice(1, 3)
    with pytest.raises(UsageError, match="no slot for audio"):
        audio_span((1, 2), 9, "x")
    with pytest.raises(UsageError, match="in several places"):
        audio_span((1, 9, 2, 9), 9, "x")


def test_a_hypothesis_belongs_to_its_clip(case_of: Callable[[str], Case]) -> None:
    case = case_of("qwen3_asr")
    longer = case.model.features(noise(30000))
    audio = case.model.encode(longer.values[None])
    for run in (
        lambda: case.model.logits(audio, case.hypothesis),
        lambda: case.model.frame_masking(audio, case.hypothesis)(torch.ones(1, audio.shape[1])),
    ):
        with pytest.raises(Unsupported, match="belongs to the clip that it was written for"):
            run()


def test_audio_tokens_that_the_model_wrote_are_not_taken_for_audio(
    case_of: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of("qwen3_asr")
    model, token = case.model, case.hypothesis.prompt[case.trace.first_column]
    repeated = replace(case.hypothesis, tokens=(token, *case.hypothesis.tokens[1:]))
    assert model.audio_positions(repeated) == model.audio_positions(case.hypothesis)  # type: ignore[attr-defined]
    size = model.network.config.get_text_config().vocab_size  # type: ignore[attr-defined]

    def says_audio(states: torch.Tensor) -> torch.Tensor:
        logits = states.new_zeros(*states.shape[:-1], size)
        logits[..., token] = 10
        return logits

    monkeypatch.setattr(model.network.lm_head, "forward", says_audio)  # type: ignore[attr-defined]
    with pytest.raises(UtteranceError, match="wrote its own audio token") as caught:
        model.decode(case.features, "en", None, GREEDY)
    assert caught.value.reason == "prompt-repeated"


def test_audio_beyond_the_context_is_refused(case_of: Callable[[str], Case]) -> None:
    case = case_of("qwen3_asr")
    settings = case.model.network.config.get_text_config()  # type: ignore[attr-defined]
    room, settings.max_position_embeddings = settings.max_position_embeddings, 20
    try:
        with pytest.raises(
            UtteranceError, match=r"positions long, and model .* reads 20"
        ) as caught:
            case.model.decode(case.features, "en", None, GREEDY)
    finally:
        settings.max_position_embeddings = room
    assert caught.value.reason == "too-long"


# -- a run ----------------------------------------------------------------------------------------


def test_an_evaluation_of_a_decoder_only_model(
    tmp_path: Path, make_manifest: Callable[..., Path]
) -> None:
    from xbench import RunSpec, evaluate
    from xbench.spec import ExecutionOptions

    folder = write_small("qwen3_asr", tmp_path / "model")
    spec = RunSpec(
        model=f"qwen3_asr:{folder}",
        methods=(Call("mean-heads"), Call("full-rollout")),
        tasks=("asr",),
        data=str(make_manifest({"a": 1.0, "b": 1.3})),
        masks=12,
    )
    options = ExecutionOptions(str(tmp_path / "results"), str(tmp_path / "cache"), "cpu", None)
    attention, rollout = evaluate(spec, options)
    assert attention.status == "complete"
    scores = {s.reference: s for s in attention.scores if s.metric == "pearson"}
    assert scores["spes-encoder"].value is not None
    assert scores["spes-input"].value is not None
    assert 0 < attention.padding_mass < 1
    assert rollout.status == "unsupported"
    assert "in the same stack as text" in str(rollout.reason)
