"""Small randomly initialised checkpoints of every family, written as folders: what families are tested with.

Tokenizers are made of letters and the special tokens that the family's prompt needs; feature extractors are the
family's own. Nothing is downloaded. Weights are drawn with unit gain, so that outputs differ between inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MELS = 16
_WIDTH = 32
_SPECIAL = {"seamless_m4t": 7, "seamless_m4t_v2": 7, "canary": 14, "cohere_asr": 14}  # default: 4


def write_small(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint folder of one family and return it; other seeds give other weights."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = WRITERS[family](folder)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=parameter[0].numel() ** -0.5)
                elif "norm" not in name:
                    parameter.normal_(std=0.1)
            # Words, not special tokens, are likely, so that there is something to explain.
            network.get_output_embeddings().weight[: _SPECIAL.get(family, 4)] *= 0.1
    network.save_pretrained(folder)
    return folder


# -- tokenizers -----------------------------------------------------------------------------------


def _letters(folder: Path, special: Mapping[str, int], **named: str) -> int:
    """Save a tokenizer of letters after the special tokens; return the size of the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [*special, "▁", *_LETTERS]
    tokenizer = Tokenizer(
        models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token=named["unk_token"])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=[s for s in special if s not in named.values()],
        **named,
    )
    fast.save_pretrained(folder)
    return len(pieces)


def _numbered(*special: str) -> dict[str, int]:
    return {token: number for number, token in enumerate(special)}


def _sentencepiece(path: Path, kind: str) -> int:
    """Train a SentencePiece model of letters on two sentences; return its size."""
    import io

    import sentencepiece

    sentences = ["the quick brown fox jumps over the lazy dog", "pack my box with five dozen jugs"]
    model = io.BytesIO()
    size: dict[str, Any] = {"vocab_size": 40, "hard_vocab_limit": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences * 4),
        model_writer=model,
        model_type=kind,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
        **(size if kind == "unigram" else {}),
    )
    path.write_bytes(model.getvalue())
    return int(sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size())


def _settings(folder: Path, name: str, **settings: Any) -> None:
    (folder / name).write_text(json.dumps(settings))


def _waveform(folder: Path, processor: str, *, normalise: bool, mask: bool) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    Wav2Vec2FeatureExtractor(do_normalize=normalise, return_attention_mask=mask).save_pretrained(
        folder
    )
    if processor:
        _add_settings(folder / "preprocessor_config.json", processor_class=processor)


