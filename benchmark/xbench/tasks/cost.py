"""What a task takes, before anything is run."""

from __future__ import annotations

from xbench import registry
from xbench.description import CorpusDescription
from xbench.spec import FROM_USER, TaskSpec

_ASSUMED_CLIP_SECONDS = 10.0


def passes(task: TaskSpec) -> dict[str, int]:
    """Return the forward passes that one utterance takes at most: `full`, and `decoder` alone.

    A reference over the spectrogram runs the whole model for every perturbed pass and for a clean one; one over
    encoder frames runs the decoder alone. Perturbed passes that a reference does not tell beforehand are not
    counted. Decoding and one trace are one full pass.
    """
    counts = {"full": 1, "decoder": 0}
    for call in task.references:
        description = registry.references.get(call.name)
        perturbed = description.most_passes(call) or 0
        counts["full" if description.space == "input" else "decoder"] += perturbed + 1
    return counts


def clip_seconds(task: TaskSpec) -> tuple[float, str]:
    """Return the typical length of a task's clips in seconds, and where that is from."""
    if task.dataset.name != FROM_USER:
        description = registry.datasets.get(task.dataset.name)
        if isinstance(description, CorpusDescription) and description.clip_seconds:
            return description.clip_seconds, f"mean of {description.name}"
    return _ASSUMED_CLIP_SECONDS, "assumed"
