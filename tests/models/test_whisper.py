from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from xbench.errors import EnvironmentProblem, UnknownName, UsageError, UtteranceError
from xbench.models.checkpoint_files import INDEX, folder_revision
from xbench.models.families.whisper import WhisperModel
from xbench.models.loading import load_model, locate
from xbench.models.protocol import Hypothesis, SpeechModel
from xbench.spec import Decoding
from xbench.trace import AttentionBlock, Trace, crop

GREEDY = Decoding(beams=1, no_repeat_ngram=0)
EVERYTHING = frozenset(
    {
        "decoder-attention",
        "encoder-attention",
        "cross-projections",
        "decoder-projections",
        "encoder-projections",
    }
)
Clip = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def explained(tiny: WhisperModel, clip: Clip) -> tuple[Any, Hypothesis]:
    features = tiny.features(clip(1.2, 1))
    return features, tiny.decode(features, "en", None, GREEDY)


@pytest.fixture
def folder(tiny_whisper_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_whisper_folder, tmp_path / "copy")


def attention_output(block: AttentionBlock) -> torch.Tensor:
    heads = block.attention() @ block.value
    merged = heads.transpose(0, 1).flatten(1)
    return merged @ block.output_weight.T + block.output_bias


# -- decoding -------------------------------------------------------------------------------------


def test_tiny_whisper_writes_text_and_ends(explained: tuple[Any, Hypothesis]) -> None:
    _, hypothesis = explained
    assert hypothesis.content == tuple(range(len(hypothesis.tokens) - 1))
    assert len(hypothesis.content) >= 2
    assert hypothesis.texts[-1] == "<|endoftext|>"
    assert hypothesis.text == "".join(hypothesis.texts[:-1])
    assert not hypothesis.truncated


def test_models_fit_the_protocol(tiny: WhisperModel, planted: Any) -> None:
    assert isinstance(tiny, SpeechModel)
    assert isinstance(planted, SpeechModel)


@pytest.mark.parametrize(
    ("source", "target", "middle"),
    [
        ("en", None, ["<|en|>", "<|transcribe|>"]),
        ("zh", None, ["<|zh|>", "<|transcribe|>"]),
        ("it", "en", ["<|it|>", "<|translate|>"]),
        ("zh", "en", ["<|zh|>", "<|translate|>"]),
    ],
)
def test_prompt_names_language_and_task(
    tiny: WhisperModel, clip: Clip, source: str, target: str | None, middle: list[str]
) -> None:
    hypothesis = tiny.decode(tiny.features(clip(0.5)), source, target, GREEDY)
    expected = ["<|startoftranscript|>", *middle, "<|notimestamps|>"]
    assert tiny.tokenizer.convert_ids_to_tokens(list(hypothesis.prompt)) == expected


def monolingual(folder: Path) -> WhisperModel:
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text())
    del settings["lang_to_id"], settings["task_to_id"]
    path.write_text(json.dumps(settings | {"is_multilingual": False}))
    model = load_model(f"whisper:{folder}", device="cpu")
    assert isinstance(model, WhisperModel)
    return model


def test_prompt_of_an_english_only_model_has_two_tokens(folder: Path, clip: Clip) -> None:
    model = monolingual(folder)
    hypothesis = model.decode(model.features(clip(0.5)), "en", None, GREEDY)
    expected = ["<|startoftranscript|>", "<|notimestamps|>"]
    assert model.tokenizer.convert_ids_to_tokens(list(hypothesis.prompt)) == expected
    assert hypothesis.content


def test_english_only_model_refuses_other_languages_and_translation(folder: Path) -> None:
    model = monolingual(folder)
    model.check_language("en", None)
    with pytest.raises(UtteranceError, match="does not know the language 'it'; it knows en"):
        model.check_language("it", None)
    with pytest.raises(UtteranceError, match="cannot translate into 'en': it is monolingual"):
        model.check_language("en", "en")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("de", None, "does not know the language 'de'; it knows en, it, zh"),
        ("it", "de", "cannot translate into 'de'; it translates into English only"),
    ],
)
def test_unsupported_languages_are_refused_for_one_utterance(
    tiny: WhisperModel, clip: Clip, source: str, target: str | None, message: str
) -> None:
    with pytest.raises(UtteranceError, match=message) as caught:
        tiny.decode(tiny.features(clip(0.5)), source, target, GREEDY)
    assert caught.value.reason == "unsupported-language"


