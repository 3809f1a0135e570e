"""A Whisper network as files of other programs hold it: sizes and weights, under the names of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """settings: of `transformers.WhisperConfig`. weights: by the names of `WhisperForConditionalGeneration`."""

    settings: Mapping[str, Any]
    weights: dict[str, Tensor]


def whisper_settings(
    weights: Mapping[str, Tensor], encoder_heads: int, decoder_heads: int
) -> dict[str, Any]:
    """Return the sizes of a network, read from its weights; how many heads there are, no weight says."""
    vocabulary, width = weights["model.decoder.embed_tokens.weight"].shape
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "num_mel_bins": weights["model.encoder.conv1.weight"].shape[1],
        "max_source_positions": len(weights["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(weights["model.decoder.embed_positions.weight"]),
        "encoder_layers": _layers(weights, "encoder"),
        "decoder_layers": _layers(weights, "decoder"),
        "encoder_ffn_dim": len(weights["model.encoder.layers.0.fc1.bias"]),
        "decoder_ffn_dim": len(weights["model.decoder.layers.0.fc1.bias"]),
        "encoder_attention_heads": encoder_heads,
        "decoder_attention_heads": decoder_heads,
    }


def _layers(weights: Mapping[str, Tensor], side: str) -> int:
    start = f"model.{side}.layers."
    return len({name.split(".")[3] for name in weights if name.startswith(start)})
