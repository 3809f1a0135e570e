"""What a checkpoint's config.json says of its architecture, and why that may have nothing to explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xbench import registry
from xbench.errors import UsageError
from xbench.models.loading import Location

# Decoder-only models of which no family here reads the audio, by `model_type`: why.
_STEP_BY_STEP = (
    "it adds audio to the embeddings of its text step by step: no audio positions stand before the text, and a map "
    "of tokens by positions has no meaning"
)
_INTERLEAVED = (
    "it is a decoder-only model whose audio may stand among pictures and speech that it writes, which no family of "
    "xbench reads"
)
_UNREAD = "it is a decoder-only model, which no family of xbench reads yet"
_DECODER_ONLY: Mapping[str, str] = {
    "audioflamingo3": _UNREAD,
    "fun_asr_nano": _UNREAD,
    "gemma3n": (
        "it is a decoder-only model whose layers read embeddings of their own of every token and share keys and "
        "values, so hiding an audio position is not defined for it yet"
    ),
    "gemma4": _INTERLEAVED,
    "gemma4_unified": _INTERLEAVED,
    "granite_speech_plus": _UNREAD,
    "kyutai_speech_to_text": _STEP_BY_STEP,
    "musicflamingo": _UNREAD,
    "qwen2_5_omni": _INTERLEAVED,
    "qwen3_omni_moe": _INTERLEAVED,
    "vibevoice_asr": _UNREAD,
    "voxtral_realtime": _STEP_BY_STEP,
}
_OWN_CODE = (
    "its code comes with the checkpoint (auto_map): a family has to be written for it, and --trust-remote-code alone "
    "would not tell what it attends to"
)
_TRANSDUCERS = ("ForTDT", "ForRNNT", "ForTransducer")


def check_config(location: Location, settings: Mapping[str, Any], model_type: str | None) -> None:
    """Refuse a configuration of another architecture (None: any); say why where no family could ever load it."""
    found = settings.get("model_type")
    if found == model_type:
        return
    known = found in registry.models.names()
    why = _unexplained(settings)
    if model_type is not None and not known and "auto_map" in settings:
        why = _OWN_CODE
    if why is None and model_type is None:
        return
    why = why or f"'{location.family}:' loads '{model_type}'"
    hint = (
        f"use --model {found}:..."
        if known
        else "`xbench list models` has models and families that can be explained"
    )
    raise UsageError(
        f"model '{location.name}': its configuration says model_type '{found}', but {why}; {hint}"
    )


def _unexplained(settings: Mapping[str, Any]) -> str | None:
    """Say why a model of this configuration has no attention from text to audio, or none that is read here."""
    architecture = str((settings.get("architectures") or [""])[0])
    if architecture.endswith("ForCTC"):
        return (
            "it is a CTC model: without a decoder no text attends to audio; what it offers are the times at which it "
            "emits each token"
        )
    if architecture.endswith(_TRANSDUCERS):
        return (
            "it is a transducer: its predictor does not attend to the encoder; what it offers are the times at which "
            "it emits each token"
        )
    if why := _DECODER_ONLY.get(str(settings.get("model_type"))):
        return why
    if architecture.endswith("ForCausalLM"):
        return "it is a language model of text alone: there are no audio positions to explain"
    return None
