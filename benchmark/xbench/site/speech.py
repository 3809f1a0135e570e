"""Whether the clips of a task were spoken by people, as far as anybody says so."""

from __future__ import annotations

from typing import Literal

from xbench import registry
from xbench.description import CorpusDescription
from xbench.site.tables.entries import Task

# The clips that `scripts/real_clips.py` chooses; `packs/clips` has their sources.
CLIP_SETS = frozenset(
    f"real-speech-{track}"
    for track in ("asr-en", "asr-en-input", "asr-multi", "st-to-en", "words-en", "words-multi")
)

Speech = Literal["recorded", "synthetic", "not stated"]


def speech_of(task: Task) -> Speech:
    """Say what is registered of the dataset of a task; of other clips given with --data nobody states it."""
    name = task.facts["dataset"]["name"]
    if name in CLIP_SETS:
        return "recorded"
    known = {d.name: d for d in registry.datasets.descriptions()}.get(name)
    if known is None:
        return "not stated"
    if known.synthetic:
        return "synthetic"
    return (
        "recorded" if isinstance(known, CorpusDescription) and not known.generic else "not stated"
    )
