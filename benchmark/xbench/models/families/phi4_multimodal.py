"""The Phi-4-multimodal family: a Conformer whose frames stand among the text of a Phi-4-mini language model.

12.5 audio positions a second: eight melframes, 80 ms, each. Its queries, keys and values come out of one projection.

The language model serves text, pictures and speech, each of the latter two with a LoRA adapter of its own; that for
speech lies in the folder `speech-lora` of a checkpoint and is merged here. Where there is no such folder, the weights
are taken as they are. Only checkpoints in the layout of transformers load; the first published one brings its own code.

Source: Microsoft 2025, arXiv 2503.01743, in the implementation of transformers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import gelu
from transformers import AutoTokenizer, Phi4MultimodalFeatureExtractor

from xbench.models.audio_prefix import AudioPrefixModel
from xbench.models.families.requests import into_or_from_english, named, request_behind_slot
from xbench.models.family import Audio, Loaded, PrefixFamily, valid_mask
from xbench.models.loading import Location
from xbench.models.prefix_loading import load_prefix_family

_STRIDE = 8  # melframes per position
_LONGEST = 40  # seconds: what its encoder reads as one piece, in which it was trained to transcribe
_SPOKEN = ("de", "en", "es", "fr", "it", "ja", "pt", "zh")


def _parts(target: str, arguments: dict[str, Any]) -> tuple[Any, Any, None]:
    """Read the extractor of features and the tokenizer; the processor of transformers asks for pictures too."""
    extractor = Phi4MultimodalFeatureExtractor.from_pretrained(target, **arguments)
    return extractor, AutoTokenizer.from_pretrained(target, **arguments), None


def _extract(loaded: Loaded, audio: np.ndarray) -> Float[Tensor, "melframe mel"]:
    """Return no melframe for a clip that is shorter than a window."""
    extractor = loaded.extractor
    if len(audio) < extractor.win_length:
        return torch.empty(0, extractor.feature_size)
    made = extractor(audio, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    features: Tensor = made["audio_input_features"][0]
    return features


def _positions(melframes: int) -> int:
    return -(-melframes // _STRIDE)


def _audio(loaded: Loaded) -> Audio:
    extractor = loaded.extractor
    limit = _LONGEST * extractor.sampling_rate
    return Audio(_extract, extractor.hop_length, _STRIDE, _positions, limit)


def _embed(loaded: Loaded, values: Float[Tensor, "batch melframe mel"]) -> Tensor:
    audio = loaded.network.model.embed_tokens_extend.audio_embed
    embedded: Tensor = audio.down_proj_for_speech(
        gelu(audio.up_proj_for_speech(audio.encoder(values, None)))
    )
    return embedded


def _inputs(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    return {
        "audio_input_features": values,
        "audio_embed_sizes": -(-lengths // _STRIDE),
        "audio_attention_mask": valid_mask(lengths, values.shape[1]),
    }


def _prompt(loaded: Loaded, source: str, target: str | None, positions: int) -> tuple[int, ...]:
    request = (
        "Transcribe the audio clip into text."
        if target is None
        else f"Translate the audio to {named(target)}."
    )
    return request_behind_slot(loaded, request, _token(loaded), positions)


def _token(loaded: Loaded) -> int:
    token: int = loaded.network.config.audio_config.audio_token_id
    return token


FAMILY = PrefixFamily(
    name="phi4_multimodal",
    architecture="Phi4MultimodalForCausalLM",
    processor="",
    languages=lambda loaded: into_or_from_english(_SPOKEN),
    prompt=_prompt,
    audio_token=_token,
    audio=_audio,
    embed=_embed,
    inputs=_inputs,
    padding="its encoder reads the padding of a batch row as audio",
    parts=_parts,
)


def load(location: Location, **options: Any) -> AudioPrefixModel:
    """Load a Phi-4-multimodal checkpoint from a folder or the hub."""
    return load_prefix_family(FAMILY, location, **options)
