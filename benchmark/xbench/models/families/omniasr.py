"""The OmniASR family (LLM models): a wav2vec 2.0 encoder on the waveform, a projection, then a Llama language model.

50 audio positions a second. The waveform is normalised as a whole by the feature extractor, so there are no cells of a
spectrogram to hide. A language is asked for by a token of its own, `<|lang:eng_latn|>`.

Source: Omnilingual ASR, Meta 2025, in the implementation of transformers; 40 s are what the authors' own code takes.
"""

from __future__ import annotations

import math
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from xbench.models.audio_prefix import AudioPrefixModel
from xbench.models.families.requests import AUDIO, chat_prompt
from xbench.models.families.waveform import convolved, waveform_audio
from xbench.models.family import Audio, Languages, Loaded, PrefixFamily, valid_mask
from xbench.models.loading import Location
from xbench.models.prefix_loading import load_prefix_family
from xbench.models.private import omniasr_languages

_LONGEST = 40  # seconds


def _audio(loaded: Loaded) -> Audio:
    config = loaded.network.config.audio_config
    layers = list(zip(config.conv_kernel, config.conv_stride, strict=True))
    hop = math.prod(config.conv_stride)
    return waveform_audio(hop, convolved(layers), _LONGEST * loaded.extractor.sampling_rate)


def _languages(loaded: Loaded) -> Languages:
    known, names = loaded.tokenizer.get_vocab(), omniasr_languages()
    return Languages([code for code in names if f"<|lang:{names[code]}|>" in known])


def _prompt(loaded: Loaded, source: str, target: str | None, positions: int) -> tuple[int, ...]:
    asked = {"type": "language", "language": omniasr_languages()[source]}
    token = loaded.network.config.audio_token_id
    return chat_prompt(loaded, [{"role": "user", "content": [AUDIO, asked]}], token, positions)


def _embed(loaded: Loaded, values: Float[Tensor, "batch piece sample"]) -> Tensor:
    packed: Tensor = loaded.network.get_audio_features(values.flatten(1)[:, None]).pooler_output
    return packed.view(len(values), -1, packed.shape[-1])


def _inputs(
    loaded: Loaded, values: Float[Tensor, "batch piece sample"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    waveforms = values.flatten(1)
    mask = valid_mask(lengths * values.shape[2], waveforms.shape[1])
    return {"input_values": waveforms[:, None], "padding_mask": mask}


FAMILY = PrefixFamily(
    name="omniasr",
    architecture="OmniASRForConditionalGeneration",
    processor="AutoProcessor",
    languages=_languages,
    prompt=_prompt,
    audio_token=lambda loaded: loaded.network.config.audio_token_id,
    audio=_audio,
    embed=_embed,
    inputs=_inputs,
    spectrogram=False,
)


def load(location: Location, **options: Any) -> AudioPrefixModel:
    """Load an OmniASR checkpoint from a folder or the hub."""
    return load_prefix_family(FAMILY, location, **options)
