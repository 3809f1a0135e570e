"""Decoding audio: formats, channels, rates and everything that can be wrong with a file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from xbench.data.audio import audio_seconds, audio_sha256, read_audio
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


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "run `git lfs pull`"),
        (b"<!DOCTYPE html><html>404</html>", "holds text and no audio"),
        (b"\x00\x00\x00\x20ftypM4A \x00\x00", "convert it to FLAC or WAV"),
        (b"RIFF", "cannot be decoded"),
    ],
)
def test_what_lies_in_the_place_of_audio_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "clip.flac"
    path.write_bytes(content)
    with pytest.raises(UtteranceError, match=told) as caught:
        read_audio(path, 16_000)
    assert caught.value.reason == "corrupt-audio"


def test_half_a_flac_file_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "half.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 48_000), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert reason_for(path) == "corrupt-audio"


def with_stated_length(path: Path, samples: int) -> Path:
    """Write another number of samples into the header of a FLAC file: the lowest 36 bits of bytes 18 to 25."""
    data = bytearray(path.read_bytes())
    stated = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    data[18:26] = stated.to_bytes(8, "big")
    path.write_bytes(data)
    return path


def test_a_streamed_flac_that_states_no_length_is_read_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 70_001)
    whole, streamed = tmp_path / "whole.flac", tmp_path / "streamed.flac"
    soundfile.write(whole, noise, 16_000)
    soundfile.write(streamed, noise, 16_000)
    with_stated_length(streamed, 0)
    assert soundfile.info(streamed).frames > 1 << 60  # or this is no test of it
    np.testing.assert_array_equal(read_audio(streamed, 16_000), read_audio(whole, 16_000))


def test_a_flac_that_claims_more_than_it_holds_is_refused_without_memory_for_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "claims.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 48_000), 16_000)
    with_stated_length(path, (1 << 36) - 1)
    with pytest.raises(UtteranceError, match=r"ends after 3 s of 4.29e\+06 s") as caught:
        read_audio(path, 16_000)
    assert caught.value.reason == "corrupt-audio"


def test_decoding_in_blocks_changes_no_sample(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    samples = np.random.default_rng(0).normal(0, 0.1, (200_000, 2)).astype(np.float32)
    soundfile.write(path, samples, 22_050, subtype="FLOAT")
    mono = samples.mean(axis=1, dtype=np.float32)
    np.testing.assert_array_equal(read_audio(path, 22_050), mono)
    resampled = soxr.resample(mono, 22_050, 16_000, "HQ")
    np.testing.assert_array_equal(read_audio(path, 16_000), resampled)


@pytest.mark.parametrize(
    ("rate", "channels", "told"),
    [
        (1, 1, "a sampling rate of 1 Hz is none of a recording"),
        (999, 1, "a sampling rate of 999 Hz"),
        (2_000_000, 1, "a sampling rate of 2000000 Hz"),
        (16_000, 65, "65 channels are more than 64"),
    ],
)
def test_headers_that_no_recording_has_are_refused_before_anything_is_decoded(
    tmp_path: Path, rate: int, channels: int, told: str
) -> None:
    path = tmp_path / "odd.wav"
    soundfile.write(path, np.zeros((100, channels), np.float32), rate)
    with pytest.raises(UtteranceError, match=told) as caught:
        read_audio(path, 16_000)
    assert caught.value.reason == "corrupt-audio"


def test_a_file_longer_than_what_is_wanted_is_refused_before_it_is_resampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(30_000, np.float32), 1_000)
    monkeypatch.setattr(soxr, "resample", None)
    with pytest.raises(UtteranceError, match=r"lasts longer than 20 s") as caught:
        read_audio(path, 16_000, longest_seconds=20.0)
    assert caught.value.reason == "too-long"


def test_what_is_no_file_is_missing_audio(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (
        tmp_path / "pipe.wav",
        Path("/dev/zero"),
        tmp_path / "a\0b",
        tmp_path / ("x" * 300),
    ):
        for read in (lambda p: read_audio(p, 16_000), audio_sha256):
            with pytest.raises(UtteranceError) as caught:
                read(path)
            assert caught.value.reason == "missing-audio"


def test_no_samples_are_empty_audio(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0, np.float32), 16_000)
    assert reason_for(path) == "empty-audio"


def test_a_clip_shorter_than_a_window_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "one.wav"
    soundfile.write(path, tone(16_000)[:399], 16_000)
    assert reason_for(path) == "too-short"
    soundfile.write(path, tone(16_000)[:400], 16_000)
    assert len(read_audio(path, 16_000)) == 400


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


def test_a_length_is_read_from_the_header_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "tone.flac"
    soundfile.write(path, tone(16_000), 16_000)
    assert audio_seconds(path) == SECONDS
    assert audio_seconds(with_stated_length(path, 0)) is None  # streamed
    path.write_bytes(b"no audio")
    with pytest.raises(UtteranceError, match="holds text and no audio"):
        audio_seconds(path)


@pytest.mark.parametrize("level", [0.0, 0.5], ids=["zeros", "constant"])
def test_a_clip_in_which_nothing_varies_is_silent(tmp_path: Path, level: float) -> None:
    path = tmp_path / "flat.wav"
    soundfile.write(path, np.full(48_000, level), 16_000)
    assert reason_for(path) == "silent-audio"
    soundfile.write(path, level + 0.01 * tone(16_000), 16_000)  # -46 dB
    assert len(read_audio(path, 16_000)) == 24_000


def test_integers_that_were_written_as_floats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "integers.wav"
    soundfile.write(path, 32_768 * tone(16_000), 16_000, subtype="FLOAT")
    assert reason_for(path) == "misscaled-audio"
    soundfile.write(path, 3 * tone(16_000), 16_000, subtype="FLOAT")  # a float file may exceed 1
    assert np.abs(read_audio(path, 16_000)).max() > 1.4


@pytest.mark.parametrize(("other", "refused"), [(-1.0, True), (-0.999, True), (-0.9, False)])
def test_channels_that_cancel_are_noticed(tmp_path: Path, other: float, refused: bool) -> None:
    path = tmp_path / "inverted.wav"
    soundfile.write(path, np.stack([tone(16_000), other * tone(16_000)], axis=1), 16_000)
    if refused:
        assert reason_for(path) == "cancelling-channels"
    else:
        assert len(read_audio(path, 16_000)) == 24_000


@pytest.mark.parametrize("suffix", ["wav", "aiff", "mp3", "ogg"])
def test_a_file_that_was_cut_off_is_corrupt(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"cut.{suffix}"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 48_000), 16_000)
    assert len(read_audio(path, 16_000)) == 48_000
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert reason_for(path) == "corrupt-audio"
    assert capfd.readouterr().err == ""  # the decoder of MP3 has something to say too


def test_a_wav_file_that_was_written_to_a_pipe_states_no_length_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(16_000), 16_000)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert len(read_audio(path, 16_000)) == 24_000
