"""What a checkpoint's config.json says of its architecture, and why that may have nothing to explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xbench import registry
from xbench.errors import UsageError
from xbench.models.loading import Location

_DECODER_ONLY = frozenset(
    {
        "audioflamingo3",
        "gemma3n",
        "gemma4",
        "gemma4_unified",
        "glmasr",
        "granite_speech",
        "granite_speech_plus",
        "kyutai_speech_to_text",
        "musicflamingo",
        "phi4_multimodal",
        "qwen2_5_omni",
        "qwen2_audio",
        "qwen3_asr",
        "qwen3_omni_moe",
        "vibevoice_asr",
        "voxtral",
        "voxtral_realtime",
    }
)
_TRANSDUCERS = ("ForTDT", "ForRNNT", "ForTransducer")


def check_config(location: Location, settings: Mapping[str, Any], model_type: str | None) -> None:
    """Refuse a configuration of another architecture (None: any); say why where no family could ever load it."""
    found = settings.get("model_type")
    if found == model_type:
        return
    why = _without_cross_attention(settings)
    if why is None and model_type is None:
        return
    why = why or f"'{location.family}:' loads '{model_type}'"
    if found in registry.models.names():
        hint = f"use --model {found}:..."
    else:
        hint = "`xbench list models` has models and families that can be explained"
    raise UsageError(
        f"model '{location.name}': its configuration says model_type '{found}', but {why}; {hint}"
    )


def _without_cross_attention(settings: Mapping[str, Any]) -> str | None:
    """Say why a model of this configuration has no cross-attention from text to audio, if it has none."""
    architecture = str((settings.get("architectures") or [""])[0])
    if architecture.endswith("ForCTC"):
        return "it is a CTC model: without a decoder there is no cross-attention to explain"
    if architecture.endswith(_TRANSDUCERS):
        return "it is a transducer: its predictor does not attend to the encoder"
    if settings.get("model_type") in _DECODER_ONLY or architecture.endswith("ForCausalLM"):
        return (
            "it is a decoder-only model: audio enters as a prefix of its self-attention, so there is no "
            "cross-attention to explain"
        )
    return None
