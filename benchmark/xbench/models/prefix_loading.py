"""Load checkpoints of decoder-only models that read audio as a prefix, and say what their traces cannot hold."""

from __future__ import annotations

import transformers

from xbench.errors import EnvironmentProblem
from xbench.models.audio_prefix import AudioPrefixModel, language_model
from xbench.models.family import PrefixFamily
from xbench.models.loading import Location
from xbench.models.protocol import ModelInfo
from xbench.models.rotary import self_attention
from xbench.models.seq2seq import check_features, encoder_layers, open_checkpoint

_SINCE = (5, 24)  # where language model and audio encoder of all of them have the same places
_ONE_STACK = (
    "its text reads audio by self-attention, in the same stack as text: there is no {} to read"
)
_LACKING = {
    "cross-projections": _ONE_STACK.format("cross-attention"),
    "decoder-attention": _ONE_STACK.format("decoder apart from it"),
    "decoder-projections": _ONE_STACK.format("decoder apart from it"),
    "encoder-attention": "between its audio encoder and the audio positions stands a projector that merges frames",
    "encoder-projections": "between its audio encoder and the audio positions stands a projector that merges frames",
}


def load_prefix_family(
    family: PrefixFamily,
    location: Location,
    *,
    device: str,
    precision: str,
    trust_remote_code: bool,
) -> AudioPrefixModel:
    """Load a checkpoint of a decoder-only model from a folder or the hub."""
    installed = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    if installed < _SINCE:
        raise EnvironmentProblem(
            f"model '{location.name}': family {family.name} needs transformers {'.'.join(map(str, _SINCE))} or newer, "
            f"and {transformers.__version__} is installed; install a newer one"
        )
    opened = open_checkpoint(
        family,
        location,
        device=device,
        precision=precision,
        trust_remote_code=trust_remote_code,
    )
    loaded, location, network = opened.loaded, opened.location, opened.loaded.network
    stack = self_attention(language_model(network))
    languages = family.languages(loaded)
    model = AudioPrefixModel(
        family=family,
        loaded=loaded,
        info=ModelInfo(
            name=location.name,
            family=family.name,
            source=location.source,
            revision=opened.revision,
            architecture=type(network).__name__,
            n_parameters=sum(p.numel() for p in network.parameters()),
            precision=precision,
            device=device,
            sampling_rate=loaded.extractor.sampling_rate,
            max_samples=family.audio(loaded).limit,
            encoder_layers=encoder_layers(network.config),
            decoder_layers=len(stack.modules),
            heads=stack.heads,
            remote_code=trust_remote_code,
            spectrogram=family.spectrogram,
            lacking=_LACKING,
            padding=family.padding,
            any_language=(
                "the checkpoint does not say which languages it knows"
                if languages.spoken is None
                else ""
            ),
            format=opened.format,
            base=opened.base,
            kind="audio-prefix",
        ),
    )
    check_features(model)
    return model
