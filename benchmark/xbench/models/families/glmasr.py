"""The GLM-ASR family: a Whisper encoder with rotary positions, every four frames joined, then a Llama language model.

12.5 audio positions a second, those of padding left out of the prompt. The encoder reads whole windows of 30 s and
hides no padding, so it hears the silence behind a clip.

Source: Z.ai's GLM-ASR in the implementation of transformers.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from xbench.models.audio_prefix import AudioPrefixModel
from xbench.models.families.log_mel import (
    MARGIN,
    filled,
    in_windows,
    log_mel,
    window_of,
)
from xbench.models.families.requests import AUDIO, chat_prompt
from xbench.models.family import Languages, Loaded, PrefixFamily, valid_mask
from xbench.models.loading import Location
from xbench.models.prefix_loading import load_prefix_family

_JOINED = 4  # encoder frames per position
_LONGEST = (
    655  # seconds: what fits into the language model, as the processor of the checkpoint has it
)
_REQUEST = "Please transcribe this audio into text"
_LANGUAGES = ("en", "yue", "zh")


def _positions(melframes: int) -> int:
    encoded = (melframes - 1) // 2 + 1
    return (encoded - _JOINED) // _JOINED + 1


def _embed(loaded: Loaded, values: Float[Tensor, "batch melframe mel"]) -> Tensor:
    model, width = loaded.network.model, loaded.network.config.audio_config.intermediate_size
    encoded = model.audio_tower(in_windows(loaded, filled(loaded, values))).last_hidden_state
    joined = encoded.reshape(len(values), -1, width)[:, : _positions(values.shape[1] - MARGIN)]
    embedded: Tensor = model.multi_modal_projector(joined)
    return embedded


def _inputs(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    window = filled(loaded, values, lengths)
    mask = valid_mask(lengths - MARGIN, window.shape[1])
    return {
        "input_features": in_windows(loaded, window),
        "input_features_mask": mask.unflatten(1, (-1, window_of(loaded))).flatten(0, 1),
    }


def _prompt(loaded: Loaded, source: str, target: str | None, positions: int) -> tuple[int, ...]:
    content = [AUDIO, {"type": "text", "text": _REQUEST}]
    token = loaded.network.config.audio_token_id
    return chat_prompt(loaded, [{"role": "user", "content": content}], token, positions)


FAMILY = PrefixFamily(
    name="glmasr",
    architecture="GlmAsrForConditionalGeneration",
    processor="AutoProcessor",
    languages=lambda loaded: Languages(_LANGUAGES),
    prompt=_prompt,
    audio_token=lambda loaded: loaded.network.config.audio_token_id,
    audio=log_mel(
        2 * _JOINED, _positions, lambda loaded: _LONGEST * loaded.extractor.sampling_rate
    ),
    embed=_embed,
    inputs=_inputs,
)


def load(location: Location, **options: Any) -> AudioPrefixModel:
    """Load a GLM-ASR checkpoint from a folder or the hub."""
    return load_prefix_family(FAMILY, location, **options)
