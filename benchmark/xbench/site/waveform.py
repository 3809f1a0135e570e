"""The outline of a clip, small enough for a page: a browser cannot read samples from `file://`.

It is that of the waveform, and where the clip is withheld the loudness over time, which the spectrogram tells.
"""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from xbench.bundle import unpack
from xbench.site.examples import Example

STEPS = 600
"""Most steps of an outline: about one per pixel."""


def with_outlines(examples: Sequence[Example], media: Mapping[str, bytes]) -> tuple[Example, ...]:
    """Return the examples with `outline` in their bundle: what it shows, and its levels as base64."""
    return tuple(replace(e, bundle={**e.bundle, "outline": _outline(e, media)}) for e in examples)


def _outline(example: Example, media: Mapping[str, bytes]) -> list[str]:
    peaks = outline(media[example.audio]) if example.audio else None
    if peaks is not None:
        return ["Waveform", peaks]
    return ["Loudness", loudness(unpack(example.bundle["spectrogram"]))]


def loudness(spectrogram: Float[np.ndarray, "melframe mel"]) -> str:
    """Return the mean log energy of each step, the softest = 0 and the loudest = 255, as base64."""
    mean = spectrogram.mean(axis=1)
    parts = np.array_split(mean, min(STEPS, mean.size))
    steps = np.array([part.mean() for part in parts])
    levels = np.rint(255 * (steps - steps.min()) / (np.ptp(steps) or 1)).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode("ascii")


def outline(clip: bytes) -> str | None:
    """Return the loudest |sample| of each step, loudest of all = 255, as base64; None where not 16-bit PCM."""
    try:
        with wave.open(io.BytesIO(clip)) as file:
            if file.getsampwidth() != 2 or file.getnframes() == 0:
                return None
            frames = file.readframes(file.getnframes())
            samples = np.frombuffer(frames, "<i2").astype(np.int64)
    except (wave.Error, EOFError):
        return None
    parts = np.array_split(np.abs(samples), min(STEPS, samples.size))
    peaks = np.array([part.max() for part in parts])
    levels = np.rint(255 * peaks / max(1, int(peaks.max()))).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode("ascii")
