"""The speech-to-text part of SeamlessM4T (both versions): filterbanks, Conformer, adapter (stride 8), Transformer.

The filterbanks of two frames are stacked before the encoder and the adapter takes every eighth, so encoder frame j is
centred on filterbank frame 16 j. An odd last frame is dropped, as the network masks it. The prompt is the start token
and the target language; for transcription that is the spoken one.

Sources: Seamless Communication 2023 (arXiv 2308.11596, 2312.05187) in the implementation of transformers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float, Int
from torch import Tensor

from xbench.models.capture import NormNames, Stack, feed_forward, pre_norms
from xbench.models.family import Audio, Family, Languages, Loaded, start_token, valid_mask
from xbench.models.loading import Location
from xbench.models.seq2seq import Seq2SeqModel, load_family

_HOP = 160
_SHORTEST = 400 + _HOP  # samples: two windows, of which the variance is taken
_LANGUAGE = re.compile(r"__[a-z]{3}(_[A-Z][a-z]+)?__")


@cache
def _three_letters() -> dict[str, str]:
    """Return the ISO 639-3 code, as Seamless writes it, of each ISO 639-1 code."""
    text = files("xbench.models.families").joinpath("iso639.yaml").read_text("utf-8")
    return dict(yaml.safe_load(text))


def _tokens(loaded: Loaded) -> dict[str, int]:
    """Return the token of every language by both of its codes."""
    vocabulary = loaded.tokenizer.get_vocab()
    by_code = {t.strip("_"): n for t, n in vocabulary.items() if _LANGUAGE.fullmatch(t)}
    short = {s: by_code[long] for s, long in _three_letters().items() if long in by_code}
    return {**by_code, **short}


def _languages(loaded: Loaded) -> Languages:
    known = _tokens(loaded)
    return Languages(known, lambda source: known)


def _prompt(loaded: Loaded, source: str, target: str | None) -> tuple[int, ...]:
    return (start_token(loaded.network), _tokens(loaded)[target or source])


def _extract(loaded: Loaded, audio: np.ndarray) -> Float[Tensor, "melframe mel"]:
    extractor = loaded.extractor
    if len(audio) < _SHORTEST:
        return torch.zeros(0, extractor.num_mel_bins)
    found = extractor(audio, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    whole = found.input_features[0][found.attention_mask[0].bool()]
    unstacked: Tensor = whole.reshape(len(whole) * extractor.stride, -1)
    return unstacked


def _stacked(loaded: Loaded, values: Float[Tensor, "batch melframe mel"]) -> Tensor:
    return values.unflatten(1, (-1, loaded.extractor.stride)).flatten(2)


def _audio(loaded: Loaded) -> Audio:
    config, stacked = loaded.network.config, loaded.extractor.stride

    def frames(melframes: int) -> int:
        count = melframes // stacked
        for _ in range(config.num_adapter_layers):
            padding = 2 * (config.adaptor_stride // 2)
            count = (count + padding - config.adaptor_kernel_size) // config.adaptor_stride + 1
        return count if melframes >= stacked else 0

    stride = stacked * config.adaptor_stride**config.num_adapter_layers
    return Audio(_extract, _HOP, stride, frames, config.max_source_positions * stacked * _HOP)


def _inputs(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    stacked = _stacked(loaded, values)
    mask = valid_mask(lengths // loaded.extractor.stride, stacked.shape[1])
    return {"input_features": stacked, "attention_mask": mask}


def _stacks(network: Any) -> dict[str, Stack]:
    decoder = network.text_decoder
    layers = list(decoder.layers)

    def rest(layer: Any) -> Callable[[Tensor], Tensor]:
        return feed_forward(layer.ffn_layer_norm, layer.ffn.fc1, layer.ffn.fc2, layer.ffn.act)

    names = NormNames("self_attn_layer_norm", "ffn_layer_norm", "cross_attention_layer_norm")
    around = pre_norms(layers, decoder.layer_norm, names, rest)
    heads = network.config.decoder_attention_heads
    return {
        "cross": Stack([layer.cross_attention for layer in layers], heads, streams=around["cross"]),
        "decoder": Stack(
            [layer.self_attn for layer in layers], heads, causal=True, streams=around["own"]
        ),
    }


def family(name: str, architecture: str) -> Family:
    """Return the family of one version: both differ in weights and positions only."""
    return Family(
        name=name,
        architecture=architecture,
        processor="SeamlessM4TProcessor",
        languages=_languages,
        prompt=_prompt,
        audio=_audio,
        inputs=_inputs,
        encode=lambda loaded, values: (
            loaded.network.speech_encoder(_stacked(loaded, values)).last_hidden_state
        ),
        decode=lambda network, ids, encoded: (
            network.text_decoder(
                input_ids=ids, encoder_hidden_states=encoded, use_cache=False
            ).last_hidden_state
        ),
        read_out=lambda network, states: network.lm_head(states),
        stacks=_stacks,
        positions=lambda network: network.config.max_position_embeddings,
        lacking={
            "encoder": "an adapter behind its Conformer keeps every eighth frame, so encoder attention has other "
            "frames than cross-attention"
        },
        padding="its adapter's convolutions read padded frames at the end of a shorter row",
    )


FAMILY = family("seamless_m4t", "SeamlessM4TForSpeechToText")


def load(location: Location, **options: Any) -> Seq2SeqModel:
    """Load the speech-to-text part of a SeamlessM4T checkpoint from a folder or the hub."""
    return load_family(FAMILY, location, **options)
