"""A log-mel spectrogram to look at, of any clip, whatever the model hears; no model, no torch."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

RATE = 16_000
MELS = 80

_WINDOW = RATE // 40  # 25 ms
_HOP = RATE // 100  # 10 ms
_MOST_FRAMES = 1500
_DECADES = 8.0


def log_mel(
    samples: Float[np.ndarray, " sample"],
) -> tuple[Float[np.ndarray, "melframe mel"], float]:
    """Return a log-mel spectrogram of 16 kHz audio, and the distance of its frames in seconds.

    S[t, m] = log10 max(sum_k M[m, k] |STFT(x)[t, k]|^2, 1e-10), from below cut at max S - 8;
    25 ms Hann windows, 80 Slaney mel filters M up to 8 kHz: the front end of Whisper before it scales, through
    `transformers.audio_utils`. Frame t is centred on t hops, for every centre within the audio, outside of
    which is silence. The hop is 10 ms, doubled until at most 1,500 frames are left.
    Source: Radford et al. 2022, arXiv 2212.04356, section 2.2.
    """
    # Slow to import, and only exporting needs it.
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    hop = _HOP
    while -(-len(samples) // hop) > _MOST_FRAMES:
        hop *= 2
    filters = mel_filter_bank(
        1 + _WINDOW // 2, MELS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney"
    )
    values: Float[np.ndarray, "mel melframe"] = spectrogram(
        samples.astype(np.float64),
        window_function(_WINDOW, "hann"),
        frame_length=_WINDOW,
        hop_length=hop,
        power=2.0,
        pad_mode="constant",
        mel_filters=filters,
        log_mel="log10",
        dtype=np.float64,
    )
    within = values[:, : -(-len(samples) // hop)].T
    return np.maximum(within, within.max() - _DECADES), hop / RATE
