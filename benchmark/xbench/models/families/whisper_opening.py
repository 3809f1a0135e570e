"""Opens a Whisper checkpoint of any format: network, feature extractor, tokenizer, and what is said of generation.

The generation settings are those of the checkpoint where it has them. Where it came without such a file they follow
from the tokenizer; a file that is there and says too little is refused, since leaving languages out is no statement
that there are none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xbench.errors import UsageError
from xbench.models.checkpoint import Checkpoint
from xbench.models.families.whisper_tokens import (
    END,
    NO_TIMES,
    START,
    generation_settings,
    is_multilingual,
)
from xbench.models.families.whisper_vocabulary import KNOWN, end_of_text, openai_tokenizer
from xbench.models.formats.ctranslate2 import read_ctranslate2, stated_generation
from xbench.models.formats.openai_file import read_openai
from xbench.models.formats.parts import Parts
from xbench.models.formats.recognised import CTRANSLATE2, OPENAI, TRANSFORMERS, companion
from xbench.models.loading import check_weights, explained
from xbench.models.masked_attention import NAME as MASKED_FRAMES

_SECONDS_PER_POSITION = 0.02  # of the encoder
GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Opened:
    """A checkpoint in memory, in the objects of transformers."""

    network: Any
    extractor: Any
    tokenizer: Any


def open_checkpoint(found: Checkpoint, precision: str, *, trust_remote_code: bool) -> Opened:
    """Load the weights, and merge the adapters into them; raises UsageError or EnvironmentProblem."""
    weights, dtype = found.weights, getattr(torch, precision)
    with explained(weights.location):
        opened = _READERS[weights.format](weights, dtype, trust_remote_code)
        tokenizer = _own_tokenizer(found) or opened.tokenizer
        network = found.with_adapters(opened.network, {})
    return Opened(network, opened.extractor, tokenizer)


def _own_tokenizer(found: Checkpoint) -> Any:
    """Return the tokenizer that lies beside an adapter, if there is one."""
    if found.base is None or found.location.path is None:
        return None
    if not any((found.location.path / file).is_file() for file in ("tokenizer.json", "vocab.json")):
        return None
    from transformers import WhisperTokenizer

    return WhisperTokenizer.from_pretrained(str(found.location.path))


def _transformers(found: Checkpoint, dtype: torch.dtype, trust_remote_code: bool) -> Opened:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    location = found.location
    arguments: dict[str, Any] = {
        "revision": location.revision or "main",
        "trust_remote_code": trust_remote_code,
    }
    network, loading = WhisperForConditionalGeneration.from_pretrained(
        location.target,
        dtype=dtype,
        use_safetensors=True,
        attn_implementation=MASKED_FRAMES,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # `check_weights` refuses them, and names one
        **arguments,
    )
    processor = WhisperProcessor.from_pretrained(location.target, **arguments)
    check_weights(location, loading)
    if _in_place(found, GENERATION) is None:
        _check_configured(found, processor.tokenizer)
        _follow_tokenizer(network, processor.tokenizer, {})
    return Opened(network, processor.feature_extractor, processor.tokenizer)


def _in_place(found: Checkpoint, name: str) -> Path | None:
    """Return a file of a checkpoint of transformers, on this machine or fetched from the hub; None: it has none."""
    location = found.location
    if location.path is not None:
        file = location.path / name
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(location.target, name, revision=location.revision)
    return Path(cached) if isinstance(cached, str) else None


def _check_configured(found: Checkpoint, tokenizer: Any) -> None:
    """Refuse a tokenizer of other numbers than config.json states, where nothing else says what the weights mean."""
    file = _in_place(found, "config.json")
    stated = json.loads(file.read_text("utf-8")) if file else {}
    known = tokenizer.get_vocab()
    for key, token in (("decoder_start_token_id", START), ("eos_token_id", END)):
        number = stated.get(key)
        if number is None or known.get(token) in (number if isinstance(number, list) else [number]):
            continue
        raise UsageError(
            f"model '{found.location.name}': {token} is {known.get(token)} in its tokenizer, but config.json states "
            f"{number} for {key}; the tokenizer is of another model, so copy that of the checkpoint that it was "
            "fine-tuned from"
        )


def _openai(found: Checkpoint, dtype: torch.dtype, trust_remote_code: bool) -> Opened:
    name, file = found.location.name, _path(found)
    parts = read_openai(name, file)
    stated = companion(file, GENERATION)
    beside = file.with_name("tokenizer.json")
    tokenizer = _tokenizer(name, beside, parts.settings["vocab_size"])
    network = _network(found, parts, dtype, tokenizer)
    if stated is None:
        _follow_tokenizer(network, tokenizer, {})
    else:
        _set(network.generation_config, stated)
    return Opened(network, _extractor(parts.settings), tokenizer)


def _ctranslate2(found: Checkpoint, dtype: torch.dtype, trust_remote_code: bool) -> Opened:
    name, folder = found.location.name, _path(found)
    parts = read_ctranslate2(name, folder)
    sizes = parts.settings
    tokenizer = _tokenizer(name, folder / "tokenizer.json", sizes["vocab_size"])
    _check_vocabulary(name, folder, tokenizer)
    network = _network(found, parts, dtype, tokenizer)
    stated = companion(folder, "config.json") or {}
    _follow_tokenizer(
        network,
        tokenizer,
        stated_generation(stated, sizes["decoder_layers"], sizes["decoder_attention_heads"]),
    )
    if (folder / "preprocessor_config.json").is_file():
        from transformers import WhisperFeatureExtractor

        return Opened(network, WhisperFeatureExtractor.from_pretrained(str(folder)), tokenizer)
    return Opened(network, _extractor(sizes), tokenizer)


_READERS: Mapping[str, Callable[[Checkpoint, torch.dtype, bool], Opened]] = {
    TRANSFORMERS: _transformers,
    OPENAI: _openai,
    CTRANSLATE2: _ctranslate2,
}


def _path(found: Checkpoint) -> Path:
    assert found.location.path is not None, "only checkpoints of transformers lie on the hub"
    return found.location.path


def _network(found: Checkpoint, parts: Parts, dtype: torch.dtype, tokenizer: Any) -> Any:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    # Without them transformers assumes the ids of OpenAI's multilingual vocabulary, which may not exist here.
    named = {token: tokenizer.convert_tokens_to_ids(token) for token in (START, END)}
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), named[END])
    config = WhisperConfig(
        **parts.settings,
        **ids,
        decoder_start_token_id=named[START],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    network, loading = WhisperForConditionalGeneration.from_pretrained(
        None,
        config=config,
        state_dict=parts.weights,
        dtype=dtype,
        attn_implementation=MASKED_FRAMES,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    check_weights(found.location, loading, "a plain Whisper of its sizes")
    return network


def _extractor(sizes: Mapping[str, Any]) -> Any:
    """Return the feature extractor that all Whisper checkpoints have, with the channels and window of this one."""
    from transformers import WhisperFeatureExtractor

    seconds = sizes["max_source_positions"] * _SECONDS_PER_POSITION
    return WhisperFeatureExtractor(feature_size=sizes["num_mel_bins"], chunk_length=round(seconds))


def _tokenizer(name: str, file: Path, vocabulary: int) -> Any:
    """Return the tokenizer in a file, or OpenAI's where there is no file and the vocabulary has OpenAI's size."""
    if file.is_file():
        from transformers import WhisperTokenizer

        roles = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), END)
        tokenizer = WhisperTokenizer(tokenizer_file=str(file), **roles)
        _check_end(name, file, tokenizer, vocabulary)
        return tokenizer
    if vocabulary not in KNOWN:
        sizes = ", ".join(map(str, KNOWN))
        raise UsageError(
            f"model '{name}': its vocabulary has {vocabulary} tokens, OpenAI's have {sizes}; put the tokenizer.json "
            f"of the fine-tune into {file.parent}"
        )
    return openai_tokenizer(vocabulary)


def _check_end(name: str, file: Path, tokenizer: Any, vocabulary: int) -> None:
    """Refuse the other one of OpenAI's two vocabularies: nothing beside such files says which tokens are meant."""
    numbers = tokenizer.get_vocab()
    fine_tuned = (
        max(numbers.values()) == vocabulary - 1
    )  # it names the last token, whatever came before it
    if vocabulary in KNOWN and not fine_tuned and numbers.get(END) != end_of_text(vocabulary):
        raise UsageError(
            f"model '{name}': {END} is {numbers.get(END)} in {file}, but {end_of_text(vocabulary)} in a vocabulary "
            f"of {vocabulary} tokens; the file is of another model"
        )


