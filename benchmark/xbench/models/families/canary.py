"""The Canary family: Fast Conformer encoder (stride 8), Transformer decoder, prompt of languages and options.

Encoder frame j is centred on mel frame 8 j. The prompt is written by the checkpoint's own chat template; transcription
has the same source and target language, translation goes into or out of English.

Sources: Puvvada et al. 2024 (arXiv 2406.19674) in the implementation of transformers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xbench.models.families import conformer
from xbench.models.family import Audio, Family, Languages, Loaded
from xbench.models.loading import Location
from xbench.models.private import canary_languages
from xbench.models.seq2seq import Seq2SeqModel, load_family

_LONGEST = 40  # seconds; longer audio is meant to be cut (model card of nvidia/canary-1b-v2)


def _languages(loaded: Loaded) -> Languages:
    vocabulary = loaded.tokenizer.get_vocab()
    known = {code for code in canary_languages() if f"<|{code}|>" in vocabulary}
    return Languages(known, lambda source: known - {"en"} if source == "en" else known & {"en"})


def _prompt(loaded: Loaded, source: str, target: str | None) -> tuple[int, ...]:
    (text,) = loaded.processor.apply_transcription_request(
        np.zeros(1, dtype=np.float32),
        source_language=source,
        target_language=target or source,
        tokenize=False,
    )
    return tuple(loaded.tokenizer(text, add_special_tokens=False).input_ids)


def _audio(loaded: Loaded) -> Audio:
    config, extractor = loaded.network.config.encoder_config, loaded.extractor
    return Audio(
        conformer.melframes,
        extractor.hop_length,
        config.subsampling_factor,
        conformer.frames(config),
        _LONGEST * extractor.sampling_rate,
    )


FAMILY = Family(
    name="canary",
    architecture="CanaryForConditionalGeneration",
    processor="CanaryProcessor",
    languages=_languages,
    prompt=_prompt,
    audio=_audio,
    inputs=conformer.inputs,
    encode=conformer.encode,
    decode=conformer.decode,
    read_out=lambda network, states: network.proj_out(states),
    stacks=conformer.stacks,
    positions=lambda network: network.config.decoder_config.max_position_embeddings,
)


def load(location: Location, **options: Any) -> Seq2SeqModel:
    """Load a Canary checkpoint from a folder or the hub."""
    return load_family(FAMILY, location, **options)
