"""The Moonshine streaming family: raw waveform in pieces of 80 samples, causal convolutions, sliding windows.

Encoder frame j ends with piece 4 j (both convolutions look back). The sliding windows apply only where the network is
given an attention mask, so it always is; its decoder adds positions to the encoder output in place, so it gets a copy.

Source: the implementation of transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.models.capture import Seen, Stack
from xbench.models.families.moonshine import decoder_stacks
from xbench.models.families.waveform import waveform_audio
from xbench.models.family import Audio, Family, Languages, Loaded, start_token, valid_mask
from xbench.models.loading import Location
from xbench.models.seq2seq import Seq2SeqModel, load_family

_STRIDE = 4
_LONGEST = 30  # seconds, as for the other Moonshine models


def _piece(loaded: Loaded) -> int:
    encoder = loaded.network.config.encoder_config
    piece: int = round(encoder.sample_rate * encoder.frame_ms / 1000)
    return piece


def _audio(loaded: Loaded) -> Audio:
    piece, rate = _piece(loaded), loaded.network.config.encoder_config.sample_rate
    return waveform_audio(
        piece, lambda samples: -(-samples // piece // _STRIDE), _LONGEST * rate, stride=_STRIDE
    )


def _inputs(loaded: Loaded, values: Tensor, lengths: Tensor) -> dict[str, Any]:
    waveforms = values.flatten(1)
    mask = valid_mask(lengths * values.shape[2], waveforms.shape[1])
    return {"input_values": waveforms, "attention_mask": mask}


def _encode(
    loaded: Loaded, values: Float[Tensor, "batch piece sample"]
) -> Float[Tensor, "batch frame dim"]:
    waveforms = values.flatten(1)
    everything = torch.ones_like(waveforms, dtype=torch.long)
    states: Tensor = loaded.network.model.encoder(
        waveforms, attention_mask=everything
    ).last_hidden_state
    return states


def _windowed(
    module: Any, query: Tensor, key: Tensor, seen: Seen
) -> tuple[Tensor, Tensor, Tensor | None]:
    mask = seen["attention_mask"][0]
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, float("-inf"))
    return query, key, mask


def _stacks(network: Any) -> dict[str, Stack]:
    layers = list(network.model.encoder.layers)
    own = Stack(
        [layer.self_attn for layer in layers],
        network.config.encoder_config.num_attention_heads,
        output="o_proj",
        positions=_windowed,
    )
    return {**decoder_stacks(network.model.decoder, network.config), "encoder": own}


FAMILY = Family(
    name="moonshine_streaming",
    architecture="MoonshineStreamingForConditionalGeneration",
    processor="MoonshineStreamingProcessor",
    languages=lambda loaded: Languages(None),
    prompt=lambda loaded, source, target: (start_token(loaded.network),),
    audio=_audio,
    inputs=_inputs,
    encode=_encode,
    decode=lambda network, ids, encoded: (
        network.model.decoder(
            input_ids=ids, encoder_hidden_states=encoded.clone(), use_cache=False
        ).last_hidden_state
    ),
    read_out=lambda network, states: network.proj_out(states),
    stacks=_stacks,
    positions=lambda network: network.config.max_position_embeddings,
    spectrogram=False,
    padding="its convolutions count a padded frame as audio while their kernel still reaches back to some, so a padded "
    "row has more frames than the utterance alone",
)


def load(location: Location, **options: Any) -> Seq2SeqModel:
    """Load a Moonshine streaming checkpoint from a folder or the hub."""
    return load_family(FAMILY, location, **options)