def test_length_limit_marks_the_hypothesis_as_truncated(tiny: WhisperModel, clip: Clip) -> None:
    features = tiny.features(clip(1.2, 1))
    limited = tiny.decode(features, "en", None, Decoding(beams=1, no_repeat_ngram=0, max_tokens=2))
    assert limited.truncated
    assert len(limited.tokens) == 2


# -- rows -----------------------------------------------------------------------------------------


def test_row_i_predicts_token_i(tiny: WhisperModel, clip: Clip) -> None:
    different = 0
    for seed in range(4):
        features = tiny.features(clip(1.2, seed))
        hypothesis = tiny.decode(features, "en", None, GREEDY)
        with torch.inference_mode():
            logits = tiny.logits(tiny.encode(features.values[None]), hypothesis)[0]
        assert logits.shape[0] == len(hypothesis.tokens)
        assert tuple(logits.argmax(-1).tolist()) == hypothesis.tokens
        different += len(set(hypothesis.tokens))
    assert different > 8, "the hypotheses say too little to tell rows apart"


def test_row_i_predicts_token_i_on_a_trained_model(micro: Any, shared_folder: Path) -> None:
    from xbench.data.audio import read_audio

    audio = read_audio(shared_folder / "audio" / "en-digits-theo.flac", 16000)
    features = micro.features(audio)
    hypothesis = micro.decode(features, "en", None, GREEDY)
    with torch.inference_mode():
        logits = micro.logits(micro.encode(features.values[None]), hypothesis)[0]
    assert tuple(logits.argmax(-1).tolist()) == hypothesis.tokens
    assert len(set(hypothesis.tokens)) > 4


def test_logits_equal_the_full_forward_of_the_network(
    tiny: WhisperModel, explained: tuple[Any, Hypothesis]
) -> None:
    features, hypothesis = explained
    ids = torch.tensor([hypothesis.prompt + hypothesis.tokens])
    with torch.inference_mode():
        full = tiny.network(input_features=features.values.T[None], decoder_input_ids=ids).logits[0]
        ours = tiny.logits(tiny.encode(features.values[None]), hypothesis)[0]
    first = len(hypothesis.prompt) - 1
    torch.testing.assert_close(ours, full[first:-1], rtol=1e-5, atol=1e-5)


def test_logits_do_not_depend_on_the_batch(tiny: WhisperModel, clip: Clip) -> None:
    features = [tiny.features(clip(1.0, seed)) for seed in range(16)]
    hypothesis = tiny.decode(features[0], "en", None, GREEDY)
    with torch.inference_mode():
        encoded = tiny.encode(torch.stack([f.values for f in features]))
        together = tiny.logits(encoded, hypothesis)
        alone = torch.cat([tiny.logits(tiny.encode(f.values[None]), hypothesis) for f in features])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_encode_and_logits_keep_gradients(
    tiny: WhisperModel, explained: tuple[Any, Hypothesis]
) -> None:
    features, hypothesis = explained
    values = features.values[None].clone().requires_grad_(True)
    tiny.logits(tiny.encode(values), hypothesis)[0, 0].max().backward()
    assert values.grad is not None
    assert values.grad.abs().sum() > 0


