"""SpeechT5 for speech recognition: raw waveform, wav2vec-style convolutions (stride 320 samples), post-LN.

Encoder frame j sees 400 samples from 320 j on. Encoder self-attention adds relative positions to its scores,
(scale q_i) . r_(i - j). Checkpoints are English and say so nowhere, so the language is the user's word.

Sources: Ao et al. 2022 (arXiv 2110.07205) in the implementation of transformers.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from xbench.models.capture import Seen, Stack
from xbench.models.families.waveform import convolved, waveform_audio, waveform_inputs
from xbench.models.family import Audio, Family, Languages, Loaded, start_token
from xbench.models.loading import Location
from xbench.models.seq2seq import Seq2SeqModel, load_family


def _audio(loaded: Loaded) -> Audio:
    config = loaded.network.config
    layers = list(zip(config.conv_kernel, config.conv_stride, strict=True))
    hop = prod(config.conv_stride)
    return waveform_audio(hop, convolved(layers), hop * config.max_speech_positions)


def _relative(
    module: Any, query: Tensor, key: Tensor, seen: Seen
) -> tuple[Tensor, Tensor, Tensor | None]:
    relative = seen["position_bias"]  # [position, source, channel]
    return query, key, module.scaling * torch.einsum("hic,ijc->hij", query, relative)


def _stacks(network: Any) -> dict[str, Stack]:
    config = network.config
    decoder = list(network.speecht5.decoder.wrapped_decoder.layers)
    encoder = list(network.speecht5.encoder.wrapped_encoder.layers)
    heads = config.decoder_attention_heads
    return {
        "cross": Stack([layer.encoder_attn for layer in decoder], heads),
        "decoder": Stack([layer.self_attn for layer in decoder], heads, causal=True),
        "encoder": Stack(
            [layer.attention for layer in encoder],
            config.encoder_attention_heads,
            positions=_relative,
        ),
    }


FAMILY = Family(
    name="speecht5",
    architecture="SpeechT5ForSpeechToText",
    processor="SpeechT5Processor",
    languages=lambda loaded: Languages(None),
    prompt=lambda loaded, source, target: (start_token(loaded.network),),
    audio=_audio,
    inputs=waveform_inputs,
    encode=lambda loaded, values: (
        loaded.network.speecht5.encoder(values.flatten(1)).last_hidden_state
    ),
    decode=lambda network, ids, encoded: (
        network.speecht5.decoder(
            input_values=ids, encoder_hidden_states=encoded, use_cache=False
        ).last_hidden_state
    ),
    read_out=lambda network, states: network.text_decoder_postnet(states),
    stacks=_stacks,
    positions=lambda network: network.config.max_text_positions,
    spectrogram=False,
    padding="its first convolution is followed by a group norm over all samples, and its positional convolution "
    "sees the padding",
)


def load(location: Location, **options: Any) -> Seq2SeqModel:
    """Load a SpeechT5 speech recognition checkpoint from a folder or the hub."""
    return load_family(FAMILY, location, **options)
