"""The Cohere ASR family: Fast Conformer encoder (stride 8), Transformer decoder, prompt of language and options.

Encoder frame j is centred on mel frame 8 j. Audio that the feature extractor would cut into chunks is refused: a map
has one utterance.

Source: the implementation of transformers.
"""

from __future__ import annotations

from typing import Any

from xbench.models.families import conformer
from xbench.models.family import Audio, Family, Languages, Loaded
from xbench.models.loading import Location
from xbench.models.private import cohere_asr_languages
from xbench.models.seq2seq import Seq2SeqModel, load_family


def _languages(loaded: Loaded) -> Languages:
    vocabulary = loaded.tokenizer.get_vocab()
    return Languages({code for code in cohere_asr_languages() if f"<|{code}|>" in vocabulary})


def _audio(loaded: Loaded) -> Audio:
    config, extractor = loaded.network.config.encoder_config, loaded.extractor
    seconds = extractor.max_audio_clip_s - extractor.overlap_chunk_second
    return Audio(
        conformer.melframes,
        extractor.hop_length,
        config.subsampling_factor,
        conformer.frames(config),
        int(seconds * extractor.sampling_rate),
    )


FAMILY = Family(
    name="cohere_asr",
    architecture="CohereAsrForConditionalGeneration",
    processor="CohereAsrProcessor",
    languages=_languages,
    prompt=lambda loaded, source, target: tuple(loaded.processor.get_decoder_prompt_ids(source)),
    audio=_audio,
    inputs=conformer.inputs,
    encode=conformer.encode,
    decode=conformer.decode,
    read_out=lambda network, states: network.proj_out(states),
    stacks=conformer.stacks,
    positions=lambda network: network.config.max_position_embeddings,
)


def load(location: Location, **options: Any) -> Seq2SeqModel:
    """Load a Cohere ASR checkpoint from a folder or the hub."""
    return load_family(FAMILY, location, **options)
