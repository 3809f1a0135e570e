"""The Speech2Text family (fairseq S2T): filterbanks with CMVN, two strided convolutions, sinusoidal positions.

Encoder frame j is centred on filterbank frame 4j (with the usual two convolutions). A checkpoint has either one
task and no language token, and does not say which languages, or the target language's token after the start.

Sources: Wang et al. 2020 (arXiv 2010.05171) in the implementation of transformers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xbench.models.families import bart
from xbench.models.family import (
    Audio,
    Family,
    Languages,
    Loaded,
    start_prompt,
    start_token,
    valid_mask,
)
from xbench.models.loading import Location
from xbench.models.seq2seq import Seq2SeqModel, load_family

_HOP = 160
_WINDOW = 400


def _language_tokens(loaded: Loaded) -> dict[str, int]:
    return dict(getattr(loaded.tokenizer, "lang_code_to_id", None) or {})


def _languages(loaded: Loaded) -> Languages:
    targets = _language_tokens(loaded)
    # Multilingual checkpoints are those of MuST-C: English into the languages that have a token.
    return Languages({"en"}, lambda source: targets) if targets else Languages(None, lambda _: None)


def _prompt(loaded: Loaded, source: str, target: str | None) -> tuple[int, ...]:
    tokens = _language_tokens(loaded)
    if tokens:
        return (start_token(loaded.network), tokens[target or source])
    return start_prompt(loaded.network)


def _extract(loaded: Loaded, audio: np.ndarray) -> Float[Tensor, "melframe mel"]:
    if len(audio) < _WINDOW:
        return torch.zeros(0, loaded.extractor.feature_size)
    with np.errstate(
        all="ignore"
    ):  # silence has no variance; the caller looks for what is not finite
        found = loaded.extractor(
            audio, sampling_rate=loaded.extractor.sampling_rate, return_tensors="pt"
        )
    return found.input_features[0]


def _audio(loaded: Loaded) -> Audio:
    config = loaded.network.config

    def frames(melframes: int) -> int:
        for _ in range(config.num_conv_layers):
            melframes = (melframes - 1) // 2 + 1
        return melframes

    limit = _WINDOW + _HOP * (config.max_source_positions - 1)
    return Audio(_extract, _HOP, 2**config.num_conv_layers, frames, limit)


def _inputs(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    return {"input_features": values, "attention_mask": valid_mask(lengths, values.shape[1])}


FAMILY = Family(
    name="speech_to_text",
    architecture="Speech2TextForConditionalGeneration",
    processor="Speech2TextProcessor",
    languages=_languages,
    prompt=_prompt,
    audio=_audio,
    inputs=_inputs,
    encode=lambda loaded, values: loaded.network.model.encoder(values).last_hidden_state,
    decode=lambda network, ids, encoded: (
        network.model.decoder(
            input_ids=ids, encoder_hidden_states=encoded, use_cache=False
        ).last_hidden_state
    ),
    read_out=lambda network, states: network.lm_head(states),
    stacks=lambda network: bart.stacks(network.model),
    positions=lambda network: network.config.max_target_positions,
    padding="its second convolution reads what the first one's bias makes of the padding",
)


def load(location: Location, **options: Any) -> Seq2SeqModel:
    """Load a Speech2Text checkpoint from a folder or the hub."""
    return load_family(FAMILY, location, **options)
