"""Example bundles that no model made: a chirp, its picture, and maps that follow it or do not."""

from __future__ import annotations

import base64
import json
import math
import struct
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WORDS = ("▁the", "▁quick", "▁brown", "▁fox", "▁jumps", "▁over", "▁the", "▁lazy", "▁dog", ".")
RATE = 16_000
SECONDS = 4.0
FRAMES, MEL, MELFRAMES = 200, 80, 400
BANDS = 8
VOLUME = [
    (t * 20 + b * 25 + f) % 256 for t in range(10) for b in range(BANDS) for f in range(FRAMES)
]


def _packed(values: Sequence[int]) -> str:
    return base64.b64encode(bytes(values)).decode()


def _map(id: str, kind: str, weight: Callable[[int, int], float], **more: Any) -> dict[str, Any]:
    rows = [[weight(t, f) for f in range(FRAMES)] for t in range(len(WORDS))]
    low, high = [min(row) for row in rows], [max(row) for row in rows]
    data = [
        round(255 * (x - low[t]) / (high[t] - low[t])) if high[t] > low[t] else 0
        for t, row in enumerate(rows)
        for x in row
    ]
    return {
        "id": id,
        "label": id,
        "kind": kind,
        "method": id,
        "params": {},
        "reference": "spes-encoder" if kind == "reference" else None,
        "space": "encoder",
        "shape": [len(WORDS), FRAMES],
        "min": [round(x, 6) for x in low],
        "max": [round(x, 6) for x in high],
        "data": _packed(data),
        "row_reliability": [0.9] * len(WORDS) if kind == "reference" else None,
        "path": [20 * t for t in range(len(WORDS))],
        "scores": {} if kind == "reference" else {"pearson@spes-encoder": 0.5},
        **more,
    }


def _head(layer: int, head: int) -> dict[str, Any]:
    made = _map("head", "method", lambda t, f: (f // 10 + t + layer + head) % 5)
    kept = {name: made[name] for name in ("shape", "min", "max", "data")}
    path = [20 * t for t in range(len(WORDS))]
    return {"layer": layer, "head": head, **kept, "path": path, "scores": {"pearson": 0.25}}


def bundle(
    id: str = "demo-one", *, text: str = "the quick brown fox", **more: Any
) -> dict[str, Any]:
    """Return a bundle of ten tokens over four seconds; `text` stands where strangers may write."""
    step = SECONDS / len(WORDS)
    bump = lambda t, f, width: math.exp(-(((f - 20 * t - 10) / width) ** 2))  # noqa: E731
    picture = [
        round(127 + 120 * math.sin(m / 9 + f / 15) * math.exp(-(((m - f / 6) / 22) ** 2)))
        for f in range(MELFRAMES)
        for m in range(MEL)
    ]
    return {
        "schema": "xbench.example/1",
        "id": id,
        "task": "demo-asr-en",
        "model": "xbench-tiny",
        "utterance": "clip-0001",
        "language": "en",
        "target_language": None,
        "transcript": text,
        "translation": None,
        "hypothesis": text,
        "quality": {"metric": "wer", "value": 0.0},
        "cluster": "speaker-0",
        "licence": "CC0-1.0",
        "attribution": text,
        "seconds": SECONDS,
        "audio": "audio.wav",
        "audio_reason": None,
        "frame_seconds": SECONDS / FRAMES,
        "melframe_seconds": SECONDS / MELFRAMES,
        "tokens": [
            {
                "text": word,
                "content": word != ".",
                "start": round(i * step, 2) if word != "." else None,
                "end": round((i + 1) * step, 2) if word != "." else None,
            }
            for i, word in enumerate(WORDS)
        ],
        "spectrogram": {
            "shape": [MELFRAMES, MEL],
            "min": -1.0,
            "max": 1.0,
            "data": _packed(picture),
        },
        "maps": [
            _map("mean-heads", "method", lambda t, f: 0.2 + 0.6 * bump(t, f, 25)),
            _map("spes-encoder", "reference", lambda t, f: bump(t, f, 8)),
            _map("chefer", "method", lambda t, f: bump(t, f + 6, 12)),
            _map("uniform", "control", lambda t, f: 0.005),
            _map("rollout", "method", lambda t, f: bump(t, f - 6, 12)),
        ],
        "volumes": [
            {
                "map": "mean-heads",
                "shape": [len(WORDS), BANDS, FRAMES],
                "min": [0.0] * len(WORDS),
                "max": [1.0] * len(WORDS),
                "data": _packed(VOLUME),
            }
        ],
        "heads": [_head(layer, head) for layer in range(2) for head in range(3)],
        **more,
    }


def write_bundle(folder: Path, content: dict[str, Any]) -> Path:
    """Write a bundle, with its sound if it has one, as `xbench examples export` lays it out."""
    place = folder / content["id"]
    place.mkdir(parents=True)
    (place / "bundle.json").write_text(json.dumps(content), "utf-8")
    if content["audio"]:
        count = int(SECONDS * RATE)
        samples = [
            round(9000 * math.sin(2 * math.pi * (200 + 0.02 * i) * i / RATE)) for i in range(count)
        ]
        with wave.open(str(place / "audio.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(struct.pack(f"<{count}h", *samples))
    return folder
