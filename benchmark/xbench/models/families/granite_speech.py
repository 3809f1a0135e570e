"""The Granite Speech family: a Conformer on pairs of melframes, a Q-Former on windows, then a Granite language model.

10 audio positions a second: a window of 15 encoder frames (0.3 s) becomes 3 positions, each of which may read the whole
window. They are taken as evenly spaced, so a position may be told up to 0.2 s beside what it heard. The last window is
filled up behind the encoder; positions that begin behind the clip are padding.

Up to 3.3 the checkpoints keep a LoRA adapter beside their weights, which is on whenever there is audio: it is merged.

The spectrogram is computed here: the extractor of transformers needs torchaudio for it.

Source: IBM 2025, arXiv 2505.08699, in the implementation of transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoTokenizer
from transformers.audio_utils import mel_filter_bank
from transformers.utils import cached_file

from xbench.errors import UsageError
from xbench.models.audio_prefix import AudioPrefixModel
from xbench.models.families.requests import into_or_from_english, named, request_behind_slot
from xbench.models.family import Audio, Loaded, PrefixFamily
from xbench.models.formats.peft_adapter import ADAPTER_CONFIG, WEIGHTS
from xbench.models.loading import Location
from xbench.models.prefix_loading import load_prefix_family

_STACKED = 2  # melframes per encoder frame
_LONGEST = (
    600  # seconds; nothing states a limit, and the language model has room for this and a text
)
_SPOKEN = ("de", "en", "es", "fr", "it", "ja", "pt", "zh")
_SETTINGS = "preprocessor_config.json"


@dataclass(frozen=True)
class Spectrogram:
    """Log-mel spectrogram as torchaudio computes it for this family: HTK mels of the power, 8 decades at most."""

    sampling_rate: int = 16_000
    n_fft: int = 512
    win_length: int = 400
    hop_length: int = 160
    n_mels: int = 80

    @cached_property
    def filters(self) -> Float[Tensor, "bin mel"]:
        """Triangular filters over the bins of the Fourier transform."""
        bank = mel_filter_bank(
            num_frequency_bins=self.n_fft // 2 + 1,
            num_mel_filters=self.n_mels,
            min_frequency=0.0,
            max_frequency=self.sampling_rate / 2,
            sampling_rate=self.sampling_rate,
            norm=None,
            mel_scale="htk",
        )
        return torch.from_numpy(bank).float()

    def __call__(self, audio: np.ndarray) -> Float[Tensor, "melframe mel"]:
        """Return an even number of melframes; none for a clip that is shorter than half a Fourier window."""
        if len(audio) <= self.n_fft // 2:
            return torch.empty(0, self.n_mels)
        spectrum = torch.stft(
            torch.from_numpy(audio),
            self.n_fft,
            self.hop_length,
            self.win_length,
            torch.hann_window(self.win_length),
            return_complex=True,
        )
        power = spectrum.abs().square().T @ self.filters
        decades = power.clamp_min(1e-10).log10()
        scaled = torch.maximum(decades, decades.max() - 8) / 4 + 1
        return scaled[: len(scaled) // _STACKED * _STACKED]


def _parts(target: str, arguments: dict[str, Any]) -> tuple[Spectrogram, Any, None]:
    """Read the settings of the spectrogram, and the tokenizer; there is no processor of both."""
    file = Path(cached_file(target, _SETTINGS, revision=arguments["revision"]))
    given = json.loads(file.read_text("utf-8")).get("melspec_kwargs", {})
    rate = given.pop("sample_rate", Spectrogram.sampling_rate)
    try:
        spectrogram = Spectrogram(sampling_rate=rate, **given)
    except TypeError:
        raise UsageError(
            f"{_SETTINGS} of a checkpoint of type 'granite_speech' has melspec_kwargs {sorted(given)}, and known are "
            "hop_length, n_fft, n_mels, sample_rate, win_length; take that of the published checkpoint"
        ) from None
    return spectrogram, AutoTokenizer.from_pretrained(target, **arguments), None


def _positions(loaded: Loaded, melframes: int) -> int:
    config = loaded.network.config
    windows = -(-(melframes // _STACKED) // config.window_size)
    found: int = windows * (config.window_size // config.downsample_rate)
    return found


def _audio(loaded: Loaded) -> Audio:
    extractor: Spectrogram = loaded.extractor
    return Audio(
        lambda loaded, audio: loaded.extractor(audio),
        extractor.hop_length,
        _STACKED * loaded.network.config.downsample_rate,
        lambda melframes: _positions(loaded, melframes),
        _LONGEST * extractor.sampling_rate,
        padded=True,
    )


def _stacked(values: Float[Tensor, "batch melframe mel"]) -> Float[Tensor, "batch pair twomels"]:
    return values.unflatten(1, (-1, _STACKED)).flatten(2)


def _embed(loaded: Loaded, values: Float[Tensor, "batch melframe mel"]) -> Tensor:
    embedded: Tensor = loaded.network.get_audio_features(_stacked(values)).pooler_output
    return embedded


def _inputs(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    whole = torch.arange(_positions(loaded, values.shape[1]), device=values.device)
    own = torch.tensor([_positions(loaded, int(n)) for n in lengths], device=values.device)
    return {"input_features": _stacked(values), "input_features_mask": whole < own[:, None]}


def _prompt(loaded: Loaded, source: str, target: str | None, positions: int) -> tuple[int, ...]:
    request = (
        "can you transcribe the speech into a written format?"
        if target is None
        else f"can you translate the speech into {named(target)}?"
    )
    return request_behind_slot(loaded, request, _token(loaded), positions)


def _token(loaded: Loaded) -> int:
    token: int = loaded.network.config.audio_token_id
    return token


FAMILY = PrefixFamily(
    name="granite_speech",
    architecture="GraniteSpeechForConditionalGeneration",
    processor="",
    languages=lambda loaded: into_or_from_english(_SPOKEN),
    prompt=_prompt,
    audio_token=_token,
    audio=_audio,
    embed=_embed,
    inputs=_inputs,
    padding="its encoder reads the padding of a batch row as audio",
    older_names={
        "language_model.lm_head.": "lm_head.",
        "language_model.model.": "model.language_model.",
        "encoder.": "model.encoder.",
        "projector.": "model.projector.",
    },
    parts=_parts,
)


def load(location: Location, **options: Any) -> AudioPrefixModel:
    """Load a Granite Speech checkpoint from a folder or the hub; raises UsageError where its adapter is missing."""
    model = load_prefix_family(FAMILY, location, **options)
    if model.network.config.has_lora_adapter and not model.info.base:
        raise UsageError(
            f"model '{location.name}': its weights for audio are a LoRA adapter beside the language model "
            f"(has_lora_adapter), and none lies there; copy {ADAPTER_CONFIG} and {WEIGHTS} of the same checkpoint too"
        )
    return model
