"""The demo data; apart from `datasets`, because listing asks for it and reads no clip."""

from __future__ import annotations

from pathlib import Path

from xbench.description import DatasetDescription

DEMO = DatasetDescription(
    name="demo",
    version="1",
    summary="Short synthetic clips in English, Italian, German and French, translated to English.",
    source="scripts/make_demo_data.py, spoken by espeak-ng",
    implementation="xbench.data.demo:demo_manifest",
    licence="CC0-1.0",
    synthetic=True,
    splits={
        "test": "voices and sentences seen nowhere else",
        "dev": "for fitting floors and widths",
    },
)


def demo_manifest(split: str) -> Path:
    """Return the packaged manifest of one split of the demo data."""
    return Path(__file__).parents[1] / "demo" / f"{split}.jsonl"
