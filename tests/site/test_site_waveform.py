from __future__ import annotations

import base64
import io
import struct
import wave

import numpy as np

from xbench.site.waveform import STEPS, loudness, outline


def clip(samples: list[int], width: int = 2) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(16_000)
        file.writeframes(struct.pack(f"<{len(samples)}{'h' if width == 2 else 'b'}", *samples))
    return buffer.getvalue()


def levels(samples: list[int]) -> list[int]:
    made = outline(clip(samples))
    assert made is not None
    return list(base64.b64decode(made))


def test_the_outline_is_the_loudest_sample_of_each_step() -> None:
    assert levels([0, -100, 50, 200]) == [0, 128, 64, 255]  # 127.5 goes to the even 128
    long = [0] * (3 * STEPS)
    long[4] = -32768  # second step; the lowest sample has no positive twin in 16 bits
    long[8] = 16384
    assert levels(long) == [0, 255, 128, *[0] * (STEPS - 3)]


def test_loudness_goes_from_the_softest_step_to_the_loudest() -> None:
    picture = np.array([[-8.0, -8.0], [-4.0, -2.0], [-6.0, -4.0]])  # means -8, -3, -5
    assert list(base64.b64decode(loudness(picture))) == [0, 255, 153]  # 3 / 5 of the way
    assert list(base64.b64decode(loudness(np.zeros((2, 3))))) == [0, 0]


def test_silence_stays_flat_and_other_formats_have_no_outline() -> None:
    assert levels([0, 0]) == [0, 0]
    assert outline(clip([1, 2], width=1)) is None
    assert outline(clip([])) is None
    assert outline(b"RIFF????WAVE") is None
