"""Decoder-only families that read audio as a prefix.

Qwen3-ASR, Qwen2-Audio, Voxtral, GLM-ASR, OmniASR, Granite Speech and Phi-4-multimodal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xbench.testing.small.sizes import MELS, WIDTH
from xbench.testing.small.tokenizers import letters, numbered, write_settings

_PIECES = ("<unk>", "<pad>", "<s>", "</s>")
_NAMED = {
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
}
_SLOTS = ("<|audio|>", "<|begin|>", "<|end|>", "<asr_text>", "<|user|>", "<|assistant|>")
# A template as such families have them: who speaks, the slot, the request.
TEMPLATE = (
    "<s>{% for message in messages %}<|user|>"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|begin|><|audio|><|end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}<|assistant|>"
)
# One that asks by a token for each language and closes with the start of the text, as that of OmniASR does.
_BY_TOKEN = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|audio|>{% else %}<|lang:{{ part['language'] }}|>{% endif %}"
    "{% endfor %}{% endfor %}<s>"
)
_WINDOW = 6  # seconds; of windows that are encoded with their padding, to save time
_ENCODER: dict[str, Any] = {
    "num_mel_bins": MELS,
    "d_model": WIDTH,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
}


def _text(model_type: str, size: int, positions: int) -> dict[str, Any]:
    """Return the settings of a language model with room for a clip of 4.5 s, its prompt and a short text."""
    return {
        "model_type": model_type,
        "vocab_size": size,
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": positions,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "pad_token_id": 1,
    }


def _tokenizer(folder: Path, **named: str) -> tuple[Any, int]:
    from transformers import AutoTokenizer

    size = letters(folder, numbered(*_PIECES, *_SLOTS), **_NAMED)
    given = {"extra_special_tokens": named} if named else {}
    return AutoTokenizer.from_pretrained(folder, **given), size


def qwen3_asr(folder: Path) -> Any:
    """Write what belongs beside a Qwen3-ASR network, and return the network."""
    from transformers import (
        Qwen3ASRConfig,
        Qwen3ASRFeatureExtractor,
        Qwen3ASRForConditionalGeneration,
        Qwen3ASRProcessor,
    )

    tokenizer, size = _tokenizer(
        folder, audio_token="<|audio|>", audio_bos_token="<|begin|>", audio_eos_token="<|end|>"
    )
    extractor = Qwen3ASRFeatureExtractor(feature_size=MELS)
    Qwen3ASRProcessor(extractor, tokenizer, chat_template=TEMPLATE).save_pretrained(folder)
    return Qwen3ASRForConditionalGeneration(
        Qwen3ASRConfig(
            audio_config={**_ENCODER, "output_dim": WIDTH, "downsample_hidden_size": 8},
            text_config=_text("qwen3", size, 96),
            audio_token_id=tokenizer.convert_tokens_to_ids("<|audio|>"),
            tie_word_embeddings=False,
        )
    )


def qwen2_audio(folder: Path) -> Any:
    """Write what belongs beside a Qwen2-Audio network, and return the network."""
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    tokenizer, size = _tokenizer(folder, audio_token="<|audio|>")
    extractor = WhisperFeatureExtractor(feature_size=MELS)
    Qwen2AudioProcessor(extractor, tokenizer, chat_template=TEMPLATE).save_pretrained(folder)
    return Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(
            audio_config=_ENCODER,
            text_config=_text("qwen2", size, 208),
            audio_token_index=tokenizer.convert_tokens_to_ids("<|audio|>"),
        )
    )


def voxtral(folder: Path) -> Any:
    """Write what belongs beside a Voxtral network, and return the network."""
    from transformers import (
        VoxtralConfig,
        VoxtralForConditionalGeneration,
        WhisperFeatureExtractor,
    )

    special = numbered(*_PIECES, "[INST]", "[/INST]", "[AUDIO]", "[BEGIN_AUDIO]", "[TRANSCRIBE]")
    size = letters(folder, special, **_NAMED)
    WhisperFeatureExtractor(feature_size=MELS, chunk_length=_WINDOW).save_pretrained(folder)
    return VoxtralForConditionalGeneration(
        VoxtralConfig(
            audio_config={
                "num_mel_bins": MELS,
                "hidden_size": WIDTH,
                "intermediate_size": 4 * WIDTH,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "max_source_positions": 50 * _WINDOW,
            },
            text_config=_text("llama", size, 112),
            audio_token_id=special["[AUDIO]"],
        )
    )


def glmasr(folder: Path) -> Any:
    """Write what belongs beside a GLM-ASR network, and return the network."""
    from transformers import (
        GlmAsrConfig,
        GlmAsrForConditionalGeneration,
        GlmAsrProcessor,
        WhisperFeatureExtractor,
    )

    tokenizer, size = _tokenizer(folder)
    extractor = WhisperFeatureExtractor(feature_size=MELS, chunk_length=_WINDOW)
    GlmAsrProcessor(
        extractor, tokenizer, chat_template=TEMPLATE, audio_token="<|audio|>"
    ).save_pretrained(folder)
    return GlmAsrForConditionalGeneration(
        GlmAsrConfig(
            audio_config={
                "num_mel_bins": MELS,
                "hidden_size": WIDTH,
                "intermediate_size": 4 * WIDTH,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
            },
            text_config=_text("llama", size, 128),
            audio_token_id=tokenizer.convert_tokens_to_ids("<|audio|>"),
            tie_word_embeddings=False,
        )
    )


def omniasr(folder: Path) -> Any:
    """Write what belongs beside an OmniASR network, and return the network."""
    from transformers import (
        AutoTokenizer,
        OmniASRConfig,
        OmniASRFeatureExtractor,
        OmniASRForConditionalGeneration,
        OmniASRProcessor,
    )

    special = numbered(*_PIECES, "<|audio|>", "<|lang:eng_latn|>", "<|lang:ita_latn|>")
    size = letters(folder, special, **_NAMED)
    OmniASRProcessor(
        OmniASRFeatureExtractor(),
        AutoTokenizer.from_pretrained(folder),
        chat_template=_BY_TOKEN,
        audio_token="<|audio|>",
    ).save_pretrained(folder)
    return OmniASRForConditionalGeneration(
        OmniASRConfig(
            audio_config={
                "hidden_size": WIDTH,
                "conv_dim": (8,) * 7,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 48,
                "num_conv_pos_embeddings": 16,
                "num_conv_pos_embedding_groups": 2,
            },
            text_config=_text("llama", size, 304),
            audio_token_id=special["<|audio|>"],
            bos_token_id=2,
            pad_token_id=1,
            eos_token_id=3,
        )
    )


def granite_speech(folder: Path) -> Any:
    """Write what belongs beside a Granite Speech network, and return the network."""
    from transformers import GraniteSpeechConfig, GraniteSpeechForConditionalGeneration

    special = numbered(*_PIECES, "<|audio|>", "<|user|>")
    size = letters(folder, special, **_NAMED)
    (folder / "chat_template.jinja").write_text(
        "<s>{% for message in messages %}<|user|>{{ message['content'] }}{% endfor %}"
    )
    write_settings(
        folder,
        "preprocessor_config.json",
        feature_extractor_type="GraniteSpeechFeatureExtractor",
        melspec_kwargs={"sample_rate": 16000, "n_fft": 512, "hop_length": 160, "n_mels": MELS},
    )
    return GraniteSpeechForConditionalGeneration(
        GraniteSpeechConfig(
            encoder_config={
                "input_dim": 2 * MELS,
                "num_layers": 2,
                "hidden_dim": WIDTH,
                "num_heads": 2,
                "output_dim": 8,
                "context_size": 20,
                "max_pos_emb": 40,
            },
            projector_config={
                "model_type": "blip_2_qformer",
                "hidden_size": WIDTH,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 48,
                "encoder_hidden_size": WIDTH,
                "vocab_size": 8,
            },
            text_config=_text("granite", size, 160),
            audio_token_index=special["<|audio|>"],
            has_lora_adapter=False,
            tie_word_embeddings=False,
        )
    )


def phi4_multimodal(folder: Path) -> Any:
    """Write what belongs beside a Phi-4-multimodal network, and return the network."""
    from transformers import (
        Phi4MultimodalConfig,
        Phi4MultimodalFeatureExtractor,
        Phi4MultimodalForCausalLM,
    )

    special = numbered(*_PIECES, "<|audio|>", "<|user|>")
    size = letters(folder, special, **_NAMED)
    (folder / "chat_template.jinja").write_text(
        "{% for message in messages %}<s><|user|>{{ message['content'] }}{% endfor %}"
    )
    Phi4MultimodalFeatureExtractor(feature_size=MELS).save_pretrained(folder)
    text = {k: v for k, v in _text("", size, 160).items() if k not in ("model_type", "head_dim")}
    return Phi4MultimodalForCausalLM(
        Phi4MultimodalConfig(
            **text,
            original_max_position_embeddings=160,
            # A quarter of each head is not turned, as in the published models.
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.75,
            },
            audio_config={
                "hidden_size": WIDTH,
                "intermediate_size": 48,
                "num_blocks": 2,
                "num_attention_heads": 2,
                "input_size": MELS,
                "ext_pw_out_channel": WIDTH,
                "depthwise_separable_out_channel": WIDTH,
                "bias_max_distance": 20,
                "nemo_conv_channels": 8,
                "audio_token_id": special["<|audio|>"],
            },
            vision_config={
                "hidden_size": 8,
                "intermediate_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "image_size": 28,
                "crop_size": 28,
                "image_token_id": special["<unk>"],
            },
        )
    )
