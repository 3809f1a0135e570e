"""Every private or unstable name of transformers that xbench uses, each behind a name of ours.

Private is what begins with an underscore; unstable is what has no place at the top of the package (`from transformers
import ...`) nor in its documentation. Any release may rename or remove them, and then this is the one module to mend:
every entry says what it is for, since which version of transformers it is as it is, and what to do when it goes.

Not here: names of a network's submodules (`encoder_attn`, `q_proj`), which is what the file of a family is about, and
Whisper's text normalisers, which `metrics.quality` imports where it uses them since metrics may not import models.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

__all__ = [
    "attention_name",
    "cache_keyword",
    "canary_languages",
    "cohere_asr_languages",
    "convolved_length",
    "is_activation",
    "moonshine_rotation",
    "relative_shift",
    "sdpa_attention_forward",
    "sdpa_mask",
]

# sdpa_attention_forward: what a registered attention function calls where it has nothing better, with the arguments it
# was given. Since 4.48. When it goes: call `torch.nn.functional.scaled_dot_product_attention` with the scale, the mask
# and `is_causal` of the module.

# sdpa_mask: how masks look that are made for a registered attention function (boolean, true where attended). A function
# since 5.0. When it goes: see what `AttentionMaskInterface` then registers under the name "sdpa".


def attention_name(config: Any) -> str | None:
    """Return the name under which a network's attention function is registered; None where it has no such setting.

    For: noticing that somebody switched it. Since 4.48 at the latest. When it goes: look for where the public
    `set_attn_implementation` keeps what it is given.
    """
    name: str | None = getattr(config, "_attn_implementation", None)
    return name


def cache_keyword(decoder: nn.Module) -> str:
    """Return the keyword by which a decoder takes its cache of keys and values.

    For: keys and values of the cross-attention that were made once, for many passes. `cache` from 5.24 on and
    `past_key_values` before, so the signature decides. When the decoder of 5.23 is no longer allowed: `cache`.
    """
    known = inspect.signature(decoder.forward).parameters
    return "cache" if "cache" in known else "past_key_values"


def is_activation(module: nn.Module) -> bool:
    """Say whether a module is one of transformers' own activation functions, `GELUActivation` for instance.

    For: DeepLIFT, whose rule for activations has to be told of each class. Since 4.48 at the latest. When the module
    `transformers.activations` goes: look where `transformers.ACT2FN` finds its classes.
    """
    return type(module).__module__ == "transformers.activations"


def convolved_length(encoder: nn.Module, samples: int) -> int:
    """Return how many frames a wav2vec 2.0 encoder (HuBERT, WavLM) makes of so many samples; below 0: none.

    Since 4.48 at the latest. When it goes: it is floor((n - kernel) / stride) + 1 for each convolution of
    `config.conv_kernel` and `config.conv_stride`, then for each layer of the adapter.
    """
    return int(encoder._get_feat_extract_output_lengths(samples))


def relative_shift(attention: nn.Module, scores: Tensor) -> Tensor:
    """Move scores [batch, head, position, distance] by distance to [batch, head, position, source].

    For: self-attention with relative positions of a Fast Conformer. Since 5.0 at the latest. When it goes: Dai et al.
    2019 (arXiv 1901.02860), appendix B, has the four lines.
    """
    shifted: Tensor = attention._rel_shift(scores)
    return shifted


def moonshine_rotation(
    query: Tensor, key: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys [batch, head, position, channel] to their positions, as Moonshine does.

    It rotates part of the channels only, neighbours in pairs. Since 4.48 at the latest. When it goes: see the
    attention in the model's file.
    """
    from transformers.models.moonshine.modeling_moonshine import apply_rotary_pos_emb

    rotated: tuple[Tensor, Tensor] = apply_rotary_pos_emb(query, key, cos, sin)
    return rotated


def canary_languages() -> Collection[str]:
    """Return the codes of all languages that a Canary checkpoint may know.

    Since 5.23, the first with Canary. When it goes: take the tokens `<|xx|>` of the tokenizer's vocabulary.
    """
    from transformers.models.canary.processing_canary import LANGUAGE_CODE_TO_NAME

    return frozenset(LANGUAGE_CODE_TO_NAME)


def cohere_asr_languages() -> Collection[str]:
    """Return the codes of all languages that a Cohere ASR checkpoint may know.

    Since 5.9 at the latest. When it goes: take the tokens `<|xx|>` of the tokenizer's vocabulary.
    """
    from transformers.models.cohere_asr.processing_cohere_asr import LANGUAGES

    return frozenset(LANGUAGES)


def omniasr_languages() -> Mapping[str, str]:
    """Return OmniASR's name (`eng_latn`) of every language with a code of two letters.

    Since 5.24, the first with OmniASR. When it goes: write the table down; its names are ISO 639-3 and a script.
    """
    from transformers.models.omniasr.processing_omniasr import ISO_639_1_TO_LANGUAGE

    names: Mapping[str, str] = ISO_639_1_TO_LANGUAGE
    return names
