"""Audio files as mono float32 samples at the rate a model wants."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from xbench.errors import UtteranceError
from xbench.inputs import open_plain

# What no recording of speech has: such a header is damaged, or made to fill memory.
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
MOST_CHANNELS = 64
LONGEST_SECONDS = 3600.0
_BLOCK = 1 << 16  # frames that are decoded at a time


def read_audio(
    path: Path, sampling_rate: int, longest_seconds: float = LONGEST_SECONDS
) -> Float[np.ndarray, "sample"]:
    """Decode WAV, FLAC, OGG or MP3, average the channels and resample to `sampling_rate` (Hz).

    Memory is bounded by `longest_seconds` at the rate of the file, whatever its header claims.

    Raises:
        UtteranceError: `missing-audio`, `corrupt-audio`, `empty-audio`, `non-finite-audio` or `too-long`.
    """
    # Manifests are checked without decoding, which alone needs the two C libraries.
    import soxr

    mono, file_rate = _decode(path, longest_seconds)
    if not np.isfinite(mono).all():
        raise UtteranceError("non-finite-audio", f"{path}: holds NaN or infinite samples")
    samples: Float[np.ndarray, "sample"] = mono
    if file_rate != sampling_rate:
        samples = soxr.resample(mono, file_rate, sampling_rate, "HQ")
    if not len(samples):
        raise UtteranceError("empty-audio", f"{path}: holds no samples")
    return samples


def audio_sha256(path: Path) -> str:
    """Return the SHA-256 of the bytes of an audio file, as 64 hexadecimal digits.

    Raises:
        UtteranceError: `missing-audio`.
    """
    try:
        with open_plain(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _missing(path, error) from None


def _decode(path: Path, longest_seconds: float) -> tuple[Float[np.ndarray, "sample"], int]:
    """Decode block by block: a streamed file does not say how long it is, and a header may lie."""
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
        """A file that is read once from its start: after each block soundfile seeks, which a streamed file refuses."""

        def seekable(self) -> bool:
            return False

    try:
        with open_plain(path) as file, Forward(file) as sound:
            _check_header(path, sound)
            rate: int = sound.samplerate
            blocks, frames = [], 0
            while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
                frames += len(block)
                if frames > longest_seconds * rate:
                    raise UtteranceError(
                        "too-long",
                        f"{path}: lasts longer than {longest_seconds:g} s, the most that is read",
                    )
                blocks.append(block.mean(axis=1, dtype=np.float32))
            _check_whole(path, sound, frames)
    except OSError as error:
        raise _missing(path, error) from None
    except soundfile.LibsndfileError as error:
        raise UtteranceError(
            "corrupt-audio", f"{path}: cannot be decoded: {error.error_string}"
        ) from None
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate


def _check_header(path: Path, sound: Any) -> None:
    if not LOWEST_RATE <= sound.samplerate <= HIGHEST_RATE:
        raise UtteranceError(
            "corrupt-audio",
            f"{path}: a sampling rate of {sound.samplerate} Hz is none of a recording "
            f"({LOWEST_RATE} to {HIGHEST_RATE} Hz)",
        )
    if sound.channels > MOST_CHANNELS:
        raise UtteranceError(
            "corrupt-audio", f"{path}: {sound.channels} channels are more than {MOST_CHANNELS}"
        )


def _check_whole(path: Path, sound: Any, frames: int) -> None:
    """Refuse a FLAC file that ends before the length that it states; one that was streamed states none."""
    stated = sound.frames
    if sound.format == "FLAC" and frames < stated < _UNKNOWN_LENGTH:
        raise UtteranceError(
            "corrupt-audio",
            f"{path}: ends after {frames / sound.samplerate:.3g} s of {stated / sound.samplerate:.3g} s",
        )


_UNKNOWN_LENGTH = 1 << 62  # what libsndfile says of a file that does not say it is near 2 ** 63


def _missing(path: Path, error: OSError) -> UtteranceError:
    return UtteranceError("missing-audio", f"{path}: cannot be read: {error.strerror or error}")
