"""What families share whose audio encoder came from Whisper's: log-mel spectrograms in windows (of 30 s, as published).

The extractor pads a clip with silence to whole windows. Of that padding the features keep the first `MARGIN` frames:
the first two may still overlap audio, the third is silence as the extractor writes it for this clip. So a window can be
filled up from the features alone, and its padding stays what it is while cells are hidden.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xbench.models.family import Audio, Loaded

MARGIN = 3  # melframes of padding behind the valid ones


def log_mel(
    stride: int, frames: Callable[[int], int], limit: Callable[[Loaded], int]
) -> Callable[[Loaded], Audio]:
    """Describe Whisper's spectrogram of a clip with its margin. frames: from valid melframes to positions."""

    def extract(loaded: Loaded, audio: np.ndarray) -> Float[Tensor, "melframe mel"]:
        kept = -(-len(audio) // loaded.extractor.hop_length) + MARGIN
        found = whole_windows(loaded, audio)[:kept]
        # Behind a clip that fills its last window there is no padding; nothing reads what stands there.
        return torch.cat([found, found[-1:].expand(kept - len(found), -1)])

    return lambda loaded: Audio(
        extract,
        loaded.extractor.hop_length,
        stride,
        lambda melframes: frames(melframes - MARGIN),
        limit(loaded),
        padded=True,
    )


def whole_windows(loaded: Loaded, audio: np.ndarray) -> Float[Tensor, "melframe mel"]:
    """Return the spectrogram of a clip padded to whole windows, as the extractor makes it."""
    extractor = loaded.extractor
    windows = max(1, -(-len(audio) // extractor.n_samples))
    found: Tensor = extractor(
        audio,
        sampling_rate=extractor.sampling_rate,
        return_tensors="pt",
        padding="max_length",
        max_length=windows * extractor.n_samples,
    ).input_features[0]
    return found.T


def window_of(loaded: Loaded) -> int:
    """Return the melframes of a window."""
    frames: int = loaded.extractor.nb_max_frames
    return frames


def in_windows(
    loaded: Loaded, values: Float[Tensor, "batch melframe mel"]
) -> Float[Tensor, "window mel melframe"]:
    """Cut whole windows apart, as the encoder reads them."""
    return values.unflatten(1, (-1, window_of(loaded))).flatten(0, 1).transpose(1, 2)


def filled(
    loaded: Loaded,
    values: Float[Tensor, "batch melframe mel"],
    lengths: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch paddedmelframe mel"]:
    """Fill up to whole windows with the last frame of each clip, which is silence.

    lengths: how many melframes each has, its margin included; None: all of them.
    """
    if lengths is None:
        lengths = torch.full((len(values),), values.shape[1], device=values.device)
    window = window_of(loaded)
    windows = max(1, -(-(int(lengths.max()) - MARGIN) // window))
    # Which frame stands at each place of the windows: its own, or the last one of the clip.
    places = torch.arange(windows * window, device=values.device)
    at = torch.minimum(places, lengths[:, None] - 1)
    return values.gather(1, at[..., None].expand(-1, -1, values.shape[2]))
