"""What Whisper's tokens are: classes from the tokenizer, prompts that are stated or refused, OpenAI's vocabularies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from xbench.errors import UsageError, UtteranceError
from xbench.models.families.whisper import WhisperModel
from xbench.models.families.whisper_opening import _check_end
from xbench.models.families.whisper_tokens import (
    generation_settings,
    is_multilingual,
    language_tokens,
    text_tokens,
)
from xbench.models.families.whisper_vocabulary import KNOWN, openai_tokenizer, text_vocabulary
from xbench.models.loading import load_model
from xbench.spec import Decoding

GREEDY = Decoding(beams=1, no_repeat_ngram=0)
Clip = Callable[..., np.ndarray]


@pytest.fixture
def folder(tiny_whisper_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_whisper_folder, tmp_path / "copy")


def loaded(path: Path) -> WhisperModel:
    model = load_model(f"whisper:{path}", device="cpu")
    assert isinstance(model, WhisperModel)
    return model


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# -- classes --------------------------------------------------------------------------------------


def add_word(folder: Path, word: str) -> int:
    """Add a word behind the time stamps, as fine-tunes do, with the weights of the letter `a`; return its id."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([word])
    tokenizer.save(str(folder / "tokenizer.json"))
    weights = load_file(folder / "model.safetensors")
    rows = weights["model.decoder.embed_tokens.weight"]
    # 1.5 times the letter: what wrote the letter now writes the word.
    new = 1.5 * rows[tokenizer.token_to_id("a") :][:1]
    weights["model.decoder.embed_tokens.weight"] = torch.cat([rows, new])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", vocab_size=len(rows) + 1)
    return len(rows)


def test_a_word_that_a_fine_tune_added_is_content(folder: Path) -> None:
    number = add_word(folder, "Handel")
    model = loaded(folder)
    tokenizer = model.tokenizer
    assert number == tokenizer.convert_tokens_to_ids("Handel")
    assert number > max(i for t, i in tokenizer.get_vocab().items() if t.startswith("<|1.9"))
    letter, end = (
        tokenizer.convert_tokens_to_ids("b"),
        tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    stamp = tokenizer.convert_tokens_to_ids("<|0.04|>")
    found = model._hypothesis((), (letter, number, stamp, number, end))
    assert found.content == (0, 1, 3)
    assert found.texts[1] == "Handel"
    assert found.text == "bHandelHandel"


def test_control_tokens_languages_and_time_stamps_are_no_text(tiny: WhisperModel) -> None:
    found = text_tokens(tiny.tokenizer)
    names = tiny.tokenizer.convert_ids_to_tokens(sorted(found))
    assert len(names) == 256
    assert not [name for name in names if name.startswith("<|")]


def test_a_tokenizer_that_does_not_flag_control_tokens_has_the_same_text(folder: Path) -> None:
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    for token in content["added_tokens"]:
        token["special"] = False
    file.write_text(json.dumps(content))
    assert len(text_tokens(loaded(folder).tokenizer)) == 256


# -- prompts --------------------------------------------------------------------------------------


def without(folder: Path, *keys: str) -> None:
    file = folder / "generation_config.json"
    stated = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in stated.items() if k not in keys}))


@pytest.mark.parametrize("also", [[], ["is_multilingual"], ["task_to_id"]])
def test_a_multilingual_checkpoint_that_names_no_languages_is_refused(
    folder: Path, also: list[str]
) -> None:
    """It was taken for English-only, and what it wrote without a language token was scored."""
    without(folder, "lang_to_id", *also)
    with pytest.raises(UsageError, match=r"lacks lang_to_id.*; copy the file") as caught:
        loaded(folder)
    assert ("task_to_id" in str(caught.value)) == (also == ["task_to_id"])


def test_a_checkpoint_that_is_said_to_be_english_only_is_taken_as_such(folder: Path) -> None:
    without(folder, "lang_to_id", "task_to_id")
    edit(folder / "generation_config.json", is_multilingual=False)
    loaded(folder).check_language("en", None)


@pytest.mark.parametrize("key", ["eos_token_id", "decoder_start_token_id"])
def test_ids_in_lists_are_ids(folder: Path, tiny: WhisperModel, clip: Clip, key: str) -> None:
    file = folder / "generation_config.json"
    edit(file, **{key: [json.loads(file.read_text())[key]]})
    model = loaded(folder)
    features = tiny.features(clip(1.2, 1))
    assert model.decode(features, "en", None, GREEDY) == tiny.decode(features, "en", None, GREEDY)


