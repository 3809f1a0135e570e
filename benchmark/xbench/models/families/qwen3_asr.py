"""The Qwen3-ASR family: chunks of one second through convolutions and a Transformer, then a Qwen3 language model.

A chunk of 100 melframes gives 13 audio positions, 8 melframes apart but for the last, which has 4: 13 positions a
second. They are taken as evenly spaced here, so a position is told at most 40 ms before its time.

Source: the Qwen team's Qwen3-ASR in the implementation of transformers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xbench.models.audio_prefix import AudioPrefixModel
from xbench.models.families.requests import AUDIO, chat_prompt, language_names, named
from xbench.models.family import Audio, Languages, Loaded, PrefixFamily, valid_mask
from xbench.models.loading import Location
from xbench.models.prefix_loading import load_prefix_family

_CHUNK, _POSITIONS = 100, 13
_LONGEST = 1200  # seconds, as the authors' own code takes at once
# Of the languages that a request may name, those that Qwen3-ASR was not trained on.
_UNKNOWN = frozenset({"bg", "ca", "cy", "et", "lv", "mn", "sl", "ta"})


def _positions(melframes: int) -> int:
    rest = melframes % _CHUNK
    return melframes // _CHUNK * _POSITIONS + -(-rest // 8)


def _audio(loaded: Loaded) -> Audio:
    extractor = loaded.extractor

    def extract(loaded: Loaded, audio: np.ndarray) -> Float[Tensor, "melframe mel"]:
        found = extractor(
            audio, sampling_rate=extractor.sampling_rate, padding="longest", n_window=0
        )
        # Clips of less than half a second are filled up with silence, which the model hears; no cell is hidden there.
        return torch.as_tensor(found["input_features"][0]).T

    hop, rate = extractor.hop_length, extractor.sampling_rate
    return Audio(extract, hop, _CHUNK / _POSITIONS, _positions, _LONGEST * rate, padded=True)


def _inputs(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    chunk = 2 * loaded.network.config.audio_config.n_window
    filled = torch.nn.functional.pad(values, (0, 0, 0, -values.shape[1] % chunk))
    mask = valid_mask(lengths, filled.shape[1])
    return {
        "input_features": (filled * mask[..., None]).transpose(1, 2),
        "input_features_mask": mask,
    }


def _embed(loaded: Loaded, values: Float[Tensor, "batch melframe mel"]) -> Tensor:
    lengths = torch.full((len(values),), values.shape[1], device=values.device)
    packed: Tensor = loaded.network.get_audio_features(
        **_inputs(loaded, values, lengths)
    ).pooler_output
    return packed.view(len(values), -1, packed.shape[-1])


def _prompt(loaded: Loaded, source: str, target: str | None, positions: int) -> tuple[int, ...]:
    conversation = [{"role": "user", "content": [AUDIO]}]
    answer = f"language {named(source)}<asr_text>"
    token = loaded.network.config.audio_token_id
    return chat_prompt(loaded, conversation, token, positions, answer)


FAMILY = PrefixFamily(
    name="qwen3_asr",
    architecture="Qwen3ASRForConditionalGeneration",
    processor="AutoProcessor",
    languages=lambda loaded: Languages(language_names().keys() - _UNKNOWN),
    prompt=_prompt,
    audio_token=lambda loaded: loaded.network.config.audio_token_id,
    audio=_audio,
    embed=_embed,
    inputs=_inputs,
)


def load(location: Location, **options: Any) -> AudioPrefixModel:
    """Load a Qwen3-ASR checkpoint from a folder or the hub."""
    return load_prefix_family(FAMILY, location, **options)
