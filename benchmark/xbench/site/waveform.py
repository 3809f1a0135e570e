"""The outline of a clip's waveform, small enough for a page: a browser cannot read samples from `file://`."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from xbench.site.examples import Example

STEPS = 600
"""Most steps of an outline: about one per pixel."""


def with_outlines(examples: Sequence[Example], media: Mapping[str, bytes]) -> tuple[Example, ...]:
    """Return the examples, those with sound with `peaks` in their bundle."""
    return tuple(
        replace(e, bundle={**e.bundle, "peaks": outline(media[e.audio])}) if e.audio else e
        for e in examples
    )


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
