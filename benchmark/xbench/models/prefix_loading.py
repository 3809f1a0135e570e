"""Load checkpoints of decoder-only models that read audio as a prefix, and say what their traces cannot hold."""

from __future__ import annotations

import transformers

from xbench.errors import EnvironmentProblem
from xbench.models.audio_prefix import AudioPrefixModel, language_model
from xbench.models.family import PrefixFamily
from xbench.models.loading import Location
from xbench.models.opening import check_features, open_checkpoint, stated
from xbench.models.rotary import self_attention

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
    stack = self_attention(language_model(opened.loaded.network))
    info = stated(
        family,
        opened,
        decoder_layers=len(stack.modules),
        heads=stack.heads,
        lacking=_LACKING,
        precision=precision,
        device=device,
        trust_remote_code=trust_remote_code,
        kind="audio-prefix",
    )
    model = AudioPrefixModel(family=family, loaded=opened.loaded, info=info)
    check_features(model)
    return model
