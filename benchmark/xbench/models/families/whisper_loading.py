"""Loading Whisper checkpoints, and what is refused of them: tokens that are not those of their tokenizer."""

from __future__ import annotations

from typing import Any

import torch

from xbench.errors import UsageError
from xbench.models.families.whisper import STRIDE, WhisperModel
from xbench.models.loading import (
    Location,
    check_weights,
    checked,
    explained,
    revision_of,
)
from xbench.models.masked_attention import NAME as MASKED_FRAMES
from xbench.models.protocol import ModelInfo


def load(
    location: Location, *, device: str, precision: str, trust_remote_code: bool
) -> WhisperModel:
    """Load a Whisper checkpoint from a folder or the hub: safetensors only, complete weights only."""
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    location = checked(location, "whisper")
    arguments: dict[str, Any] = {
        "revision": location.revision or "main",
        "trust_remote_code": trust_remote_code,
    }
    with explained(location):
        network, loading = WhisperForConditionalGeneration.from_pretrained(
            location.target,
            dtype=getattr(torch, precision),
            use_safetensors=True,
            attn_implementation=MASKED_FRAMES,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `check_weights` refuses them, and names one
            **arguments,
        )
        processor = WhisperProcessor.from_pretrained(location.target, **arguments)
    check_weights(location, loading)
    _check_tokens(location, network.generation_config, processor.tokenizer)
    config, extractor = network.config, processor.feature_extractor
    if extractor.nb_max_frames != STRIDE * config.max_source_positions:
        raise UsageError(
            f"model '{location.name}': the feature extractor makes {extractor.nb_max_frames} frames, "
            f"the encoder takes {STRIDE * config.max_source_positions}"
        )
    network = network.to(device).eval().requires_grad_(False)
    return WhisperModel(
        network=network,
        extractor=extractor,
        tokenizer=processor.tokenizer,
        info=ModelInfo(
            name=location.name,
            family="whisper",
            source=location.source,
            revision=revision_of(location),
            architecture=type(network).__name__,
            n_parameters=sum(p.numel() for p in network.parameters()),
            precision=precision,
            device=device,
            sampling_rate=extractor.sampling_rate,
            max_samples=extractor.n_samples,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            heads=config.decoder_attention_heads,
            remote_code=trust_remote_code,
            alignment_heads=_alignment_heads(location, network.generation_config),
        ),
    )


def _alignment_heads(location: Location, config: Any) -> tuple[tuple[int, int], ...]:
    """Return the published (layer, head) pairs; an empty tuple where there are none."""
    stated = getattr(config, "alignment_heads", None) or ()
    try:
        return tuple((int(layer), int(head)) for layer, head in stated)
    except (TypeError, ValueError):
        raise UsageError(
            f"model '{location.name}': alignment_heads in its generation_config.json is not a list of "
            "[layer, head] pairs"
        ) from None


def _check_tokens(location: Location, config: Any, tokenizer: Any) -> None:
    """Refuse a checkpoint whose prompt tokens are not stated, or not those of its tokenizer."""
    needed = ["decoder_start_token_id", "eos_token_id", "no_timestamps_token_id"]
    if getattr(config, "lang_to_id", None):
        needed.append("task_to_id")
    lacking = [name for name in needed if getattr(config, name, None) is None]
    if lacking:
        raise UsageError(
            f"model '{location.name}': its generation_config.json lacks {', '.join(lacking)}; copy the file "
            "of the checkpoint that it was fine-tuned from"
        )
    stated = {
        "<|startoftranscript|>": config.decoder_start_token_id,
        "<|endoftext|>": config.eos_token_id,
        "<|notimestamps|>": config.no_timestamps_token_id,
        **(getattr(config, "lang_to_id", None) or {}),
    }
    for token, number in stated.items():
        found = tokenizer.convert_tokens_to_ids(token)
        if found != number:
            raise UsageError(
                f"model '{location.name}': {token} is {number} in generation_config.json but {found} in its "
                "tokenizer; one of the two files is missing or of another model"
            )
