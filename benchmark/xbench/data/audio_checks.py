"""Which audio is no recording of speech: every front end (runs, explain, validation) refuses it here, in one sentence.

A clip that is refused is counted with its reason and never scored: whatever a model writes for it is made up.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float

from xbench.errors import UtteranceError
from xbench.inputs import LFS_POINTER, NO_FILE_OF_LFS

# What no recording of speech has: such a header is damaged, or made to fill memory.
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
MOST_CHANNELS = 64
SHORTEST_SECONDS = 0.025  # one window of a spectrogram
# Of the largest sample around the mean, where 1 is full scale: -60 dB is silence; float files may exceed 1, but
# samples above 20 dB are integers that somebody wrote as floats.
SILENCE, LOUDEST = 10 ** (-60 / 20), 10 ** (20 / 20)
CANCELLED = 10 ** (
    -40 / 20
)  # of the average of the channels against the channels themselves, root mean square
_LOST_SECONDS = 0.05  # by which a file may end early: encoders count padding differently
_UNKNOWN_LENGTH = 1 << 62  # what libsndfile says of a file that does not say it is near 2 ** 63
_STREAMED_BYTES = 0x7FFF0000  # in the header of a WAV file that was written to a pipe, or more
# How libsndfile tells that a file ends before its header says: "data : 120168 (should be 72083)"
_CUT = re.compile(r"^ *(?:data|SSND|riff) *: *(\d+) \(should be (\d+)\)", re.MULTILINE)


BEGINNING = 200
# How files begin that libsndfile reads, and those that it does not know: MP4 and M4A, Matroska and WebM, WMA, AMR:
_SOUND = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM")
_OTHER_SOUND = (b"ftyp", b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75", b"#!AMR")


def states_length(sound: Any) -> bool:
    """Say whether a file says how long it is; one that was streamed does not."""
    return bool(sound.frames < _UNKNOWN_LENGTH)


def no_audio(start: bytes) -> str | None:
    """Say what a file that no decoder takes is instead, by its first `BEGINNING` bytes; None where they do not tell."""
    if not start:
        return "is empty; copy it again"
    if start.startswith(LFS_POINTER):
        return f"is {NO_FILE_OF_LFS}"
    if any(mark in start[:16] for mark in _OTHER_SOUND):
        return (
            "is of a format that is not read; convert it to FLAC or WAV (ffmpeg -i FILE FILE.flac)"
        )
    if start.startswith(_SOUND):  # a damaged one
        return None
    with suppress(UnicodeDecodeError):
        start.decode("utf-8")
        if b"\0" not in start:
            return "holds text and no audio; was an error page downloaded in its place?"
    return None


def check_header(path: Path, sound: Any) -> None:
    """Refuse a rate or a number of channels that no recording has; `corrupt-audio`."""
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


def check_whole(path: Path, file: BinaryIO, sound: Any, frames: int) -> None:
    """Refuse a file that ends before the length that it states; one that was streamed states none. `corrupt-audio`.

    FLAC states its samples, MP3 does in a Xing or Info header (without one the length is a guess), WAV and AIFF state
    bytes, and OGG marks its last page.
    """
    rate = sound.samplerate
    stated = None
    if sound.format == "FLAC" or (sound.format == "MP3" and _has_info(file)):
        stated = sound.frames if states_length(sound) else None
    elif cut := _CUT.search(sound.extra_info):
        said, there = map(int, cut.groups())
        stated = frames * said // max(there, 1) if 0 < said < _STREAMED_BYTES else None
    elif sound.format == "OGG" and not _has_last_page(file):
        raise UtteranceError(
            "corrupt-audio",
            f"{path}: is cut off after {frames / rate:.3g} s: its last page is not there",
        )
    lost = 0 if sound.format == "FLAC" else _LOST_SECONDS
    if stated is not None and stated - frames > lost * rate:
        raise UtteranceError(
            "corrupt-audio",
            f"{path}: ends after {frames / rate:.3g} s of {stated / rate:.3g} s",
        )


def check_channels(path: Path, mono: float, channels: float) -> None:
    """Refuse channels that cancel when they are averaged; `cancelling-channels`.

    mono, channels: mean squares of the average of the channels, and of all channels.
    """
    if mono < CANCELLED**2 * channels:
        raise UtteranceError(
            "cancelling-channels",
            f"{path}: its channels cancel when they are averaged: one is the other inverted; give a file with one "
            "of them",
        )


def check_samples(path: Path, samples: Float[np.ndarray, " sample"], rate: int) -> None:
    """Refuse samples in which nobody can speak.

    Raises:
        UtteranceError: `empty-audio`, `non-finite-audio`, `too-short`, `silent-audio` or `misscaled-audio`.
    """
    if not len(samples):
        raise UtteranceError("empty-audio", f"{path}: holds no samples")
    if not np.isfinite(samples).all():
        raise UtteranceError("non-finite-audio", f"{path}: holds NaN or infinite samples")
    if len(samples) < SHORTEST_SECONDS * rate:
        raise UtteranceError(
            "too-short",
            f"{path}: lasts {1000 * len(samples) / rate:.2g} ms, less than one window of a spectrogram "
            f"({1000 * SHORTEST_SECONDS:g} ms)",
        )
    peak = float(np.abs(samples - samples.mean(dtype=np.float64)).max())
    if peak < SILENCE:
        raise UtteranceError(
            "silent-audio",
            f"{path}: is silent: its samples stay within -60 dB of full scale around their mean",
        )
    if peak > LOUDEST:
        raise UtteranceError(
            "misscaled-audio",
            f"{path}: holds samples up to {peak:.5g}, where full scale is 1; divide them by the full scale of the "
            "integers that they were (32768 for 16 bit)",
        )


def _has_info(file: BinaryIO) -> bool:
    """Say whether an MP3 file states its length: in its first frame, which follows the tags."""
    place = file.tell()
    file.seek(0)
    head = file.read(10)
    tags = 0
    if head[:3] == b"ID3" and len(head) == 10:
        tags = 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
    file.seek(tags)
    frame = file.read(256)
    file.seek(place)
    return b"Xing" in frame or b"Info" in frame


def _has_last_page(file: BinaryIO) -> bool:
    """Say whether the last page of an OGG file is marked as such; a page has at most 65,307 bytes."""
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(max(0, size - 2 * 65_307))
    end = file.read()
    file.seek(place)
    page = end.rfind(b"OggS")
    return page >= 0 and len(end) > page + 5 and bool(end[page + 5] & 4)
