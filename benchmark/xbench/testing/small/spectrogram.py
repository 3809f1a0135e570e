"""Families whose encoder reads a spectrogram: Speech2Text, SeamlessM4T (both), Canary, Cohere ASR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xbench.testing.small.sizes import MELS, WIDTH
from xbench.testing.small.tokenizers import (
    LETTERS,
    add_settings,
    letters,
    numbered,
    sentencepiece_model,
    write_settings,
)


def speech_to_text(folder: Path) -> Any:
    """Write what belongs beside a Speech2Text network, and return the network."""
    import sentencepiece
    from transformers import (
        Speech2TextConfig,
        Speech2TextFeatureExtractor,
        Speech2TextForConditionalGeneration,
        Speech2TextTokenizer,
    )

    model = folder / "sentencepiece.bpe.model"
    size = sentencepiece_model(model, "unigram")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    write_settings(folder, "vocab.json", **{pieces.id_to_piece(i): i for i in range(size)})
    Speech2TextTokenizer(str(folder / "vocab.json"), str(model)).save_pretrained(folder)
    Speech2TextFeatureExtractor(feature_size=MELS, num_mel_bins=MELS).save_pretrained(folder)
    return Speech2TextForConditionalGeneration(
        Speech2TextConfig(
            vocab_size=size,
            tie_word_embeddings=False,
            d_model=WIDTH,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            input_feat_per_channel=MELS,
            conv_channels=24,
            max_source_positions=400,
            max_target_positions=24,
            dropout=0.0,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
        )
    )


def seamless(version: str) -> Callable[[Path], Any]:
    """Return the writer of a SeamlessM4T of this version (empty for the first)."""

    def write(folder: Path) -> Any:
        import transformers

        languages = ("eng", "fra", "cmn")
        special = numbered("<pad>", "<unk>", "<s>", "</s>", *(f"__{c}__" for c in languages))
        pieces = {p: i for i, p in enumerate([*special, "▁", *LETTERS])}
        transformers.SeamlessM4TTokenizer(
            vocab=pieces,
            merges=[],
            src_lang="eng",
            tgt_lang="eng",
            extra_special_tokens=[f"__{c}__" for c in languages],
        ).save_pretrained(folder)
        transformers.SeamlessM4TFeatureExtractor(
            feature_size=MELS, num_mel_bins=MELS
        ).save_pretrained(folder)
        add_settings(folder / "preprocessor_config.json", processor_class="SeamlessM4TProcessor")
        config = getattr(transformers, f"SeamlessM4T{version}Config")(
            vocab_size=len(pieces),
            tie_word_embeddings=False,
            hidden_size=WIDTH,
            feature_projection_input_dim=2 * MELS,
            speech_encoder_layers=2,
            speech_encoder_attention_heads=2,
            speech_encoder_intermediate_size=48,
            conv_depthwise_kernel_size=7,
            num_adapter_layers=1,
            decoder_layers=2,
            decoder_attention_heads=2,
            decoder_ffn_dim=48,
            encoder_layers=1,
            encoder_attention_heads=2,
            encoder_ffn_dim=48,
            max_position_embeddings=24,
            max_source_positions=200,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            decoder_start_token_id=3,
            scale_embedding=False,
        )
        return getattr(transformers, f"SeamlessM4T{version}ForSpeechToText")(config)

    return write


_CONFORMER: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "conv_kernel_size": 5,
    "subsampling_conv_channels": 8,
    "num_mel_bins": MELS,
    "scale_input": False,
    "dropout": 0.0,
}
_OPTIONS = (
    "<|startofcontext|>",
    "<|startoftranscript|>",
    "<|emo:undefined|>",
    "<|pnc|>",
    "<|nopnc|>",
    "<|noitn|>",
    "<|notimestamp|>",
    "<|nodiarize|>",
    "<|en|>",
    "<|de|>",
    "<|it|>",
)
_NAMED = {
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "eos_token": "<|endoftext|>",
    "bos_token": "<|startoftranscript|>",
}


def canary(folder: Path) -> Any:
    """Write what belongs beside a Canary network, and return the network."""
    from transformers import (
        AutoTokenizer,
        CanaryConfig,
        CanaryForConditionalGeneration,
        CanaryProcessor,
        ParakeetFeatureExtractor,
    )

    special = numbered("<unk>", "<pad>", "<|endoftext|>", *_OPTIONS)
    size = letters(folder, special, **_NAMED)
    template = (
        "{%- set c = messages[0]['content'] | selectattr('type', 'equalto', 'text') | first -%}"
        "<|startofcontext|><|startoftranscript|><|emo:undefined|><|{{ c['source_language'] }}|>"
        "<|{{ c['target_language'] }}|><|pnc|><|noitn|><|notimestamp|><|nodiarize|>"
    )
    CanaryProcessor(
        ParakeetFeatureExtractor(feature_size=MELS),
        AutoTokenizer.from_pretrained(folder),
        chat_template=template,
    ).save_pretrained(folder)
    return CanaryForConditionalGeneration(
        CanaryConfig(
            encoder_config={"model_type": "parakeet_encoder", **_CONFORMER},
            decoder_config={
                "vocab_size": size,
                "hidden_size": 24,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 12,
                "max_position_embeddings": 40,
                "pad_token_id": special["<pad>"],
                "eos_token_id": special["<|endoftext|>"],
            },
            vocab_size=size,
            tie_word_embeddings=False,
            pad_token_id=special["<pad>"],
            bos_token_id=special["<|startoftranscript|>"],
            eos_token_id=special["<|endoftext|>"],
            decoder_start_token_id=special["<|startofcontext|>"],
        )
    )


def cohere_asr(folder: Path) -> Any:
    """Write what belongs beside a Cohere ASR network, and return the network."""
    from transformers import (
        AutoTokenizer,
        CohereAsrConfig,
        CohereAsrFeatureExtractor,
        CohereAsrForConditionalGeneration,
        CohereAsrProcessor,
    )

    special = numbered("<unk>", "<pad>", "<|endoftext|>", *_OPTIONS)
    size = letters(folder, special, **_NAMED)
    CohereAsrProcessor(
        CohereAsrFeatureExtractor(feature_size=MELS), AutoTokenizer.from_pretrained(folder)
    ).save_pretrained(folder)
    return CohereAsrForConditionalGeneration(
        CohereAsrConfig(
            encoder_config={"model_type": "parakeet_encoder", **_CONFORMER},
            vocab_size=size,
            tie_word_embeddings=False,
            hidden_size=WIDTH,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=40,
            pad_token_id=special["<pad>"],
            eos_token_id=special["<|endoftext|>"],
            bos_token_id=special["<|startoftranscript|>"],
            decoder_start_token_id=special["<|startofcontext|>"],
        )
    )