def test_bfloat16_runs_and_says_nearly_the_same(
    tiny: WhisperModel, tiny_whisper_folder: Path, explained: tuple[Any, Hypothesis]
) -> None:
    features, hypothesis = explained
    half = load_model(f"whisper:{tiny_whisper_folder}", device="cpu", precision="bfloat16")
    assert half.info.precision == "bfloat16"
    with torch.inference_mode():
        low = half.logits(half.encode(features.values[None]), hypothesis)
        full = tiny.logits(tiny.encode(features.values[None]), hypothesis)
    assert low.dtype == torch.bfloat16
    assert torch.corrcoef(torch.stack([low.float().flatten(), full.flatten()]))[0, 1] > 0.99
    attention = half.trace(features, hypothesis, frozenset()).cross_attention
    expected = tiny.trace(features, hypothesis, frozenset()).cross_attention
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:3]))
    assert (attention - expected).abs().mean() < 0.02


# -- valid frames ---------------------------------------------------------------------------------

WINDOW = 32000
AROUND_HOPS = [1, 159, 160, 161, 319, 320, 321, 480, 481, WINDOW - 1, WINDOW]


def check_frames(model: WhisperModel, samples: int) -> None:
    features = model.features(np.full(samples, 0.1, dtype=np.float32))
    assert features.melframes == sum(160 * t < samples for t in range(WINDOW))
    assert features.frames == sum(320 * j < samples for j in range(WINDOW))
    assert features.values.shape == (200, 16)
    assert features.valid.shape == (features.melframes, 16)


@pytest.mark.parametrize("samples", AROUND_HOPS)
def test_a_frame_is_valid_when_its_centre_lies_in_the_audio(
    tiny: WhisperModel, samples: int
) -> None:
    check_frames(tiny, samples)


def test_valid_frames_for_any_length(tiny: WhisperModel) -> None:
    @given(st.integers(1, WINDOW))
    def check(samples: int) -> None:
        check_frames(tiny, samples)

    check()


def test_audio_longer_than_the_window_is_refused(tiny: WhisperModel) -> None:
    with pytest.raises(UtteranceError, match="longer than the 2 s window") as caught:
        tiny.features(np.zeros(WINDOW + 1, dtype=np.float32))
    assert caught.value.reason == "too-long"


# -- trace ----------------------------------------------------------------------------------------


def test_projections_rebuild_the_output_of_every_attention_block(
    tiny: WhisperModel, explained: tuple[Any, Hypothesis]
) -> None:
    trace = tiny.trace(*explained, EVERYTHING)
    assert sorted(trace.blocks) == ["cross", "decoder", "encoder"]
    for name, blocks in trace.blocks.items():
        assert len(blocks) == 2
        for block in blocks:
            assert block.causal == (name == "decoder")
            assert block.output.abs().max() > 0.1
            torch.testing.assert_close(attention_output(block), block.output, rtol=1e-5, atol=1e-5)


def test_attention_equals_the_eager_weights_of_transformers(
    tiny: WhisperModel, tiny_whisper_folder: Path, explained: tuple[Any, Hypothesis]
) -> None:
    from transformers import WhisperForConditionalGeneration

    features, hypothesis = explained
    eager = WhisperForConditionalGeneration.from_pretrained(
        tiny_whisper_folder, attn_implementation="eager"
    ).eval()
    with torch.inference_mode():
        output = eager(
            input_features=features.values.T[None],
            decoder_input_ids=torch.tensor([hypothesis.prompt + hypothesis.tokens[:-1]]),
            output_attentions=True,
        )
    trace = tiny.trace(features, hypothesis, EVERYTHING)
    assert trace.decoder_attention is not None
    assert trace.encoder_attention is not None
    cross = torch.stack([block.attention() for block in trace.blocks["cross"]])
    for ours, theirs in (
        (cross, output.cross_attentions),
        (trace.decoder_attention, output.decoder_attentions),
        (trace.encoder_attention, output.encoder_attentions),
    ):
        torch.testing.assert_close(ours, torch.cat(theirs), rtol=1e-5, atol=1e-6)

    rows = torch.cat(output.cross_attentions)[:, :, len(hypothesis.prompt) - 1 :]
    valid = rows[..., : features.frames]
    expected = valid / valid.sum(-1, keepdim=True)
    torch.testing.assert_close(trace.cross_attention, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        trace.padding_mass, rows[..., features.frames :].sum(-1), rtol=1e-4, atol=1e-6
    )


