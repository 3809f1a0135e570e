"""Audio files as mono float32 samples at the rate a model wants."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float

from xbench.errors import UtteranceError


def read_audio(path: Path, sampling_rate: int) -> Float[np.ndarray, "sample"]:
    """Decode WAV, FLAC, OGG or MP3, average the channels and resample to `sampling_rate` (Hz).

    Raises:
        UtteranceError: `missing-audio`, `corrupt-audio`, `empty-audio` or `non-finite-audio`.
    """
    # Manifests are checked without decoding, which alone needs the two C libraries.
    import soxr

    channels, file_rate = _decode(path)
    if not np.isfinite(channels).all():
        raise UtteranceError("non-finite-audio", f"{path}: holds NaN or infinite samples")
    mono = channels.mean(axis=1, dtype=np.float32)
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
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _missing(path, error) from None


def _decode(path: Path) -> tuple[Float[np.ndarray, "sample channel"], int]:
    import soundfile

    try:
        with path.open("rb") as file:
            return soundfile.read(file, dtype="float32", always_2d=True)  # type: ignore[no-any-return]
    except OSError as error:
        raise _missing(path, error) from None
    except soundfile.LibsndfileError as error:
        raise UtteranceError(
            "corrupt-audio", f"{path}: cannot be decoded: {error.error_string}"
        ) from None


def _missing(path: Path, error: OSError) -> UtteranceError:
    return UtteranceError("missing-audio", f"{path}: cannot be read: {error.strerror or error}")
