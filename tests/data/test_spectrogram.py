from __future__ import annotations

import numpy as np
import pytest

from xbench.data.spectrogram import MELS, RATE, log_mel


def test_agrees_with_the_front_end_of_whisper() -> None:
    from transformers import WhisperFeatureExtractor

    samples = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    theirs = WhisperFeatureExtractor()(samples, sampling_rate=RATE, return_tensors="np")
    values, seconds = log_mel(samples)
    assert (values.shape, seconds) == ((100, MELS), 0.01)
    # It scales (x + 4) / 4; before the clip it mirrors what here is silence, within half a window.
    expected = 4 * theirs.input_features[0].T[2:100] - 4
    np.testing.assert_allclose(values[2:], expected, atol=2e-3)


def test_a_tone_lies_in_its_channel_and_silence_at_the_floor() -> None:
    time = np.arange(RATE) / RATE
    samples = (np.sin(2 * np.pi * 1000 * time) * (time < 0.5)).astype(np.float32)
    values, _ = log_mel(samples)
    # Slaney's scale is linear up to 1 kHz = 15 mel and has log-spaced mels above, 45.245 at 8 kHz.
    top = 15 + np.log(8) / (np.log(6.4) / 27)
    channel = 15 / (top / (MELS + 1)) - 1
    assert abs(values[25].argmax() - channel) <= 1
    assert values[80:].max() == values.min() == pytest.approx(values.max() - 8)


@pytest.mark.parametrize(
    ("samples", "frames", "seconds"),
    [
        (1, 1, 0.01),
        (160, 1, 0.01),
        (161, 2, 0.01),
        (15 * RATE, 1500, 0.01),
        (15 * RATE + 1, 751, 0.02),
        (31 * RATE, 775, 0.04),
    ],
)
def test_frames_are_those_whose_centre_is_in_the_clip(
    samples: int, frames: int, seconds: float
) -> None:
    values, hop = log_mel(np.full(samples, 0.1, dtype=np.float32))
    assert (values.shape, hop) == ((frames, MELS), seconds)
    assert np.isfinite(values).all()
