"""Checkpoints as other programs write them: the same logits as the transformers folder, or one sentence."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_formats import (
    ALIASES,
    ctranslate2_variables,
    model_bin,
    rounded,
    write_ctranslate2,
    write_openai,
)
from safetensors.torch import load_file, save_file

from xbench.errors import EnvironmentProblem, UsageError
from xbench.models.checkpoint_files import INDEX
from xbench.models.families.whisper import WhisperModel
from xbench.models.formats.ctranslate2_file import read_header, read_variables
from xbench.models.loading import load_model
from xbench.spec import Decoding

GREEDY = Decoding(beams=1, no_repeat_ngram=0)
Clip = Callable[..., np.ndarray]


def loaded(path: Path) -> WhisperModel:
    model = load_model(f"whisper:{path}", device="cpu")
    assert isinstance(model, WhisperModel)
    return model


def refused(path: Path | str, kind: type[Exception] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        load_model(f"whisper:{path}", device="cpu")
    text = str(caught.value)
    assert "\n" not in text
    return text


def logits(model: WhisperModel, clip: Clip) -> torch.Tensor:
    features = model.features(clip(1.2, 1))
    hypothesis = model.decode(features, "it", None, GREEDY)
    assert len(hypothesis.prompt) == 4
    assert hypothesis.content
    with torch.inference_mode():
        return model.logits(model.encode(features.values[None]), hypothesis)


@pytest.fixture
def folder(tiny_whisper_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_whisper_folder, tmp_path / "copy")


@pytest.fixture
def file(tiny_whisper_folder: Path, tmp_path: Path) -> Path:
    """Return a file of openai-whisper, with the tokenizer and generation settings of a fine-tune beside it."""
    for name in ("tokenizer.json", "generation_config.json"):
        shutil.copy(tiny_whisper_folder / name, tmp_path / name)
    return write_openai(tiny_whisper_folder, tmp_path / "tiny.pt")


# -- openai-whisper -------------------------------------------------------------------------------


def test_a_file_of_openai_whisper_has_the_logits_of_the_folder(
    file: Path, tiny: WhisperModel, clip: Clip
) -> None:
    model = loaded(file)
    assert torch.equal(logits(model, clip), logits(tiny, clip))
    info = model.info
    assert (info.name, info.source, info.format) == ("whisper:tiny.pt", "local", "openai-whisper")
    assert info.n_parameters == tiny.info.n_parameters


def test_the_revision_of_a_file_covers_what_lies_beside_it(file: Path) -> None:
    before = loaded(file).info.revision
    settings = file.with_name("generation_config.json")
    settings.write_text(settings.read_text() + "\n")
    after = loaded(file).info.revision
    (file.parent / "notes.txt").write_text("no part of the model")
    assert before != after == loaded(file).info.revision
    content = torch.load(file, weights_only=True)
    content["model_state_dict"]["encoder.conv1.bias"][0] += 1e-3
    torch.save(content, file)
    assert loaded(file).info.revision != after


def test_a_vocabulary_that_is_not_openais_needs_a_tokenizer(file: Path) -> None:
    file.with_name("tokenizer.json").unlink()
    said = refused(file)
    assert "OpenAI's have 51864, 51865, 51866" in said
    assert f"put the tokenizer.json of the fine-tune into {file.parent}" in said


class Anything:
    """An object that a pickle has to import."""


def test_a_file_that_needs_full_unpickling_is_refused(file: Path) -> None:
    torch.save({"dims": {}, "model_state_dict": {}, "trainer": Anything()}, file)
    said = refused(file)
    assert "needs full unpickling, which can run code" in said
    assert "Anything" in said
    assert "torch.save again" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "epoch": 3}, "holds epoch, state_dict, not dims and model_state_dict"),
        ([1, 2], "holds list, not dims"),
        ({"dims": {}, "model_state_dict": {}}, "lacks .* of Whisper"),
    ],
)
def test_a_file_of_another_program_is_refused(file: Path, content: Any, message: str) -> None:
    torch.save(content, file)
    with pytest.raises(UsageError, match=message):
        loaded(file)


def test_sizes_that_the_weights_do_not_have_are_refused(
    tiny_whisper_folder: Path, file: Path
) -> None:
    write_openai(tiny_whisper_folder, file, {"n_mels": 80})
    assert "states 80 for num_mel_bins, but its weights have 16" in refused(file)


def test_half_a_file_is_damaged(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "tiny.pt is damaged" in refused(file)


def test_weights_that_a_file_lacks_are_named(file: Path) -> None:
    content = torch.load(file, weights_only=True)
    del content["model_state_dict"]["decoder.blocks.1.cross_attn.query.weight"]
    torch.save(content, file)
    assert "1 missing keys, for instance model.decoder.layers.1.encoder_attn.q_proj" in refused(
        file
    )


# -- CTranslate2 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "int8"])
def test_a_folder_of_ctranslate2_has_the_logits_of_the_same_numbers(
    kind: str, tiny_whisper_folder: Path, tmp_path: Path, clip: Clip
) -> None:
    plain = loaded(rounded(tiny_whisper_folder, tmp_path / "rounded", kind))
    model = loaded(write_ctranslate2(tiny_whisper_folder, tmp_path / kind, kind))
    for name, weights in plain.network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], weights), name
    # Its config.json says nothing of suppressed tokens, so the two may write different texts.
    plain.network.generation_config = model.network.generation_config
    assert torch.equal(logits(model, clip), logits(plain, clip))
    assert (model.info.format, model.info.source) == ("ctranslate2", "local")


def test_whole_numbers_of_one_scale_are_turned_back(
    tiny_whisper_folder: Path, tmp_path: Path, tiny: WhisperModel
) -> None:
    """int16 has one scale for a whole matrix, whose largest number becomes 2^10."""
    model = loaded(write_ctranslate2(tiny_whisper_folder, tmp_path / "int16", "int16"))
    for name, weights in tiny.network.state_dict().items():
        step = weights.abs().max() / 2**10
        found = model.network.state_dict()[name]
        # Half a step; queries, keys and values are one matrix, and one of them has the largest number of all three.
        torch.testing.assert_close(found, weights, atol=float(step) * 3, rtol=0)


def test_what_a_folder_of_ctranslate2_says_of_generation_is_kept(
    tiny_whisper_folder: Path, tmp_path: Path
) -> None:
    said = {"suppress_ids": [7, 9], "suppress_ids_begin": [3], "alignment_heads": [[1, 0]]}
    model = loaded(write_ctranslate2(tiny_whisper_folder, tmp_path / "said", **said))
    config = model.network.generation_config
    assert (config.suppress_tokens, config.begin_suppress_tokens) == ([7, 9], [3])
    assert model.info.alignment_heads == ((1, 0),)
    # What the converter writes where it knows no heads: all of the upper half of the layers.
    unknown = {"alignment_heads": [[1, 0], [1, 1]]}
    assert (
        loaded(
            write_ctranslate2(tiny_whisper_folder, tmp_path / "unknown", **unknown)
        ).info.alignment_heads
        == ()
    )


def test_the_revision_of_ctranslate2_covers_its_weights(
    tiny_whisper_folder: Path, tmp_path: Path
) -> None:
    single = write_ctranslate2(tiny_whisper_folder, tmp_path / "single")
    half = write_ctranslate2(tiny_whisper_folder, tmp_path / "half", "float16")
    assert loaded(single).info.revision != loaded(half).info.revision


def rewrite(folder: Path, **header: Any) -> None:
    variables = ctranslate2_variables(folder.parent / "copy", "float32")
    (folder / "model.bin").write_bytes(model_bin(variables, ALIASES, **header))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"name": "TransformerSpec"}, "a model of type 'TransformerSpec', xbench reads"),
        ({"version": 7}, "format version 7 and revision 3 of WhisperSpec"),
        ({"revision": 2}, "format version 6 and revision 2 of WhisperSpec"),
    ],
)
def test_another_model_or_version_of_ctranslate2_is_refused(
    header: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    written = write_ctranslate2(folder, tmp_path / "ct2")
    rewrite(written, **header)
    said = refused(written)
    assert message in said
    assert "ct2-transformers-converter" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v: v.update({"decoder/activation": (np.array(0, np.int8), "int8")}),
            "activation = 0",
        ),
        (lambda v: v.pop("decoder/layer_1/ffn/linear_0/weight"), "has no variable"),
        (
            lambda v: v.update({"encoder/layer_0/low_rank": (np.ones(2, np.float32), "float32")}),
            "variables that plain Whisper has not, for instance 'encoder/layer_0/low_rank'",
        ),
    ],
)
def test_what_is_no_plain_whisper_is_refused(
    change: Callable[[dict[str, Any]], Any], message: str, folder: Path, tmp_path: Path
) -> None:
    written = write_ctranslate2(folder, tmp_path / "ct2")
    variables = ctranslate2_variables(folder, "float32")
    change(variables)
    (written / "model.bin").write_bytes(model_bin(variables, ALIASES))
    assert message in refused(written)


def test_every_cut_of_a_model_bin_is_refused(tmp_path: Path) -> None:
    """However little of a file is left, or however much follows it, nothing is read beyond its end."""
    whole = model_bin({"a/b": (np.ones((2, 3), np.float32), "float32")}, {"c": "a/b"})
    file = tmp_path / "model.bin"
    file.write_bytes(whole)
    assert read_variables("x", file)["c"].values.tolist() == np.ones((2, 3)).tolist()
    for size in range(1, len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(UsageError, match="model 'x'"):
            read_variables("x", file)
    file.write_bytes(whole + b"\0")
    with pytest.raises(UsageError, match="goes on for 1 bytes"):
        read_variables("x", file)
    file.write_bytes(b"")
    with pytest.raises(UsageError, match="is empty"):
        read_variables("x", file)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (struct.pack("<BI", 0, 24), struct.pack("<BI", 0, 2**31), "states 2147483648 bytes"),
        (struct.pack("<BI", 0, 24), struct.pack("<BI", 9, 24), "variable of type 9"),
        (
            struct.pack("<B", 2) + struct.pack("<II", 2, 3),
            b"\x09" + struct.pack("<II", 2, 3),
            "of 9 dim",
        ),
        (b"a/b\0", b"\xff/b\0", "no text at byte"),
    ],
)
def test_false_lengths_are_refused(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    whole = model_bin({"a/b": (np.ones((2, 3), np.float32), "float32")}, {})
    assert old in whole
    file = tmp_path / "model.bin"
    file.write_bytes(whole.replace(old, new, 1))
    with pytest.raises(UsageError, match=message):
        read_variables("x", file)


def test_a_pickle_of_the_same_name_is_no_model_of_ctranslate2(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "model.bin")
    with pytest.raises(UsageError, match="is no model of CTranslate2"):
        read_header("x", tmp_path / "model.bin")


def test_a_tokenizer_that_is_not_that_of_the_vocabulary_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    written = write_ctranslate2(folder, tmp_path / "ct2")
    tokens = [f"word{number}" for number in range(300)]
    (written / "vocabulary.json").write_text(json.dumps(tokens))
    assert "token 0 is 'word0' in vocabulary.json" in refused(written)


def test_other_families_name_the_one_that_reads_the_format(folder: Path, tmp_path: Path) -> None:
    written = write_ctranslate2(folder, tmp_path / "ct2")
    with pytest.raises(UsageError, match="holds Whisper only; use --model whisper:"):
        load_model(f"moonshine:{written}", device="cpu")


# -- adapters -------------------------------------------------------------------------------------


@pytest.fixture
def adapter(folder: Path, tmp_path: Path) -> Path:
    """Write a LoRA adapter of known values; its base is a folder beside it."""
    pytest.importorskip("peft")
    place = tmp_path / "adapter"
    place.mkdir()
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": "../copy",
        "r": 2,
        "lora_alpha": 6,
        "target_modules": ["q_proj"],
    }
    (place / "adapter_config.json").write_text(json.dumps(settings))
    save_file(changes(folder), place / "adapter_model.safetensors")
    return place


def changes(folder: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    found = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if "q_proj.weight" in name:
            start = f"base_model.model.{name.removesuffix('.weight')}"
            found[f"{start}.lora_A.weight"] = torch.randn(2, weight.shape[1])
            found[f"{start}.lora_B.weight"] = torch.randn(weight.shape[0], 2)
    return found


def test_an_adapter_is_merged_into_its_base(
    adapter: Path, folder: Path, tiny: WhisperModel, clip: Clip
) -> None:
    """W + alpha / r B A, by hand in the transformers folder."""
    model = loaded(adapter)
    weights, parts = load_file(folder / "model.safetensors"), changes(folder)
    for name in weights:
        start = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{start}.lora_A.weight" in parts:
            weights[name] += 3 * (parts[f"{start}.lora_B.weight"] @ parts[f"{start}.lora_A.weight"])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    by_hand = loaded(folder)
    torch.testing.assert_close(logits(model, clip), logits(by_hand, clip))
    query = "model.decoder.layers.1.encoder_attn.q_proj.weight"
    assert not torch.equal(model.network.state_dict()[query], tiny.network.state_dict()[query])
    assert model.info.format == "peft"
    assert model.info.base == f"local@{tiny.info.revision}"
    assert model.info.n_parameters == tiny.info.n_parameters
    assert type(model.network).__name__ == "WhisperForConditionalGeneration"


def test_the_revision_of_an_adapter_covers_its_base(adapter: Path, folder: Path) -> None:
    before = loaded(adapter).info.revision
    weights = load_file(folder / "model.safetensors")
    weights["model.encoder.conv1.bias"][0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert loaded(adapter).info.revision != before


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_base_of_an_adapter_may_be_of_any_format(
    adapter: Path, folder: Path, tmp_path: Path
) -> None:
    write_ctranslate2(folder, tmp_path / "ct2")
    whole = loaded(adapter)
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(tmp_path / "ct2"))
    found = loaded(adapter)
    for name, weights in whole.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], weights), name


@pytest.mark.parametrize("base", ["../nowhere/at/all", "nowhere.pt"])
def test_a_base_that_is_not_there_is_named(adapter: Path, base: str) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path=base)
    said = refused(adapter)
    assert f"its base '{base}' does not exist on this machine" in said
    assert "base_model_name_or_path" in said


def test_a_base_on_a_hub_that_cannot_be_reached_is_named(
    adapter: Path, hub_cache: Callable[[str], Path]
) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path="openai/whisper-small")
    said = refused(adapter, EnvironmentProblem)
    assert "its base 'openai/whisper-small' is not on this machine" in said
    assert "HF_HOME" in said


def test_an_adapter_that_is_its_own_base_is_refused(adapter: Path) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(adapter))
    assert "which is itself, or an adapter to it" in refused(adapter)


def test_adapters_that_name_each_other_are_refused(adapter: Path, tmp_path: Path) -> None:
    other = shutil.copytree(adapter, tmp_path / "other")
    edit(adapter / "adapter_config.json", base_model_name_or_path="../other")
    edit(other / "adapter_config.json", base_model_name_or_path="../adapter")
    assert "which is itself, or an adapter to it" in refused(adapter)


def drop(weights: dict[str, torch.Tensor]) -> None:
    del weights[min(weights)]


def widen(weights: dict[str, torch.Tensor]) -> None:
    weights[min(weights)] = torch.ones(2, 33)


def rename(weights: dict[str, torch.Tensor]) -> None:
    weights["base_model.model.model.encoder.layers.9.self_attn.q_proj.lora_A.weight"] = torch.ones(
        2
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "it lacks weights, for instance"),
        (widen, "does not fit its base '../copy'"),
        (rename, "has weights that the base has no place for"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    adapter: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    change(weights)
    save_file(weights, adapter / "adapter_model.safetensors")
    assert message in refused(adapter)


def test_modules_that_the_base_does_not_have_are_told(adapter: Path) -> None:
    edit(adapter / "adapter_config.json", target_modules=["query_key_value"])
    assert "does not fit its base" in refused(adapter)


def test_an_adapter_in_a_pickle_is_refused(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    assert "adapter_model.bin, a pickle, which can run code" in refused(adapter)


def test_an_adapter_without_peft_says_what_to_install(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'xbench[peft]'" in refused(adapter, EnvironmentProblem)


# -- folders of transformers that lack something ---------------------------------------------------


def test_a_folder_without_generation_settings_follows_its_tokenizer(
    folder: Path, tiny: WhisperModel, clip: Clip
) -> None:
    (folder / "generation_config.json").unlink()
    model = loaded(folder)
    features = model.features(clip(1.2, 1))
    assert model.decode(features, "zh", "en", GREEDY).prompt == (
        tiny.decode(tiny.features(clip(1.2, 1)), "zh", "en", GREEDY).prompt
    )
    stated, own = model.network.generation_config, tiny.network.generation_config
    assert stated.lang_to_id == own.lang_to_id
    assert stated.task_to_id == own.task_to_id


def test_a_folder_with_only_a_tokenizer_json_is_loaded(
    folder: Path, tiny: WhisperModel, clip: Clip
) -> None:
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.safetensors", "preprocessor_config.json"):
            file.rename(folder / file.name) if file.name == "tokenizer.json" else file.unlink()
    (folder / "generation_config.json").write_text(
        json.dumps(tiny.network.generation_config.to_diff_dict())
    )
    assert torch.equal(logits(loaded(folder), clip), logits(tiny, clip))


def test_weights_in_several_files_have_the_logits_of_one(
    folder: Path, tiny: WhisperModel, clip: Clip
) -> None:
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({n: weights[n] for n in held}, folder / file, metadata={"format": "pt"})
    listed = {name: file for file, held in parts.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    (folder / "model.safetensors").unlink()
    assert torch.equal(logits(loaded(folder), clip), logits(tiny, clip))
    (folder / "model-2.safetensors").unlink()
    assert "lists model-2.safetensors, which is not in" in (said := refused(folder))
    assert "1 of 2 files are missing" in said


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 145215824\n"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_told(folder: Path, name: str) -> None:
    (folder / name).write_text(POINTER)
    said = refused(folder)
    assert f"{name} is a pointer of Git LFS" in said
    assert "git lfs pull" in said


def test_files_that_are_not_read_may_be_pointers(folder: Path) -> None:
    for name in ("pytorch_model.bin", "model.fp32-00001-of-00002.safetensors"):
        (folder / name).write_text(POINTER)
    loaded(folder)


def test_a_file_that_is_a_pointer_of_git_lfs_is_told(file: Path) -> None:
    file.write_text(POINTER)
    assert "tiny.pt is a pointer of Git LFS" in refused(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.decoder.layers.1.fc1.weight"][3, :2] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    said = refused(folder)
    assert "2 of 2048 weights in model.decoder.layers.1.fc1.weight are not finite" in said


def test_a_feature_extractor_of_other_channels_is_refused(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", feature_size=20)
    assert "makes 20 mel channels, the encoder takes 16" in refused(folder)


# -- paths ----------------------------------------------------------------------------------------


def test_a_file_that_exists_is_a_path_and_no_name_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "model").write_text("x")
    assert "owner/model is a file, and the only checkpoints of one file" in refused("owner/model")


@pytest.mark.parametrize("name", ["whisper-tniy", "./whisper-tniy", "a/b/c", "nowhere/base.pt"])
def test_a_path_that_does_not_exist_is_no_name_on_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whisper-tiny").mkdir()
    said = refused(name)
    assert f"there is no folder or file '{name}'" in said
    assert ("did you mean 'whisper-tiny'" in said) == name.endswith("tniy")


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "is a link to something that is not there" in refused(tmp_path / "link")


def test_a_path_has_no_revision(folder: Path) -> None:
    assert "only checkpoints on the hub have revisions" in refused(f"{folder}@main")


def test_a_name_that_is_no_path_and_not_on_the_hub_says_both(
    hub_cache: Callable[[str], Path],
) -> None:
    said = refused("owner/model", EnvironmentProblem)
    assert "it is no path on this machine" in said


def test_a_folder_with_a_file_of_openai_says_to_name_the_file(file: Path) -> None:
    assert "to load tiny.pt, name the file and not its folder" in refused(file.parent)


# -- torch ----------------------------------------------------------------------------------------


def test_what_files_alone_say_is_told_before_torch_is_loaded(folder: Path, tmp_path: Path) -> None:
    from test_layers import loaded_after

    (folder / "tokenizer.json").write_text(POINTER)
    code = (
        "from xbench.errors import UsageError\nfrom xbench.models.loading import locate\n"
        f"try:\n    locate('whisper:{folder}')\nexcept UsageError:\n    pass\nelse:\n    raise SystemExit(1)"
    )
    assert loaded_after(code) == []


# -- files that hold something else than they should ------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("generation_config.json", "{,", "Expecting property name"),
        ("generation_config.json", "null", "it is not an object"),
        ("preprocessor_config.json", "[1]", "it is not an object"),
        ("tokenizer.json", "no json", "Expecting value"),
        ("tokenizer.json", "{}", "it has no 'model'"),
    ],
)
def test_a_file_that_is_no_json_object_is_named(
    folder: Path, name: str, content: str, said: str
) -> None:
    (folder / name).write_text(content)
    problem = refused(folder)
    assert f"{name} is not valid: {said}" in problem
    assert "copy the file of the checkpoint that it was fine-tuned from" in problem


def test_a_tokenizer_that_cannot_be_built_is_bad_input(folder: Path, tmp_path: Path) -> None:
    """The library of tokenizers raises plain exceptions, which are of no kind that could be named."""
    ctranslate2 = write_ctranslate2(folder, tmp_path / "ct2", "float32")
    for place in (folder, ctranslate2):
        (place / "tokenizer.json").write_text('{"model": {"type": "No"}, "added_tokens": []}')
        assert "does not load" in refused(place)


def test_settings_of_other_kinds_than_expected_are_bad_input(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", feature_size="16")
    assert "does not load" in refused(folder)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("eos_token_id", "50257", "is '50257' in its settings of generation, which is no whole"),
        ("suppress_tokens", "x", "is 'x' and not a list of ids of tokens"),
        ("begin_suppress_tokens", ["1"], "which is no whole number"),
    ],
)
def test_ids_of_tokens_are_whole_numbers(folder: Path, key: str, value: Any, said: str) -> None:
    edit(folder / "generation_config.json", **{key: value})
    assert said in refused(folder)


def test_suppressed_tokens_of_ctranslate2_are_ids(
    tiny_whisper_folder: Path, tmp_path: Path
) -> None:
    folder = write_ctranslate2(tiny_whisper_folder, tmp_path / "ct2", "float32")
    edit(folder / "config.json", suppress_ids="x")
    assert "suppress_tokens in its settings of generation is 'x'" in refused(folder)


def test_a_tokenizer_of_other_numbers_than_config_json_is_refused(folder: Path) -> None:
    """Without settings of generation nothing else says which tokens the weights were trained with."""
    (folder / "generation_config.json").unlink()
    start = loaded(folder).network.generation_config.decoder_start_token_id
    edit(folder / "config.json", decoder_start_token_id=start + 1)
    said = refused(folder)
    assert f"<|startoftranscript|> is {start} in its tokenizer, but config.json states" in said
    assert "the tokenizer is of another model" in said


# Two letters of text, an archive without an end, an empty file, and what older versions of torch wrote.
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello", "was not written by torch.save"),
        (b"PK\x03\x04", "the archive is cut off"),
        (b"\x80\x02h\x05.", "is damaged"),
        (bytes(600), "was not written by torch.save"),
    ],
)
def test_a_file_that_torch_did_not_write_is_told_without_advice_on_other_things(
    file: Path, content: bytes, said: str
) -> None:
    file.write_bytes(content)
    problem = refused(file)
    assert said in problem
    assert "weights_only" not in problem


def test_compiled_code_is_told(file: Path, recwarn: pytest.WarningsRecorder) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(2)), str(file))
    recwarn.clear()
    assert "holds compiled code (TorchScript)" in refused(file)
    assert not recwarn.list


def test_weights_alone_are_told_how_to_be_saved(file: Path) -> None:
    content = torch.load(file, weights_only=True)
    torch.save(content["model_state_dict"], file)
    said = refused(file)
    assert f"holds {len(content['model_state_dict'])} weights alone" in said
    assert "torch.save({'dims': vars(model.dims), 'model_state_dict'" in said


def test_names_with_a_prefix_of_the_trainer_are_told(file: Path) -> None:
    content = torch.load(file, weights_only=True)
    weights = content["model_state_dict"]
    content["model_state_dict"] = {f"module.{key}": value for key, value in weights.items()}
    torch.save(content, file)
    assert "begin with 'module.', which those of openai-whisper do not" in refused(file)


def test_a_number_of_heads_that_is_none_is_told(tiny_whisper_folder: Path, file: Path) -> None:
    write_openai(tiny_whisper_folder, file, {"n_text_head": "4"})
    assert "lacks a whole number for n_text_head" in refused(file)


def test_weights_too_many_of_a_single_file_blame_no_config_json(file: Path) -> None:
    content = torch.load(file, weights_only=True)
    content["model_state_dict"]["decoder.more.weight"] = torch.ones(2)
    torch.save(content, file)
    assert "it does not fit a plain Whisper of its sizes" in refused(file)


def test_an_adapter_of_other_sizes_says_which(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    widen(weights)
    save_file(weights, adapter / "adapter_model.safetensors")
    assert "size mismatch for" in refused(adapter)


def test_a_type_of_adapter_that_peft_does_not_know_is_told(adapter: Path) -> None:
    edit(adapter / "adapter_config.json", peft_type="NOVEL")
    said = refused(adapter)
    assert "NOVEL" in said
    assert "install the version of peft that wrote it" in said


def test_an_adapter_that_changes_the_input_is_refused(adapter: Path) -> None:
    settings = {"peft_type": "PROMPT_TUNING", "task_type": "SEQ_2_SEQ_LM", "num_virtual_tokens": 3}
    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    (adapter / "adapter_config.json").write_text(
        json.dumps(settings | {"base_model_name_or_path": base})
    )
    assert "type PROMPT_TUNING changes the input and not the weights" in refused(adapter)
