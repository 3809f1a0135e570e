"""Audio files as mono float32 samples at the rate a model wants."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float

from xbench.data.audio_checks import (
    BEGINNING,
    check_channels,
    check_header,
    check_samples,
    check_whole,
    no_audio,
    states_length,
)
from xbench.errors import UtteranceError
from xbench.inputs import open_plain

LONGEST_SECONDS = 3600.0
_BLOCK = 1 << 16  # frames that are decoded at a time
_ONE_AT_A_TIME = threading.Lock()  # standard error is the process's


def read_audio(
    path: Path, sampling_rate: int, longest_seconds: float = LONGEST_SECONDS
) -> Float[np.ndarray, "sample"]:
    """Decode WAV, FLAC, OGG or MP3, average the channels and resample to `sampling_rate` (Hz).

    Memory is bounded by `longest_seconds` at the rate of the file, whatever its header claims.

    Raises:
        UtteranceError: `missing-audio`, `corrupt-audio`, `too-long`, `cancelling-channels`, or as `check_samples`.
    """
    # Manifests are checked without decoding, which alone needs the two C libraries.
    import soxr

    mono, file_rate = _decode(path, longest_seconds)
    check_samples(path, mono, file_rate)
    if file_rate == sampling_rate:
        return mono
    samples: Float[np.ndarray, " sample"] = soxr.resample(mono, file_rate, sampling_rate, "HQ")
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


def readable_sha256(path: Path) -> str:
    """Return what `audio_sha256` returns, and nothing for a file that cannot be read: its clip fails alone in a run."""
    try:
        return audio_sha256(path)
    except UtteranceError:
        return ""


def check_audio(path: Path) -> None:
    """Decode a file and refuse it for what `read_audio` refuses; raises UtteranceError."""
    check_samples(path, *_decode(path, LONGEST_SECONDS))


def audio_seconds(path: Path) -> float | None:
    """Return how long a file says it is, without decoding it; None where it was streamed and does not say.

    Raises:
        UtteranceError: `missing-audio` or `corrupt-audio`.
    """
    import soundfile

    try:
        with open_plain(path) as file, quiet_decoder(file), soundfile.SoundFile(file) as sound:
            return sound.frames / sound.samplerate if states_length(sound) else None
    except OSError as error:
        raise _missing(path, error) from None
    except soundfile.LibsndfileError as error:
        raise _corrupt(path, error) from None


def decoded_seconds(path: Path) -> float:
    """Return how long a file is, by decoding it: for one that does not say; raises UtteranceError as `read_audio`."""
    mono, rate = _decode(path, LONGEST_SECONDS)
    return len(mono) / rate


def _decode(path: Path, longest_seconds: float) -> tuple[Float[np.ndarray, " sample"], int]:
    """Decode block by block: a streamed file does not say how long it is, and a header may lie."""
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
        """A file that is read once from its start: after each block soundfile seeks, which a streamed file refuses."""

        def seekable(self) -> bool:
            return False

    try:
        with open_plain(path) as file, quiet_decoder(file), Forward(file) as sound:
            check_header(path, sound)
            rate: int = sound.samplerate
            blocks, frames, energy = [], 0, 0.0
            while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
                frames += len(block)
                if frames > longest_seconds * rate:
                    raise UtteranceError(
                        "too-long",
                        f"{path}: lasts longer than {longest_seconds:g} s, the most that is read",
                    )
                blocks.append(block.mean(axis=1, dtype=np.float32))
                if sound.channels > 1:
                    energy += float(np.square(block, dtype=np.float64).mean(axis=1).sum())
            check_whole(path, file, sound, frames)
    except OSError as error:
        raise _missing(path, error) from None
    except soundfile.LibsndfileError as error:
        raise _corrupt(path, error) from None
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    check_channels(path, float(np.square(mono, dtype=np.float64).sum()), energy)
    return mono, rate


@contextmanager
def quiet_decoder(file: BinaryIO) -> Iterator[None]:
    """Send what the decoder of MP3 prints to nowhere: what is wrong with a file is told by us, once.

    mpg123 writes to the process's standard error, past Python, and libsndfile has no switch for it.
    """
    head = file.read(3)
    file.seek(0)
    mpeg = head == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")
    if not mpeg:
        yield
        return
    with _ONE_AT_A_TIME, Path(os.devnull).open("wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _corrupt(path: Path, error: Any) -> UtteranceError:
    try:
        with open_plain(path) as file:
            why = no_audio(file.read(BEGINNING))
    except OSError:
        why = None
    why = why or f"cannot be decoded: {error.error_string}"
    return UtteranceError("corrupt-audio", f"{path}: {why}")


def _missing(path: Path, error: OSError) -> UtteranceError:
    return UtteranceError("missing-audio", f"{path}: cannot be read: {error.strerror or error}")
