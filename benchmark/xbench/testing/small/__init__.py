"""Small randomly initialised checkpoints of every family, written as folders: what families are tested with.

Tokenizers are made of letters and the special tokens that the family's prompt needs; feature extractors are the
family's own. Nothing is downloaded. Weights are drawn with unit gain, so that outputs differ between inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from xbench.testing.small import audio_prefix, spectrogram, waveform

_SPECIAL = {"seamless_m4t": 7, "seamless_m4t_v2": 7, "canary": 14, "cohere_asr": 14}
_SPECIAL |= {
    "qwen3_asr": 10,
    "qwen2_audio": 10,
    "voxtral": 9,
    "glmasr": 10,
    "omniasr": 7,
    "granite_speech": 6,
    "phi4_multimodal": 6,
}  # default: 4


def write_small(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint folder of one family and return it; other seeds give other weights."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = WRITERS[family](folder)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if parameter.ndim > 1:
                    # Convolutions of Qwen3-ASR stand one behind the other, each followed by a GELU, which halves.
                    gain = 3.0 if "conv2d" in name else 1.0
                    parameter.normal_(std=gain * parameter[0].numel() ** -0.5)
                elif "norm" not in name:
                    parameter.normal_(std=0.1)
            # Words, not special tokens, are likely, so that there is something to explain.
            network.get_output_embeddings().weight[: _SPECIAL.get(family, 4)] *= 0.1
    network.save_pretrained(folder)
    return folder


WRITERS: Mapping[str, Callable[[Path], Any]] = {
    "speech_to_text": spectrogram.speech_to_text,
    "speecht5": waveform.speecht5,
    "seamless_m4t": spectrogram.seamless(""),
    "seamless_m4t_v2": spectrogram.seamless("v2"),
    "moonshine": waveform.moonshine,
    "moonshine_streaming": waveform.moonshine_streaming,
    "canary": spectrogram.canary,
    "cohere_asr": spectrogram.cohere_asr,
    "speech-encoder-decoder": waveform.speech_encoder_decoder,
    "qwen3_asr": audio_prefix.qwen3_asr,
    "qwen2_audio": audio_prefix.qwen2_audio,
    "voxtral": audio_prefix.voxtral,
    "glmasr": audio_prefix.glmasr,
    "omniasr": audio_prefix.omniasr,
    "granite_speech": audio_prefix.granite_speech,
    "phi4_multimodal": audio_prefix.phi4_multimodal,
}
