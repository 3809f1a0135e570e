"""Loading Whisper checkpoints, and what is refused of them."""

from __future__ import annotations

from typing import Any

from xbench.errors import UsageError
from xbench.models.checkpoint import checked
from xbench.models.families.whisper import STRIDE, WhisperModel
from xbench.models.families.whisper_opening import check_tokens, open_checkpoint
from xbench.models.loading import Location, check_finite
from xbench.models.protocol import ModelInfo


def load(
    location: Location, *, device: str, precision: str, trust_remote_code: bool
) -> WhisperModel:
    """Load a Whisper checkpoint, in any format of `xbench.models.formats`, or from the hub: complete weights only."""
    found = checked(location, "whisper")
    location = found.location
    opened = open_checkpoint(found, precision, trust_remote_code=trust_remote_code)
    network, extractor = opened.network, opened.extractor
    check_finite(location, network)
    check_tokens(location.name, network, opened.tokenizer)
    _check_features(location, network.config, extractor)
    config = network.config
    network = network.to(device).eval().requires_grad_(False)
    return WhisperModel(
        network=network,
        extractor=extractor,
        tokenizer=opened.tokenizer,
        info=ModelInfo(
            name=location.name,
            family="whisper",
            source=location.source,
            revision=found.revision,
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
            format=found.format,
            base=found.base_name,
        ),
    )


def _check_features(location: Location, config: Any, extractor: Any) -> None:
    """Refuse a feature extractor that makes other spectrograms than the encoder reads.

    Other families run a short clip through the encoder; here every clip fills the window, which would take long.
    """
    for what, made, taken in (
        ("frames", extractor.nb_max_frames, STRIDE * config.max_source_positions),
        ("mel channels", extractor.feature_size, config.num_mel_bins),
    ):
        if made != taken:
            raise UsageError(
                f"model '{location.name}': the feature extractor makes {made} {what}, the encoder takes {taken}; "
                "copy preprocessor_config.json of the checkpoint that it was fine-tuned from"
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
