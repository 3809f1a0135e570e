"""Decoding audio: formats, channels, rates and everything that can be wrong with a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xbench.data.audio import audio_sha256, read_audio
from xbench.errors import UtteranceError

SECONDS = 1.5


def tone(rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(SECONDS * rate)) / rate)).astype(
        np.float32
    )


def loudest_hertz(samples: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def reason_for(path: Path) -> str:
    with pytest.raises(UtteranceError) as caught:
        read_audio(path, 16_000)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(("suffix", "tolerance"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05)])
def test_formats_decode_to_the_same_samples(tmp_path: Path, suffix: str, tolerance: float) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(16_000), 16_000)
    samples = read_audio(path, 16_000)
    assert samples.dtype == np.float32
    assert samples.shape == (24_000,)
    np.testing.assert_allclose(samples, tone(16_000), atol=tolerance)


def test_mp3_decodes(tmp_path: Path) -> None:
    path = tmp_path / "tone.mp3"
    soundfile.write(path, tone(16_000), 16_000)
    samples = read_audio(path, 16_000)
    assert len(samples) == pytest.approx(24_000, abs=2_400)
    assert loudest_hertz(samples, 16_000) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_duration_pitch_and_level(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate), rate, subtype="FLOAT")
    samples = read_audio(path, 16_000)
    assert len(samples) == pytest.approx(SECONDS * 16_000, abs=1)
    assert loudest_hertz(samples, 16_000) == pytest.approx(440, abs=1)
    middle = slice(2_000, -2_000)
    np.testing.assert_allclose(samples[middle], tone(16_000)[: len(samples)][middle], atol=1e-3)


def test_resampling_down_removes_what_the_rate_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "high.wav"
    soundfile.write(path, tone(48_000, hertz=12_000), 48_000)
    assert np.abs(read_audio(path, 16_000)[1_000:-1_000]).max() < 1e-3


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = tone(16_000), tone(16_000, hertz=1_000)
    soundfile.write(path, np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path, 16_000), (left + right) / 2, atol=1e-6)


def test_a_missing_file_and_a_folder_are_missing_audio(tmp_path: Path) -> None:
    assert reason_for(tmp_path / "nothing.wav") == "missing-audio"
    assert reason_for(tmp_path) == "missing-audio"


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"not audio at all" * 50, b"fLaC\x00\x00\x00\x22"]
)
def test_bytes_that_are_no_audio_are_corrupt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    assert reason_for(path) == "corrupt-audio"


def test_half_a_flac_file_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "half.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 48_000), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert reason_for(path) == "corrupt-audio"


def test_no_samples_are_empty_audio(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0, np.float32), 16_000)
    assert reason_for(path) == "empty-audio"


def test_a_clip_too_short_for_the_lower_rate_is_empty_audio(tmp_path: Path) -> None:
    path = tmp_path / "one.wav"
    soundfile.write(path, np.zeros(1, np.float32), 192_000)
    assert reason_for(path) == "empty-audio"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_samples_that_are_not_finite_are_refused(tmp_path: Path, value: float, rate: int) -> None:
    path = tmp_path / "nan.wav"
    samples = tone(rate)
    samples[100] = value
    soundfile.write(path, samples, rate, subtype="FLOAT")
    assert reason_for(path) == "non-finite-audio"


def test_the_hash_is_of_the_bytes_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc" * 100_000)
    assert audio_sha256(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()
    with pytest.raises(UtteranceError) as caught:
        audio_sha256(tmp_path / "none")
    assert caught.value.reason == "missing-audio"