def test_trace_without_needs_holds_cross_attention_only(
    tiny: WhisperModel, explained: tuple[Any, Hypothesis]
) -> None:
    trace = tiny.trace(*explained, frozenset())
    assert trace.decoder_attention is None
    assert trace.encoder_attention is None
    assert not trace.blocks
    assert trace.cross_attention.shape == (2, 2, len(explained[1].tokens), explained[0].frames)


def test_cropped_rows_sum_to_one(tiny: WhisperModel, explained: tuple[Any, Hypothesis]) -> None:
    trace = tiny.trace(*explained, frozenset())
    torch.testing.assert_close(
        trace.cross_attention.sum(-1), torch.ones(trace.cross_attention.shape[:3])
    )
    assert trace.padding_mass.max() > 0.1, "the padding takes no mass, the crop is not tested"


def test_crop_by_hand(make_trace: Callable[..., Trace]) -> None:
    # Prompt of two tokens: the second prompt position predicts the first of two tokens.
    attention = torch.tensor(
        [[0.9, 0.1, 0.0, 0.0], [0.1, 0.3, 0.0, 0.6], [0.25, 0.25, 0.25, 0.25], [0, 0, 1, 0]]
    )[None, None]
    axes = make_trace(torch.zeros(1, 1, 3, 3)).layout
    cropped, padding = crop(attention, 2, axes)
    expected = torch.tensor([[0.25, 0.75, 0.0], [1 / 3, 1 / 3, 1 / 3], [0, 0, 1]])
    torch.testing.assert_close(cropped[0, 0], expected)
    torch.testing.assert_close(padding[0, 0], torch.tensor([0.6, 0.25, 0.0]))


def test_a_row_that_sees_only_padding_stays_zero(make_trace: Callable[..., Trace]) -> None:
    axes = make_trace(torch.zeros(1, 1, 1, 2)).layout
    cropped, padding = crop(torch.tensor([[[[0.0, 0.0, 1.0]]]]), 1, axes)
    assert cropped.tolist() == [[[[0.0, 0.0]]]]
    assert padding.tolist() == [[[1.0]]]


def hooks(model: WhisperModel) -> int:
    return sum(len(module._forward_hooks) for module in model.network.modules())


def test_hooks_are_gone_after_a_trace(
    tiny: WhisperModel, explained: tuple[Any, Hypothesis]
) -> None:
    before = hooks(tiny)
    tiny.trace(*explained, EVERYTHING)
    assert hooks(tiny) == before


