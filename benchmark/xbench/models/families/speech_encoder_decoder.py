"""Speech encoders joined to text decoders: wav2vec 2.0, HuBERT or WavLM with the decoder of mBART or BART.

Raw waveform, convolutions of the encoder (stride 320 samples), where configured an adapter that shortens the sequence
again. `encode` ends with the encoder's output; a projection to the decoder's width belongs to the decoder. Decoders
with other module names (BERT) are refused when loading. What a checkpoint hears and writes it does not say.

Sources: Wu et al. 2021 (arXiv 2104.06678) in the implementation of transformers.
"""

from __future__ import annotations

from math import prod
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from xbench.errors import UsageError
from xbench.models.capture import Stack
from xbench.models.families.waveform import waveform_audio, waveform_inputs
from xbench.models.family import Audio, Family, Languages, Loaded, start_prompt
from xbench.models.loading import Location
from xbench.models.private import convolved_length
from xbench.models.seq2seq import Seq2SeqModel, load_family

_LONGEST = 30  # seconds: the networks have no window, their training segments were shorter
_PLAIN = frozenset({"wav2vec2", "hubert"})  # self-attention without relative positions


def _audio(loaded: Loaded) -> Audio:
    encoder, config = loaded.network.encoder, loaded.network.config.encoder
    adapter = config.adapter_stride**config.num_adapter_layers if _has_adapter(config) else 1
    hop = prod(config.conv_stride)

    def frames(samples: int) -> int:
        return max(0, convolved_length(encoder, samples))

    rate = loaded.extractor.sampling_rate
    return waveform_audio(hop, frames, _LONGEST * rate, stride=adapter)


def _has_adapter(config: Any) -> bool:
    return bool(getattr(config, "add_adapter", False))


def _decode(
    network: Any, ids: Int[Tensor, "batch position"], encoded: Float[Tensor, "batch frame dim"]
) -> Float[Tensor, "batch position width"]:
    if hasattr(network, "enc_to_dec_proj"):
        encoded = network.enc_to_dec_proj(encoded)
    states: Tensor = network.decoder.model.decoder(
        input_ids=ids, encoder_hidden_states=encoded, use_cache=False
    ).last_hidden_state
    return states


def _stacks(network: Any) -> dict[str, Stack]:
    body = getattr(getattr(network.decoder, "model", None), "decoder", None)
    layers = list(getattr(body, "layers", ()))
    if not layers or not hasattr(layers[0], "encoder_attn"):
        raise UsageError(
            f"a decoder of type '{network.config.decoder.model_type}' cannot be read; decoders with the modules "
            "of BART can (mbart, bart, trocr, speech_to_text_2)"
        )
    heads, config = network.config.decoder.decoder_attention_heads, network.config.encoder
    stacks = {
        "cross": Stack([layer.encoder_attn for layer in layers], heads),
        "decoder": Stack([layer.self_attn for layer in layers], heads, causal=True),
    }
    if config.model_type in _PLAIN and not _has_adapter(config):
        own = [layer.attention for layer in network.encoder.encoder.layers]
        stacks["encoder"] = Stack(own, config.num_attention_heads)
    return stacks


FAMILY = Family(
    name="speech-encoder-decoder",
    architecture="SpeechEncoderDecoderModel",
    processor="",
    languages=lambda loaded: Languages(None, lambda source: None),
    prompt=lambda loaded, source, target: start_prompt(loaded.network),
    audio=_audio,
    inputs=waveform_inputs,
    encode=lambda loaded, values: loaded.network.encoder(values.flatten(1)).last_hidden_state,
    decode=_decode,
    read_out=lambda network, states: network.decoder.get_output_embeddings()(states),
    stacks=_stacks,
    positions=lambda network: network.config.decoder.max_position_embeddings,
    spectrogram=False,
    lacking={
        "encoder": "its encoder has relative positions or an adapter that changes the number of frames, so its "
        "attention cannot be composed with cross-attention"
    },
    padding="the positional convolution of its encoder, and a group norm where it has one, see the padding",
)


def load(location: Location, **options: Any) -> Seq2SeqModel:
    """Load a SpeechEncoderDecoder checkpoint from a folder or the hub."""
    return load_family(FAMILY, location, **options)
