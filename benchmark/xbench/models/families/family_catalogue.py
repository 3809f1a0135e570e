"""The registered model families and, from their data files, the registered checkpoints."""

from __future__ import annotations

from importlib.resources import files

import yaml

from xbench.description import Checkpoint, FamilyDescription

# The C loader where there is one: listing must not take longer than looking at the list.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _checkpoints(family: str) -> tuple[Checkpoint, ...]:
    text = files("xbench.models.families").joinpath(f"{family}.yaml").read_text("utf-8")
    listed = yaml.load(text, Loader=_LOADER)
    return tuple(
        Checkpoint(
            name=name,
            hub_id=entry.get("hub_id"),
            revision=entry.get("revision"),
            packaged=entry.get("packaged"),
            parameters=entry["parameters"],
            languages=entry["languages"],
            tasks=tuple(entry["tasks"]),
            licence=entry["licence"],
            checked=entry.get("checked", listed["checked"]),
            tested=entry.get("tested", ""),
            note=entry.get("note", ""),
        )
        for name, entry in listed["checkpoints"].items()
    )


WHISPER = FamilyDescription(
    name="whisper",
    version="1",
    summary="OpenAI Whisper and everything with its architecture: fine-tunes, distilled models",
    source="Radford et al. 2023, arXiv 2212.04356; transformers `WhisperForConditionalGeneration`",
    implementation="xbench.models.families.whisper_loading:load",
    architecture="WhisperForConditionalGeneration",
    checkpoints=_checkpoints("whisper"),
)


def _family(
    name: str, architecture: str, summary: str, source: str, *, module: str | None = None
) -> FamilyDescription:
    module = module or name
    return FamilyDescription(
        name=name,
        version="1",
        summary=summary,
        source=f"{source}; transformers `{architecture}`",
        implementation=f"xbench.models.families.{module}:load",
        architecture=architecture,
        checkpoints=_checkpoints(module),
    )


SPEECH_TO_TEXT = _family(
    "speech_to_text",
    "Speech2TextForConditionalGeneration",
    "fairseq S2T: filterbanks, strided convolutions, Transformer",
    "Wang et al. 2020, arXiv 2010.05171",
)
SPEECHT5 = _family(
    "speecht5",
    "SpeechT5ForSpeechToText",
    "SpeechT5 for recognition: raw waveform, post-LN Transformer with relative positions",
    "Ao et al. 2022, arXiv 2110.07205",
)
SEAMLESS_M4T = _family(
    "seamless_m4t",
    "SeamlessM4TForSpeechToText",
    "the speech-to-text part of SeamlessM4T: filterbanks, Conformer, adapter",
    "Seamless Communication 2023, arXiv 2308.11596",
)
SEAMLESS_M4T_V2 = _family(
    "seamless_m4t_v2",
    "SeamlessM4Tv2ForSpeechToText",
    "the speech-to-text part of SeamlessM4T v2",
    "Seamless Communication 2023, arXiv 2312.05187",
)
MOONSHINE = _family(
    "moonshine",
    "MoonshineForConditionalGeneration",
    "Moonshine: raw waveform, three convolutions, rotary positions",
    "Jeffries et al. 2024, arXiv 2410.15608",
)
MOONSHINE_STREAMING = _family(
    "moonshine_streaming",
    "MoonshineStreamingForConditionalGeneration",
    "streaming Moonshine: causal convolutions, sliding windows",
    "Useful Sensors",
)
CANARY = _family(
    "canary",
    "CanaryForConditionalGeneration",
    "NVIDIA Canary: Fast Conformer and Transformer, transcribes and translates",
    "Puvvada et al. 2024, arXiv 2406.19674",
)
COHERE_ASR = _family(
    "cohere_asr",
    "CohereAsrForConditionalGeneration",
    "Cohere ASR: Fast Conformer and Transformer",
    "Cohere",
)
FAMA = _family(
    "fama",
    "AutoModelForSpeechSeq2Seq",
    "FAMA (English and Italian): Conformer and Transformer; its code comes with the checkpoint",
    "Papi et al. 2025, arXiv 2505.22759; FBK-fairseq, fbk_works/FAMA.md",
)
SPEECH_ENCODER_DECODER = _family(
    "speech-encoder-decoder",
    "SpeechEncoderDecoderModel",
    "wav2vec 2.0 or HuBERT joined to the decoder of mBART or BART",
    "Wu et al. 2021, arXiv 2104.06678",
    module="speech_encoder_decoder",
)

QWEN3_ASR = _family(
    "qwen3_asr",
    "Qwen3ASRForConditionalGeneration",
    "Qwen3-ASR: audio as a prefix of a Qwen3 language model, 13 positions a second",
    "Qwen team 2026",
)
QWEN2_AUDIO = _family(
    "qwen2_audio",
    "Qwen2AudioForConditionalGeneration",
    "Qwen2-Audio: audio as a prefix of a Qwen2 language model, 25 positions a second; transcribes and translates",
    "Chu et al. 2024, arXiv 2407.10759",
)
VOXTRAL = _family(
    "voxtral",
    "VoxtralForConditionalGeneration",
    "Voxtral: audio as a prefix of a Mistral language model, 12.5 positions a second; transcribes and translates",
    "Liu et al. 2025, arXiv 2507.13264",
)
GLMASR = _family(
    "glmasr",
    "GlmAsrForConditionalGeneration",
    "GLM-ASR: audio as a prefix of a Llama language model, 12.5 positions a second",
    "Z.ai 2025",
)
OMNIASR = _family(
    "omniasr",
    "OmniASRForConditionalGeneration",
    "OmniASR: waveform as a prefix of a Llama language model, 50 positions a second; over 1600 languages",
    "Omnilingual ASR team 2025",
)
GRANITE_SPEECH = _family(
    "granite_speech",
    "GraniteSpeechForConditionalGeneration",
    "Granite Speech: audio as a prefix of a Granite language model, 10 positions a second; transcribes and translates",
    "Saon et al. 2025, arXiv 2505.08699",
)
PHI4_MULTIMODAL = _family(
    "phi4_multimodal",
    "Phi4MultimodalForCausalLM",
    "Phi-4-multimodal: audio as a prefix of a Phi-4-mini language model, 12.5 positions a second; transcribes and "
    "translates",
    "Microsoft 2025, arXiv 2503.01743",
)