def test_hooks_are_gone_after_an_error(
    tiny: WhisperModel, explained: tuple[Any, Hypothesis], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, during = hooks(tiny), []

    def fail(self: WhisperModel, *_: Any) -> None:
        during.append(hooks(self))
        raise RuntimeError("planned")

    monkeypatch.setattr(WhisperModel, "logits", fail)
    with pytest.raises(RuntimeError, match="planned"):
        tiny.trace(*explained, EVERYTHING)
    assert during[0] > before
    assert hooks(tiny) == before


# -- loading --------------------------------------------------------------------------------------


def one_line(problem: Exception) -> str:
    text = str(problem)
    assert text
    assert "\n" not in text
    return text


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def drop_a_tensor(folder: Path) -> None:
    edit_weights(folder, lambda w: w.pop("model.decoder.layers.1.encoder_attn.q_proj.weight"))


def add_a_tensor(folder: Path) -> None:
    edit_weights(folder, lambda w: w.update({"model.decoder.extra.weight": torch.zeros(2)}))


def resize_a_tensor(folder: Path) -> None:
    edit_weights(folder, lambda w: w.update({"model.encoder.conv1.bias": torch.zeros(5)}))


def damage_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def list_shards(folder: Path, name: str) -> None:
    """Replace the weights by an index that names one file for all of them."""
    weights = folder / "model.safetensors"
    names = dict.fromkeys(load_file(weights), name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    weights.rename(folder / "model-00001-of-00001.safetensors")


def list_a_pickle(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    list_shards(folder, "pytorch_model.bin")
    torch.save(weights, folder / "pytorch_model.bin")


def list_a_file_elsewhere(folder: Path) -> None:
    list_shards(folder, "../elsewhere.safetensors")
    (folder / "model-00001-of-00001.safetensors").rename(folder.parent / "elsewhere.safetensors")


def shorten_window(folder: Path) -> None:
    edit_json(folder / "preprocessor_config.json", chunk_length=1, nb_max_frames=100)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_a_tensor, "1 missing keys, for instance model.decoder.layers.1.encoder_attn"),
        (add_a_tensor, "1 unexpected keys, for instance model.decoder.extra.weight"),
        (resize_a_tensor, "1 mismatched keys, for instance model.encoder.conv1.bias;"),
        (damage_weights, "damaged safetensors file"),
        (make_pickle, "its weights are a pickle"),
        (list_a_pickle, r"names 'pytorch_model.bin', which is no safetensors file"),
        (list_a_file_elsewhere, "names '../elsewhere.safetensors', a file outside of its folder"),
        (lambda f: list_shards(f, "nowhere.safetensors"), "lists nowhere.safetensors, which is"),
        (
            lambda f: [list_shards(f, "x"), (f / INDEX).write_text("[]")],
            "index.json is not valid",
        ),
        (
            lambda f: edit_json(f / "config.json", transformers_weights="adapter_model.bin"),
            "its configuration names the file of its weights",
        ),
        (
            lambda f: (f / "adapter_config.json").write_text("{}"),
            "adapter_config.json names no base; set base_model_name_or_path",
        ),
        (shorten_window, "the feature extractor makes 100 frames, the encoder takes 200"),
        (lambda f: (f / "model.safetensors").unlink(), r"has no \*.safetensors weights"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is not valid"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json is not valid"),
        (
            lambda f: edit_json(f / "config.json", model_type="speech_to_text"),
            "model_type 'speech_to_text', but 'whisper:' loads 'whisper'",
        ),
        (
            lambda f: (f / "tokenizer.json").unlink(),
            "has no tokenizer .tokenizer.json or vocab.json.; copy",
        ),
        (
            lambda f: (f / "preprocessor_config.json").unlink(),
            "has no feature extractor .preprocessor_config.json or processor_config.json.; copy",
        ),
        (
            lambda f: edit_json(f / "generation_config.json", no_timestamps_token_id=None),
            "generation_config.json lacks no_timestamps_token_id",
        ),
    ],
)
def test_a_broken_checkpoint_folder_is_bad_input(
    folder: Path, damage: Callable[[Path], Any], message: str
) -> None:
    damage(folder)
    with pytest.raises(UsageError, match=message) as caught:
        load_model(f"whisper:{folder}", device="cpu")
    one_line(caught.value)


def test_a_folder_that_does_not_exist_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder") as caught:
        load_model(f"whisper:{tmp_path / 'nowhere'}")
    one_line(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"), [("whisper-tny", "'whisper-tiny'"), ("wisper:some/folder", "'whisper'")]
)
def test_an_unknown_name_offers_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match=nearest) as caught:
        load_model(name)
    one_line(caught.value)


def test_an_empty_target_is_bad_input() -> None:
    with pytest.raises(UsageError, match="give a path or a hub id after 'whisper:'"):
        locate("whisper:")


@pytest.mark.parametrize("configured", [False, True])
def test_an_unreachable_hub_is_a_problem_of_the_machine(
    configured: bool, monkeypatch: pytest.MonkeyPatch, hub_cache: Callable[[str], Path]
) -> None:
    """Nothing of the checkpoint is in the cache of the hub, or its configuration alone."""
    from transformers import WhisperForConditionalGeneration

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect to the hub\nand a second line")

    if configured:
        (hub_cache("openai/whisper-tiny") / "config.json").write_text('{"model_type": "whisper"}')
    monkeypatch.setattr(WhisperForConditionalGeneration, "from_pretrained", unreachable)
    with pytest.raises(
        EnvironmentProblem, match="openai/whisper-tiny are not on this machine"
    ) as e:
        load_model("whisper-tiny", device="cpu")
    assert "HF_HOME" in one_line(e.value)