def _add_settings(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


# -- families -------------------------------------------------------------------------------------


def _speech_to_text(folder: Path) -> Any:
    import sentencepiece
    from transformers import (
        Speech2TextConfig,
        Speech2TextFeatureExtractor,
        Speech2TextForConditionalGeneration,
        Speech2TextTokenizer,
    )

    model = folder / "sentencepiece.bpe.model"
    size = _sentencepiece(model, "unigram")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    _settings(folder, "vocab.json", **{pieces.id_to_piece(i): i for i in range(size)})
    Speech2TextTokenizer(str(folder / "vocab.json"), str(model)).save_pretrained(folder)
    Speech2TextFeatureExtractor(feature_size=_MELS, num_mel_bins=_MELS).save_pretrained(folder)
    return Speech2TextForConditionalGeneration(
        Speech2TextConfig(
            vocab_size=size,
            tie_word_embeddings=False,
            d_model=_WIDTH,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            input_feat_per_channel=_MELS,
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


def _speecht5(folder: Path) -> Any:
    from transformers import SpeechT5Config, SpeechT5ForSpeechToText, SpeechT5Tokenizer

    size = _sentencepiece(folder / "spm_char.model", "char")
    SpeechT5Tokenizer(str(folder / "spm_char.model")).save_pretrained(folder)
    _settings(
        folder,
        "preprocessor_config.json",
        feature_extractor_type="SpeechT5FeatureExtractor",
        processor_class="SpeechT5Processor",
        feature_size=1,
        sampling_rate=16000,
        do_normalize=True,
        return_attention_mask=True,
        num_mel_bins=_MELS,
    )
    return SpeechT5ForSpeechToText(
        SpeechT5Config(
            vocab_size=size,
            tie_word_embeddings=False,
            hidden_size=_WIDTH,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            conv_dim=(16, 16),
            conv_kernel=(400, 2),
            conv_stride=(160, 2),
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
            max_speech_positions=200,
            max_text_positions=24,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
        )
    )


def _seamless(version: str) -> Callable[[Path], Any]:
    def write(folder: Path) -> Any:
        import transformers

        languages = ("eng", "fra", "cmn")
        special = _numbered("<pad>", "<unk>", "<s>", "</s>", *(f"__{c}__" for c in languages))
        pieces = {p: i for i, p in enumerate([*special, "▁", *_LETTERS])}
        transformers.SeamlessM4TTokenizer(
            vocab=pieces,
            merges=[],
            src_lang="eng",
            tgt_lang="eng",
            extra_special_tokens=[f"__{c}__" for c in languages],
        ).save_pretrained(folder)
        transformers.SeamlessM4TFeatureExtractor(
            feature_size=_MELS, num_mel_bins=_MELS
        ).save_pretrained(folder)
        _add_settings(folder / "preprocessor_config.json", processor_class="SeamlessM4TProcessor")
        config = getattr(transformers, f"SeamlessM4T{version}Config")(
            vocab_size=len(pieces),
            tie_word_embeddings=False,
            hidden_size=_WIDTH,
            feature_projection_input_dim=2 * _MELS,
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


def _moonshine(folder: Path) -> Any:
    from transformers import MoonshineConfig, MoonshineForConditionalGeneration

    special = _numbered("<unk>", "<s>", "</s>")
    size = _letters(
        folder, special, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    _waveform(folder, "Wav2Vec2Processor", normalise=False, mask=True)
    return MoonshineForConditionalGeneration(
        MoonshineConfig(
            vocab_size=size,
            tie_word_embeddings=False,
            hidden_size=_WIDTH,
            intermediate_size=48,
            encoder_num_hidden_layers=2,
            decoder_num_hidden_layers=2,
            encoder_num_attention_heads=2,
            decoder_num_attention_heads=2,
            max_position_embeddings=24,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
            decoder_start_token_id=1,
        )
    )


def _moonshine_streaming(folder: Path) -> Any:
    from transformers import (
        MoonshineStreamingConfig,
        MoonshineStreamingForConditionalGeneration,
    )

    special = _numbered("<pad>", "<s>", "</s>", "<unk>")
    size = _letters(
        folder, special, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    _waveform(folder, "MoonshineStreamingProcessor", normalise=False, mask=True)
    return MoonshineStreamingForConditionalGeneration(
        MoonshineStreamingConfig(
            encoder_config={
                "hidden_size": 24,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "max_position_embeddings": 512,
                "sliding_windows": [[8, 4], [8, 1]],
            },
            vocab_size=size,
            tie_word_embeddings=False,
            hidden_size=_WIDTH,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=512,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
    )


_CONFORMER: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "conv_kernel_size": 5,
    "subsampling_conv_channels": 8,
    "num_mel_bins": _MELS,
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


def _canary(folder: Path) -> Any:
    from transformers import (
        AutoTokenizer,
        CanaryConfig,
        CanaryForConditionalGeneration,
        CanaryProcessor,
        ParakeetFeatureExtractor,
    )

    special = _numbered("<unk>", "<pad>", "<|endoftext|>", *_OPTIONS)
    size = _letters(folder, special, **_NAMED)
    template = (
        "{%- set c = messages[0]['content'] | selectattr('type', 'equalto', 'text') | first -%}"
        "<|startofcontext|><|startoftranscript|><|emo:undefined|><|{{ c['source_language'] }}|>"
        "<|{{ c['target_language'] }}|><|pnc|><|noitn|><|notimestamp|><|nodiarize|>"
    )
    CanaryProcessor(
        ParakeetFeatureExtractor(feature_size=_MELS),
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


def _cohere_asr(folder: Path) -> Any:
    from transformers import (
        AutoTokenizer,
        CohereAsrConfig,
        CohereAsrFeatureExtractor,
        CohereAsrForConditionalGeneration,
        CohereAsrProcessor,
    )

    special = _numbered("<unk>", "<pad>", "<|endoftext|>", *_OPTIONS)
    size = _letters(folder, special, **_NAMED)
    CohereAsrProcessor(
        CohereAsrFeatureExtractor(feature_size=_MELS), AutoTokenizer.from_pretrained(folder)
    ).save_pretrained(folder)
    return CohereAsrForConditionalGeneration(
        CohereAsrConfig(
            encoder_config={"model_type": "parakeet_encoder", **_CONFORMER},
            vocab_size=size,
            tie_word_embeddings=False,
            hidden_size=_WIDTH,
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


def _speech_encoder_decoder(folder: Path) -> Any:
    from transformers import (
        MBartConfig,
        SpeechEncoderDecoderConfig,
        SpeechEncoderDecoderModel,
        Wav2Vec2Config,
    )

    special = _numbered("<s>", "<pad>", "</s>", "<unk>")
    size = _letters(
        folder, special, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    _waveform(folder, "", normalise=True, mask=False)
    encoder = Wav2Vec2Config(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=(16, 16),
        conv_kernel=(400, 2),
        conv_stride=(160, 2),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    decoder = MBartConfig(
        vocab_size=size,
        d_model=_WIDTH,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=48,
        max_position_embeddings=24,
        is_decoder=True,
        add_cross_attention=True,
        tie_word_embeddings=False,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    config = SpeechEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 1, 2
    network = SpeechEncoderDecoderModel(config)
    settings = network.generation_config
    settings.decoder_start_token_id, settings.pad_token_id, settings.eos_token_id = 2, 1, 2
    return network


WRITERS: Mapping[str, Callable[[Path], Any]] = {
    "speech_to_text": _speech_to_text,
    "speecht5": _speecht5,
    "seamless_m4t": _seamless(""),
    "seamless_m4t_v2": _seamless("v2"),
    "moonshine": _moonshine,
    "moonshine_streaming": _moonshine_streaming,
    "canary": _canary,
    "cohere_asr": _cohere_asr,
    "speech-encoder-decoder": _speech_encoder_decoder,
}