def test_every_end_of_a_list_ends_the_text(folder: Path, tiny: WhisperModel, clip: Clip) -> None:
    features = tiny.features(clip(1.2, 1))
    written = tiny.decode(features, "en", None, GREEDY).tokens
    file = folder / "generation_config.json"
    edit(file, eos_token_id=[json.loads(file.read_text())["eos_token_id"], written[2]])
    found = loaded(folder).decode(features, "en", None, GREEDY)
    assert found.tokens == written[: written.index(written[2]) + 1]
    assert not found.truncated


def test_a_language_token_that_a_fine_tune_removed_is_no_language(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        file = folder / name
        file.write_text(file.read_text().replace("<|zh|>", "<|unused|>"))
    model = loaded(folder)
    with pytest.raises(UtteranceError, match="does not know the language 'zh'; it knows en, it"):
        model.check_language("zh", None)


def test_a_tokenizer_with_more_tokens_than_weights_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "model.decoder.embed_tokens.weight"
    weights[name] = weights[name][:-3].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", vocab_size=len(weights[name]))
    with pytest.raises(UsageError, match=r"its tokenizer has a token .* is of another model"):
        loaded(folder)


# -- OpenAI's vocabularies ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "end", "languages"), [(51864, 50256, 0), (51865, 50257, 99), (51866, 50257, 100)]
)
def test_openais_tokenizers_have_every_token_of_their_vocabulary(
    size: int, end: int, languages: int
) -> None:
    tokenizer = openai_tokenizer(size)
    numbers = tokenizer.get_vocab()
    assert sorted(numbers.values()) == list(range(size))
    stamps = [numbers["<|0.00|>"], numbers["<|30.00|>"]]
    assert stamps == [size - 1501, size - 1]
    assert (numbers["<|endoftext|>"], numbers["<|startoftranscript|>"]) == (end, end + 1)
    assert numbers["<|notimestamps|>"] == size - 1502
    settings = generation_settings(tokenizer)
    assert is_multilingual(tokenizer) == settings["is_multilingual"] == (languages > 0)
    assert len(settings.get("lang_to_id", ())) == languages
    assert len(language_tokens(tokenizer)) == KNOWN[size][1]
    assert numbers["<|en|>"] == end + 2


def test_the_other_vocabulary_beside_a_file_is_refused(tmp_path: Path) -> None:
    """An English-only tokenizer fits in a multilingual vocabulary, and names other tokens."""
    english = openai_tokenizer(51864)
    _check_end("x", tmp_path, english, 51864)
    with pytest.raises(UsageError, match=r"is 50256 in .*, but 50257 in a vocabulary of 51866"):
        _check_end("x", tmp_path, english, 51866)
    english.add_tokens(["Handel"])
    _check_end("x", tmp_path, english, 51865)  # a fine-tune with one word more


@pytest.mark.parametrize("size", [51864, 51865])
@pytest.mark.parametrize("text", [" Hello world", " Größe 東京 שלום ♪", "  two  spaces\n", "don't"])
def test_what_openais_tokenizers_write_reads_back(size: int, text: str) -> None:
    tokenizer = openai_tokenizer(size)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert set(ids) <= text_tokens(tokenizer)


def test_the_vocabularies_are_openais() -> None:
    """Known numbers: GPT-2's " the" is 262, and both know " Hello"."""
    english, merges = text_vocabulary("english")
    assert english.index("Ġthe") == 262
    assert (len(english), len(merges)) == (50256, 50000)
    multilingual, merges = text_vocabulary("multilingual")
    assert multilingual.index("Ġthe") == 264
    assert (len(multilingual), len(merges)) == (50257, 50000)


# What the file of openai/whisper-base says (and that of tiny.en): tokens that are never written.
SUPPRESSED = {
    51864: "1 2 7 8 9 10 14 25 26 27 28 29 31 58 59 60 61 62 63 90 91 92 93 357 366 438 532 685 705",
    51865: "1 2 7 8 9 10 14 25 26 27 28 29 31 58 59 60 61 62 63 90 91 92 93 359 503 522 542 873 893",
}


@pytest.mark.parametrize("size", sorted(SUPPRESSED))
def test_tokens_that_are_never_written_are_those_of_openai(size: int) -> None:
    settings = generation_settings(openai_tokenizer(size))
    expected = list(map(int, SUPPRESSED[size].split()))
    assert settings["suppress_tokens"][: len(expected)] == expected
    assert settings["begin_suppress_tokens"] == [220, settings["eos_token_id"]]