def test_a_hub_checkpoint_without_safetensors_is_bad_input(
    monkeypatch: pytest.MonkeyPatch, hub_cache: Callable[[str], Path]
) -> None:
    from transformers import WhisperForConditionalGeneration

    (hub_cache("somebody/model") / "config.json").write_text('{"model_type": "whisper"}')

    def pickled(*_: Any, **__: Any) -> None:
        raise OSError("somebody/model does not appear to have a file named model.safetensors")

    monkeypatch.setattr(WhisperForConditionalGeneration, "from_pretrained", pickled)
    with pytest.raises(UsageError, match="safetensors") as caught:
        load_model("whisper:somebody/model", device="cpu")
    one_line(caught.value)


def test_location_splits_hub_id_and_revision(tiny_whisper_folder: Path) -> None:
    hub = locate("whisper:somebody/model@v1")
    assert (hub.target, hub.revision, hub.source) == ("somebody/model", "v1", "somebody/model")
    local = locate(f"whisper:{tiny_whisper_folder}")
    assert (local.name, local.source, local.revision) == (
        "whisper:whisper-tiny-random",
        "local",
        None,
    )


def test_unusable_device_is_told(tiny_whisper_folder: Path) -> None:
    with pytest.raises(UsageError, match="--device 'quantum' is not a device"):
        load_model(f"whisper:{tiny_whisper_folder}", device="quantum")
    with pytest.raises(UsageError, match="--device meta: models run on cpu, cuda or mps"):
        load_model(f"whisper:{tiny_whisper_folder}", device="meta")


def test_info_describes_the_checkpoint(tiny: WhisperModel, tiny_whisper_folder: Path) -> None:
    info = tiny.info
    assert (info.encoder_layers, info.decoder_layers, info.heads) == (2, 2, 2)
    assert info.max_samples == WINDOW
    weights = load_file(tiny_whisper_folder / "model.safetensors")
    assert info.n_parameters == sum(math.prod(w.shape) for w in weights.values())
    assert info.revision == folder_revision(tiny_whisper_folder)
    assert str(tiny_whisper_folder) not in repr(info)


def test_weights_in_several_files_are_all_part_of_the_revision(folder: Path) -> None:
    list_shards(folder, "model-00001-of-00001.safetensors")
    before = load_model(f"whisper:{folder}", device="cpu").info.revision
    shard = folder / "model-00001-of-00001.safetensors"
    weights = load_file(shard)
    weights["model.encoder.conv1.bias"][0] += 1e-3
    save_file(weights, shard, metadata={"format": "pt"})
    assert load_model(f"whisper:{folder}", device="cpu").info.revision != before


def test_an_index_on_the_hub_may_not_name_a_pickle(
    hub_cache: Callable[[str], Path], tiny_whisper_folder: Path
) -> None:
    snapshot = hub_cache("nobody/small")
    shutil.copytree(tiny_whisper_folder, snapshot, dirs_exist_ok=True)
    list_a_pickle(snapshot)
    with pytest.raises(UsageError, match="no safetensors file"):
        load_model("whisper:nobody/small", device="cpu")


def test_code_that_comes_with_a_checkpoint_is_part_of_the_revision(folder: Path) -> None:
    before = folder_revision(folder)
    (folder / "modeling_own.py").write_text("x = 1")
    assert folder_revision(folder) != before


def test_changed_weights_are_another_revision(folder: Path) -> None:
    before = folder_revision(folder)
    (folder / "README.txt.bak").write_text("not a part of the model")
    assert folder_revision(folder) == before

    def nudge(weights: dict[str, torch.Tensor]) -> None:
        weights["model.encoder.conv1.bias"][0] += 1e-3

    edit_weights(folder, nudge)
    assert folder_revision(folder) != before