def _check_vocabulary(name: str, folder: Path, tokenizer: Any) -> None:
    """Refuse a tokenizer whose tokens are not those that the folder of CTranslate2 lists."""
    for file, read in (
        ("vocabulary.json", json.loads),
        ("vocabulary.txt", lambda text: text.rstrip("\n").split("\n")),
    ):
        if not (folder / file).is_file():
            continue
        try:
            listed = list(read((folder / file).read_text("utf-8")))
        except (ValueError, TypeError):
            raise UsageError(f"model '{name}': {file} is not valid") from None
        for number in range(0, min(len(listed), len(tokenizer)), 97):
            own = tokenizer.convert_ids_to_tokens(number)
            if own != listed[number]:
                raise UsageError(
                    f"model '{name}': token {number} is {listed[number]!r} in {file} and {own!r} in its tokenizer; "
                    "the tokenizer.json is of another model"
                )
        return


def _follow_tokenizer(network: Any, tokenizer: Any, stated: Mapping[str, Any]) -> None:
    """Set what generation needs to what the tokenizer says; what is stated goes before it."""
    settings = generation_settings(tokenizer) | dict(stated)
    own = network.generation_config.to_dict()
    for key in ("suppress_tokens", "begin_suppress_tokens"):
        if key not in stated and own.get(key):
            settings.pop(key)  # older checkpoints say it in their config.json
    settings["max_length"] = network.config.max_target_positions
    _set(network.generation_config, settings)


