"""What families that read the raw waveform share: equal pieces of it in the place of a spectrogram.

The waveform, normalised as the checkpoint's feature extractor does, is cut into pieces of `piece` samples, the last
one filled up with silence: [piece, sample] stands for [melframe, mel]. There are no frequencies, hence no cells that a
reference or a map on a spectrogram could mean (`ModelInfo.spectrogram` is false).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xbench.models.family import Audio, Loaded, valid_mask


def waveform_audio(
    piece: int, frames: Callable[[int], int], limit: int, *, stride: int = 1
) -> Audio:
    """Describe the input. frames: from samples to encoder frames. stride: pieces per encoder frame."""

    def extract(loaded: Loaded, audio: np.ndarray) -> Float[Tensor, "piece sample"]:
        rate = loaded.extractor.sampling_rate
        found = loaded.extractor(audio, sampling_rate=rate, return_tensors="pt").input_values[0]
        found = found.flatten()  # some extractors write the one channel as an axis
        missing = -len(found) % piece
        return torch.nn.functional.pad(found, (0, missing)).view(-1, piece)

    return Audio(extract, piece, stride, lambda pieces: frames(pieces * piece), limit)


def convolved(layers: Sequence[tuple[int, int]]) -> Callable[[int], int]:
    """Return the function from samples to frames of unpadded convolutions (kernel, stride)."""

    def frames(samples: int) -> int:
        for kernel, stride in layers:
            samples = max(0, (samples - kernel) // stride + 1)
        return samples

    return frames


def waveform_inputs(
    loaded: Loaded, values: Float[Tensor, "batch piece sample"], lengths: Int[Tensor, " batch"]
) -> dict[str, Any]:
    """Return padded waveforms, with a mask where the checkpoint was trained with one."""
    waveforms = values.flatten(1)
    if not loaded.extractor.return_attention_mask:
        return {"input_values": waveforms}
    mask = valid_mask(lengths * values.shape[2], waveforms.shape[1])
    return {"input_values": waveforms, "attention_mask": mask}
