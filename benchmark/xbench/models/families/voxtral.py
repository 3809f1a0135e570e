"""The Voxtral family: Whisper's encoder in windows of 30 s, every four frames joined, then a Mistral language model.

12.5 audio positions a second. Padding up to whole windows stands in the prompt as audio does: it is attended to, and
stays what it is while cells are hidden, as in Whisper.

Source: Liu et al. 2025, arXiv 2507.13264, in the implementation of transformers; the request to transcribe is that of
mistral-common, `[INST] [BEGIN_AUDIO] audio [/INST] lang:en [TRANSCRIBE]`.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from xbench.errors import UsageError
from xbench.models.audio_prefix import AudioPrefixModel
from xbench.models.families.log_mel import in_windows, whole_windows
from xbench.models.families.requests import named, translating, widened
from xbench.models.family import Audio, Loaded, PrefixFamily
from xbench.models.loading import Location
from xbench.models.prefix_loading import load_prefix_family

_LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "it", "nl", "pt")
_JOINED = 8  # melframes per position
_LONGEST = 30 * 60  # seconds of one request to transcribe, as the model's card says


def _embed(loaded: Loaded, values: Float[Tensor, "batch melframe mel"]) -> Tensor:
    packed: Tensor = loaded.network.get_audio_features(in_windows(loaded, values)).pooler_output
    return packed.view(len(values), -1, packed.shape[-1])


def _inputs(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    return {"input_features": in_windows(loaded, values)}


def _prompt(loaded: Loaded, source: str, target: str | None, positions: int) -> tuple[int, ...]:
    tokenizer, token = loaded.tokenizer, loaded.network.config.audio_token_id
    start, begin, end = (
        _known(tokenizer, piece) for piece in ("[INST]", "[BEGIN_AUDIO]", "[/INST]")
    )
    audio = [tokenizer.bos_token_id, start, begin, token]
    if target is None:
        language = tokenizer.encode(f"lang:{source}", add_special_tokens=False)
        tokens = [*audio, end, *language, _known(tokenizer, "[TRANSCRIBE]")]
    else:
        request = f"Translate this into {named(target)}. Write nothing else."
        tokens = [*audio, *tokenizer.encode(request, add_special_tokens=False), end]
    return widened(tokens, token, positions, "voxtral")


def _known(tokenizer: Any, piece: str) -> int:
    found = tokenizer.convert_tokens_to_ids(piece)
    if not isinstance(found, int) or found == tokenizer.unk_token_id:
        raise UsageError(
            f"the tokenizer of a checkpoint of type 'voxtral' does not know {piece}: take that of the checkpoint that "
            "it was fine-tuned from"
        )
    return found


FAMILY = PrefixFamily(
    name="voxtral",
    architecture="VoxtralForConditionalGeneration",
    processor="",
    languages=lambda loaded: translating(_LANGUAGES, _LANGUAGES),
    prompt=_prompt,
    audio_token=lambda loaded: loaded.network.config.audio_token_id,
    audio=lambda loaded: Audio(
        whole_windows,
        loaded.extractor.hop_length,
        _JOINED,
        lambda melframes: melframes // _JOINED,
        _LONGEST * loaded.extractor.sampling_rate,
        padded=True,
    ),
    embed=_embed,
    inputs=_inputs,
)


def load(location: Location, **options: Any) -> AudioPrefixModel:
    """Load a Voxtral checkpoint from a folder or the hub."""
    return load_prefix_family(FAMILY, location, **options)
