"""A bundle of the longest clip that a model hears at once: 30 s, 100 tokens, a dozen maps of 1,500 frames, heads."""

from __future__ import annotations

from typing import Any

import numpy as np
from bundles import bundle

from xbench.bundle import pack

TOKENS, FRAMES, MEL, SECONDS = 100, 1500, 80, 30.0
_WORDS = ("▁the", "▁quick", "▁responsibilities", "▁fox", ",", "▁internationally", "▁a", "▁dog")


def long_bundle(id: str = "long-one") -> dict[str, Any]:
    """Return a bundle whose maps are noise about a diagonal: bytes that no compression makes small."""
    chance = np.random.default_rng(0)
    step = SECONDS / TOKENS
    words = [_WORDS[t % len(_WORDS)] for t in range(TOKENS)]
    place = np.arange(FRAMES) / FRAMES - (np.arange(TOKENS)[:, None] + 0.5) / TOKENS
    kinds = ["reference", *["method"] * 10, "control"]
    maps = []
    for number, kind in enumerate(kinds):
        values = np.exp(-((place * 60) ** 2)) + 0.3 * chance.random((TOKENS, FRAMES))
        maps.append(
            {
                "id": f"{kind}-{number}",
                "label": f"{kind}-with-a-name-{number}",
                "kind": kind,
                "method": f"{kind}-{number}",
                "params": {},
                "reference": "spes-encoder" if kind == "reference" else None,
                "space": "encoder",
                "shape": [TOKENS, FRAMES],
                **pack(values),
                "row_reliability": [0.9] * TOKENS if kind == "reference" else None,
                "path": [t * FRAMES // TOKENS for t in range(TOKENS)],
                "scores": {} if kind == "reference" else {"pearson@spes-encoder": 0.5},
            }
        )
    sound = pack(chance.random((1, 2 * FRAMES * MEL)))
    return bundle(
        id,
        text=" ".join(word.strip("▁") for word in words),
        seconds=SECONDS,
        audio=None,
        audio_reason="licence-not-allowed",
        frame_seconds=SECONDS / FRAMES,
        melframe_seconds=SECONDS / (2 * FRAMES),
        tokens=[
            {
                "text": word,
                "content": word != ",",
                "start": round(t * step, 2) if word != "," else None,
                "end": round((t + 1) * step, 2) if word != "," else None,
            }
            for t, word in enumerate(words)
        ],
        spectrogram={
            "shape": [2 * FRAMES, MEL],
            "min": sound["min"][0],
            "max": sound["max"][0],
            "data": sound["data"],
        },
        maps=maps,
        volumes=[],
        heads=[],
    )