def _set(config: Any, settings: Mapping[str, Any]) -> None:
    """Set attributes of a generation configuration; its own `update` leaves out those that only Whisper has."""
    for key, value in settings.items():
        setattr(config, key, value)


def check_tokens(name: str, network: Any, tokenizer: Any) -> None:
    """Refuse a checkpoint whose prompt tokens are not stated, or not those of its tokenizer.

    A language that the tokenizer no longer has is no longer known to the model: its entry is taken out.
    """
    config = network.generation_config
    _check_size(name, network, tokenizer)
    _check_suppressed(name, config)
    needed = ["decoder_start_token_id", "eos_token_id", "no_timestamps_token_id"]
    languages = getattr(config, "lang_to_id", None)
    if not languages and getattr(config, "is_multilingual", None) is not False:
        needed += ["lang_to_id"] if is_multilingual(tokenizer) else []
    if languages or "lang_to_id" in needed:
        needed.append("task_to_id")
    lacking = [name for name in needed if getattr(config, name, None) in (None, {})]
    if lacking:
        raise UsageError(
            f"model '{name}': its {GENERATION} lacks {', '.join(lacking)}; copy the file of the checkpoint that it "
            "was fine-tuned from, or take the file away: then all follows from the tokenizer"
        )
    stated = {
        START: config.decoder_start_token_id,
        END: config.eos_token_id,
        NO_TIMES: config.no_timestamps_token_id,
        **(languages or {}),
    }
    known = tokenizer.get_vocab()
    for token, number in stated.items():
        _check_number(name, token, number)
        found = known.get(token)
        if token in (languages or {}) and found is None:
            continue
        if found not in (number if isinstance(number, list) else [number]):
            raise UsageError(
                f"model '{name}': {token} is {number} in {GENERATION} but {found} in its tokenizer; one of the two "
                "files is missing or of another model"
            )
    config.decoder_start_token_id = known[START]
    if languages:
        config.lang_to_id = {token: i for token, i in languages.items() if token in known}


def _check_number(name: str, token: str, stated: Any) -> None:
    """Refuse what is no id of a token, nor a list of ids: a text of digits looks like one in a message."""
    for number in stated if isinstance(stated, list) else [stated]:
        if isinstance(number, bool) or not isinstance(number, int):
            raise UsageError(
                f"model '{name}': {token} is {stated!r} in its settings of generation, which is no whole number; "
                "write the number without quotes"
            )


def _check_suppressed(name: str, config: Any) -> None:
    """Refuse lists of tokens that are never written where they are no lists of ids."""
    for key in ("suppress_tokens", "begin_suppress_tokens"):
        stated = getattr(config, key, None)
        if stated is not None and not isinstance(stated, list):
            raise UsageError(
                f"model '{name}': {key} in its settings of generation is {stated!r} and not a list of ids of tokens"
            )
        _check_number(name, key, stated or [])


def _check_size(name: str, network: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer with tokens that the network has no weights for."""
    rows = network.get_input_embeddings().num_embeddings
    if (largest := max(tokenizer.get_vocab().values())) >= rows:
        raise UsageError(
            f"model '{name}': its tokenizer has a token {largest}, but its weights only tokens up to {rows - 1}; the "
            "tokenizer is of another model"
        )
