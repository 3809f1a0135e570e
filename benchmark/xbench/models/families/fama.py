"""FAMA (FBK-MT/fama-small, fama-medium): Conformer and Transformer for English and Italian. UNTESTED.

The network's code comes with the checkpoint and was not at hand; this file is written from the training recipe
(FBK-fairseq, `fbk_works/FAMA.md`) and the paper: filterbanks, two convolutions of stride 2 as in fairseq's Conformer,
one language token as prefix (`--prefix-size 1`), at most 3000 filterbank frames and 512 tokens in training. What does
not hold of a checkpoint is refused when it is loaded or decoded, and `xbench check model` tries the rest. Encoder
attention is not read: its relative positions are computed by code that is not known.

Sources: Papi et al. 2025 (arXiv 2505.22759); hlt-mt/FBK-fairseq.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from xbench.errors import UsageError
from xbench.models.capture import Stack
from xbench.models.family import Audio, Family, Languages, Loaded, start_token, valid_mask
from xbench.models.loading import Location
from xbench.models.seq2seq import Seq2SeqModel, load_family

_HOP = 160
_WINDOW = 400
_STRIDE = 4
_MELFRAMES = 3000
_TOKENS = 512


def _language_tokens(loaded: Loaded) -> dict[str, int]:
    vocabulary = loaded.tokenizer.get_vocab()
    found = {code: vocabulary.get(f"<lang:{code}>") for code in ("en", "it")}
    tokens = {code: token for code, token in found.items() if token is not None}
    if not tokens:
        raise UsageError("FAMA: the tokenizer has no token <lang:en> or <lang:it>")
    return tokens


def _languages(loaded: Loaded) -> Languages:
    known = set(_language_tokens(loaded))
    return Languages(known, lambda source: known - {source})


def _extract(loaded: Loaded, audio: np.ndarray) -> Float[Tensor, "melframe mel"]:
    rate = loaded.extractor.sampling_rate
    features: Tensor = loaded.extractor(audio, sampling_rate=rate, return_tensors="pt")[
        "input_features"
    ][0]
    return features


def _frames(melframes: int) -> int:
    for _ in range(2):
        melframes = (melframes - 1) // 2 + 1
    return melframes


def _inputs(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    return {"input_features": values, "attention_mask": valid_mask(lengths, values.shape[1])}


def _decode(
    network: Any, ids: Int[Tensor, "batch position"], encoded: Float[Tensor, "batch frame dim"]
) -> Float[Tensor, "batch position width"]:
    states: Tensor = network.get_decoder()(
        input_ids=ids, encoder_hidden_states=encoded, use_cache=False
    ).last_hidden_state
    return states


def _stacks(network: Any) -> dict[str, Stack]:
    layers = list(getattr(network.get_decoder(), "layers", ()))
    readable = ("q_proj", "k_proj", "v_proj", "out_proj", "head_dim", "scaling", "num_heads")
    attention = getattr(layers[0], "encoder_attn", None) if layers else None
    lacking = [name for name in readable if not hasattr(attention, name)]
    if lacking:
        raise UsageError(f"FAMA: the cross-attention of this checkpoint has no {lacking[0]}")
    heads = layers[0].encoder_attn.num_heads
    return {
        "cross": Stack([layer.encoder_attn for layer in layers], heads),
        "decoder": Stack([layer.self_attn for layer in layers], heads, causal=True),
    }


FAMILY = Family(
    name="fama",
    architecture="AutoModelForSpeechSeq2Seq",
    processor="AutoProcessor",
    languages=_languages,
    prompt=lambda loaded, source, target: (
        start_token(loaded.network),
        _language_tokens(loaded)[target or source],
    ),
    audio=lambda loaded: Audio(_extract, _HOP, _STRIDE, _frames, _WINDOW + _HOP * (_MELFRAMES - 1)),
    inputs=_inputs,
    encode=lambda loaded, values: loaded.network.get_encoder()(values).last_hidden_state,
    decode=_decode,
    read_out=lambda network, states: network.get_output_embeddings()(states),
    stacks=_stacks,
    positions=lambda network: _TOKENS,
    lacking={"encoder": "how FAMA's Conformer attends is in code that comes with the checkpoint"},
    padding="the relative shift of its Conformer was trained in a way that lets padding in",
    remote_code=True,
)


def load(location: Location, **options: Any) -> Seq2SeqModel:
    """Load a FAMA checkpoint from a folder or the hub, with its own code."""
    return load_family(FAMILY, location, **options)
