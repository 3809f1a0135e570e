"""A bundle of one utterance, as small as can be."""

from __future__ import annotations

import base64
from typing import Any

BUNDLE: dict[str, Any] = {
    "schema": "xbench.example/1",
    "id": "demo-clip-12345678",
    "task": "asr",
    "model": "m",
    "utterance": "clip",
    "language": "en",
    "target_language": None,
    "transcript": "one",
    "translation": None,
    "hypothesis": "one",
    "quality": {"metric": "wer", "value": 0.0},
    "cluster": None,
    "licence": None,
    "attribution": None,
    "seconds": 0.04,
    "audio": None,
    "audio_reason": "not-asked-for",
    "frame_seconds": 0.02,
    "melframe_seconds": 0.01,
    "tokens": [
        {"text": "one", "content": True, "start": 0.0, "end": 0.03},
        {"text": "<end>", "content": False, "start": None, "end": None},
    ],
    "spectrogram": {"shape": [2, 2], "min": -8.0, "max": 0.0, "data": "AP8A/w=="},
    "maps": [
        {
            "id": "method-mean-heads",
            "label": "mean-heads",
            "kind": "method",
            "method": "mean-heads",
            "params": {},
            "reference": None,
            "space": "encoder",
            "shape": [2, 2],
            "min": [0.0, 0.5],
            "max": [1.0, 0.5],
            "data": base64.b64encode(bytes([0, 255, 0, 0])).decode(),
            "row_reliability": None,
            "scores": {"pearson@spes-encoder": 0.5, "deletion-auc": None},
        }
    ],
}
