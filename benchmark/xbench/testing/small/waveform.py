"""Families whose encoder reads the waveform: SpeechT5, Moonshine (both), a speech encoder with a text decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xbench.testing.small.sizes import MELS, WIDTH
from xbench.testing.small.tokenizers import (
    add_settings,
    letters,
    numbered,
    sentencepiece_model,
    write_settings,
)


def _waveform(folder: Path, processor: str, *, normalise: bool, mask: bool) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    Wav2Vec2FeatureExtractor(do_normalize=normalise, return_attention_mask=mask).save_pretrained(
        folder
    )
    if processor:
        add_settings(folder / "preprocessor_config.json", processor_class=processor)


def speecht5(folder: Path) -> Any:
    """Write what belongs beside a SpeechT5 network, and return the network."""
    from transformers import SpeechT5Config, SpeechT5ForSpeechToText, SpeechT5Tokenizer

    size = sentencepiece_model(folder / "spm_char.model", "char")
    SpeechT5Tokenizer(str(folder / "spm_char.model")).save_pretrained(folder)
    write_settings(
        folder,
        "preprocessor_config.json",
        feature_extractor_type="SpeechT5FeatureExtractor",
        processor_class="SpeechT5Processor",
        feature_size=1,
        sampling_rate=16000,
        do_normalize=True,
        return_attention_mask=True,
        num_mel_bins=MELS,
    )
    return SpeechT5ForSpeechToText(
        SpeechT5Config(
            vocab_size=size,
            tie_word_embeddings=False,
            hidden_size=WIDTH,
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


def moonshine(folder: Path) -> Any:
    """Write what belongs beside a Moonshine network, and return the network."""
    from transformers import MoonshineConfig, MoonshineForConditionalGeneration

    special = numbered("<unk>", "<s>", "</s>")
    size = letters(
        folder, special, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    _waveform(folder, "Wav2Vec2Processor", normalise=False, mask=True)
    return MoonshineForConditionalGeneration(
        MoonshineConfig(
            vocab_size=size,
            tie_word_embeddings=False,
            hidden_size=WIDTH,
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


def moonshine_streaming(folder: Path) -> Any:
    """Write what belongs beside a streaming Moonshine network, and return the network."""
    from transformers import (
        MoonshineStreamingConfig,
        MoonshineStreamingForConditionalGeneration,
    )

    special = numbered("<pad>", "<s>", "</s>", "<unk>")
    size = letters(
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
            hidden_size=WIDTH,
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


def speech_encoder_decoder(folder: Path) -> Any:
    """Write what belongs beside a wav2vec 2.0 encoder with an mBART decoder, and return both as one network."""
    from transformers import (
        MBartConfig,
        SpeechEncoderDecoderConfig,
        SpeechEncoderDecoderModel,
        Wav2Vec2Config,
    )

    special = numbered("<s>", "<pad>", "</s>", "<unk>")
    size = letters(
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
        d_model=WIDTH,
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
