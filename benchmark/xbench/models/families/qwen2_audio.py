"""The Qwen2-Audio family: Whisper's encoder, every two frames averaged, then a Qwen2 language model.

25 audio positions a second. Padding is hidden from the encoder's attention, so it is left out here: the encoder runs
on valid frames, and on the margin behind them that its convolutions see.

Source: Chu et al. 2024, arXiv 2407.10759, in the implementation of transformers.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import gelu

from xbench.models.audio_prefix import AudioPrefixModel
from xbench.models.families.log_mel import MARGIN, filled, log_mel, window_of
from xbench.models.families.requests import AUDIO, Conversation, chat_prompt, named, translating
from xbench.models.family import Languages, Loaded, PrefixFamily, valid_mask
from xbench.models.loading import Location
from xbench.models.prefix_loading import load_prefix_family

_SPOKEN = ("de", "en", "es", "fr", "it", "ja", "ko", "yue", "zh")
_TARGETS = ("de", "en", "es", "fr", "it", "ja", "zh")


def _halved(melframes: int) -> int:
    return (melframes - 1) // 2 + 1


def _positions(melframes: int) -> int:
    return (_halved(melframes) - 2) // 2 + 1


def encoder_frames(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"]
) -> Float[Tensor, "batch encoderframe dim"]:
    """Return the frames of the audio encoder, 50 a second, before two of them are averaged."""
    encoder, valid = loaded.network.model.audio_tower, _halved(values.shape[1] - MARGIN)
    heard = values[:, : window_of(loaded)].transpose(1, 2)
    states = gelu(encoder.conv2(gelu(encoder.conv1(heard)))).transpose(1, 2)[:, :valid]
    states = states + encoder.embed_positions.weight[:valid]
    for layer in encoder.layers:
        states = layer(states, None)
    return states


def joined(
    loaded: Loaded, frames: Float[Tensor, "batch encoderframe dim"]
) -> Float[Tensor, "batch frame dim"]:
    """Return what stands at the audio positions: two frames averaged, normalised and projected."""
    model = loaded.network.model
    averaged = model.audio_tower.avg_pooler(frames.transpose(1, 2)).transpose(1, 2)
    embedded: Tensor = model.multi_modal_projector(model.audio_tower.layer_norm(averaged))
    return embedded


def _inputs(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    window = filled(loaded, values, lengths)
    return {
        "input_features": window.transpose(1, 2),
        "feature_attention_mask": valid_mask(lengths - MARGIN, window.shape[1]),
    }


def request(source: str, target: str | None) -> str:
    """Return what the model is asked for a language and a task."""
    return (
        f"Transcribe the {named(source)} speech into text without any explanation."
        if target is None
        else f"Translate the {named(source)} speech into {named(target)} without any explanation."
    )


def conversation(source: str, target: str | None) -> Conversation:
    """Return the request behind a slot for audio."""
    text = {"type": "text", "text": request(source, target)}
    return [{"role": "user", "content": [AUDIO, text]}]


def _languages(loaded: Loaded) -> Languages:
    """Return those of the published models; where whole requests are tokens, those that these name.

    A tokenizer holds a whole request as one token where the model learned no other, as xbench-tiny-lm did.
    """
    tokens = loaded.tokenizer.get_added_vocab()

    def asked(source: str) -> list[str]:
        return [code for code in _TARGETS if request(source, code) in tokens]

    spoken = [code for code in _SPOKEN if request(code, None) in tokens]
    return Languages(spoken, asked) if spoken else translating(_SPOKEN, _TARGETS)


def _prompt(loaded: Loaded, source: str, target: str | None, positions: int) -> tuple[int, ...]:
    return chat_prompt(loaded, conversation(source, target), _token(loaded), positions)


def _token(loaded: Loaded) -> int:
    token: int = loaded.network.config.audio_token_id
    return token


FAMILY = PrefixFamily(
    name="qwen2_audio",
    architecture="Qwen2AudioForConditionalGeneration",
    processor="AutoProcessor",
    languages=_languages,
    prompt=_prompt,
    audio_token=_token,
    audio=log_mel(4, _positions, lambda loaded: loaded.extractor.n_samples),
    embed=lambda loaded, values: joined(loaded, encoder_frames(loaded, values)),
    inputs=_inputs,
)


def load(location: Location, **options: Any) -> AudioPrefixModel:
    """Load a Qwen2-Audio checkpoint from a folder or the hub."""
    return load_prefix_family(FAMILY, location, **options)
