"""A checkpoint of transformers in memory: what loading it has in common for all families that are records.

Opening the files, stating what was found in them, features of a clip, and the checks that need the loaded network; and
what a model does alike whatever its kind, once it is made of a record and a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float32

from xbench.errors import UsageError, UtteranceError
from xbench.models.checkpoint import checked
from xbench.models.derived import reinitialised
from xbench.models.family import Audio, Family, Loaded, PrefixFamily
from xbench.models.loading import Location, check_finite, check_weights, explained
from xbench.models.protocol import Features, Kind, ModelInfo, SpeechModel

Record = TypeVar("Record", Family, PrefixFamily)


@dataclass(frozen=True, eq=False)  # a model equals only itself
class FamilyModel(Generic[Record]):
    """A model made of a family's record and a checkpoint; see `xbench.models.protocol.SpeechModel` for every method."""

    family: Record
    loaded: Loaded
    info: ModelInfo

    @property
    def network(self) -> Any:
        """The transformers model."""
        return self.loaded.network

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the checkpoint."""
        return self.loaded.tokenizer

    def check_language(self, source: str, target: str | None) -> None:
        """Refuse languages that the checkpoint does not know."""
        self.family.languages(self.loaded).check(self.info.name, source, target)

    def written(self, tokens: Sequence[int]) -> str:
        """Return what these tokens write together."""
        text: str = self.tokenizer.decode(list(tokens))
        return text

    def features(self, audio: Float32[np.ndarray, " sample"]) -> Features:
        """Compute the features of a clip; a frame is valid where its first melframe carries audio."""
        return audio_features(self.family.audio(self.loaded), self.loaded, self.info, audio)

    def with_network(self, network: Any) -> Any:
        """Return the same model around another network."""
        return replace(self, loaded=replace(self.loaded, network=network))

    def randomised(self, seed: int) -> Any:
        """Initialise the architecture anew, as transformers does before training."""
        return self.with_network(reinitialised(self.network, seed))


@dataclass(frozen=True)
class Opened:
    """A checkpoint in memory, and what was found out about its files."""

    loaded: Loaded
    location: Location
    revision: str
    format: str
    base: str


def open_checkpoint(
    family: Family | PrefixFamily,
    location: Location,
    *,
    device: str,
    precision: str,
    trust_remote_code: bool,
) -> Opened:
    """Load network, feature extractor and tokenizer: safetensors only, complete weights only."""
    import transformers

    if family.remote_code and not trust_remote_code:
        raise UsageError(
            f"model '{location.name}': its code comes with the checkpoint and runs on this machine; "
            "allow it with --trust-remote-code"
        )
    found = checked(location, None if family.remote_code else family.name)
    location, weights = found.location, found.weights.location
    arguments: dict[str, Any] = {
        "revision": weights.revision or "main",
        "trust_remote_code": trust_remote_code,
    }
    with explained(weights):
        network, loading = getattr(transformers, family.architecture).from_pretrained(
            weights.target,
            dtype=getattr(torch, precision),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `check_weights` refuses them, and names one
            **found.arguments,
            **arguments,
        )
        extractor, tokenizer, both = _processor(family, weights.target, arguments)
        network = found.with_adapters(network, family.older_names)
    check_weights(location, loading)
    check_finite(location, network)
    network = network.to(device).eval().requires_grad_(False)
    loaded = Loaded(network, extractor, tokenizer, both)
    return Opened(loaded, location, found.revision, found.format, found.base_name)


def stated(
    family: Family | PrefixFamily,
    opened: Opened,
    *,
    decoder_layers: int,
    heads: int,
    lacking: Mapping[str, str],
    precision: str,
    device: str,
    trust_remote_code: bool,
    kind: Kind = "encoder-decoder",
) -> ModelInfo:
    """Return the facts of a checkpoint that was opened, as results state them.

    decoder_layers, heads: those of the attention to the source. lacking: what its traces cannot hold, and why.
    """
    loaded, network = opened.loaded, opened.loaded.network
    said = family.languages(loaded).spoken is not None
    return ModelInfo(
        name=opened.location.name,
        family=family.name,
        source=opened.location.source,
        revision=opened.revision,
        architecture=type(network).__name__,
        n_parameters=sum(p.numel() for p in network.parameters()),
        precision=precision,
        device=device,
        sampling_rate=loaded.extractor.sampling_rate,
        max_samples=family.audio(loaded).limit,
        encoder_layers=encoder_layers(network.config),
        decoder_layers=decoder_layers,
        heads=heads,
        remote_code=trust_remote_code,
        spectrogram=family.spectrogram,
        lacking=lacking,
        padding=family.padding,
        any_language="" if said else "the checkpoint does not say which languages it knows",
        format=opened.format,
        base=opened.base,
        kind=kind,
    )


def audio_features(
    chain: Audio, loaded: Loaded, info: ModelInfo, audio: Float32[np.ndarray, " sample"]
) -> Features:
    """Compute the features of a clip and say which of their frames carry audio; raises UtteranceError."""
    name, rate = info.name, info.sampling_rate
    if len(audio) > chain.limit:
        raise UtteranceError(
            "too-long",
            f"{len(audio) / rate:.2f} s is longer than the {chain.limit / rate:g} s that model "
            f"'{name}' takes",
        )
    values = chain.extract(loaded, audio)
    melframes = min(len(values), -(-len(audio) // chain.hop)) if chain.padded else len(values)
    frames = min(chain.frames(len(values)), math.ceil(melframes / chain.stride))
    if frames < 1:
        raise UtteranceError(
            "too-short", f"{len(audio) / rate:.3f} s gives model '{name}' no encoder frame"
        )
    if not torch.isfinite(values).all():
        raise UtteranceError(
            "non-finite-features",
            f"the features of model '{name}' are not finite: is the audio silent?",
        )
    return Features(
        values=values.to(loaded.network.device),
        melframes=melframes,
        frames=frames,
        stride=chain.stride,
        melframe_seconds=chain.hop / rate,
    )


def check_features(model: SpeechModel) -> None:
    """Run a second of noise through the encoder: refuse features that it does not take."""
    rate = model.info.sampling_rate
    noise = np.random.default_rng(0).standard_normal(rate).astype(np.float32) / 10
    features = model.features(noise)
    try:
        with torch.inference_mode():
            model.encode(features.values[None])
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError) as problem:
        why = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise UsageError(
            f"model '{model.info.name}': its encoder does not take features of {features.values.shape[1]} channels, "
            f"which its feature extractor makes ({why}); copy preprocessor_config.json of the checkpoint that it was "
            "fine-tuned from"
        ) from None


def _processor(
    family: Family | PrefixFamily, target: str, arguments: dict[str, Any]
) -> tuple[Any, Any, Any]:
    import transformers

    if isinstance(family, PrefixFamily) and family.parts is not None:
        return family.parts(target, arguments)
    if family.processor:
        both = getattr(transformers, family.processor).from_pretrained(target, **arguments)
        return both.feature_extractor, both.tokenizer, both
    extractor = transformers.AutoFeatureExtractor.from_pretrained(target, **arguments)
    return extractor, transformers.AutoTokenizer.from_pretrained(target, **arguments), None


def encoder_layers(config: Any) -> int:
    """Return how many encoder layers a configuration asks for, whatever it calls them."""
    for owner, name in (
        (config, "speech_encoder_layers"),
        (config, "encoder_layers"),
        (config, "encoder_num_hidden_layers"),
        (getattr(config, "encoder_config", None), "num_hidden_layers"),
        (getattr(config, "encoder", None), "num_hidden_layers"),
        (getattr(config, "audio_config", None), "num_hidden_layers"),
        (getattr(config, "audio_config", None), "num_blocks"),
    ):
        found = getattr(owner, name, None)
        if isinstance(found, int):
            return found
    raise UsageError(f"configuration '{config.model_type}' does not say how many encoder layers")
