"""Perturbed passes of a fixed-window model that recompute only the frames that carry audio.

A model that pads to a window computes mostly padding for a short clip. Here the padding keeps the keys and values
of the clean pass, in every encoder layer and in the decoder's cross-attention, and only valid frames are queries.
This is an approximation (in the exact pass, padding frames hear the perturbed audio too), so whoever uses it
compares it with the exact pass first, per token (`hiding.checks`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from xbench.models.protocol import Features, Hypothesis, SpeechModel

# spectrograms [batch, melframe, mel], valid melframes only, to logits [batch, token, vocab]
FrozenLogits = Callable[
    [Float[Tensor, "batch validmelframe mel"]], Float[Tensor, "batch token vocab"]
]


@runtime_checkable
class FreezesPadding(Protocol):
    """What a fixed-window family may offer beside `SpeechModel`."""

    def frozen_padding(self, features: Features, hypothesis: Hypothesis) -> FrozenLogits:
        """Run the clean pass once; return logits of spectrograms against its frozen padding."""


def has_frozen_padding(model: SpeechModel) -> bool:
    """Say whether the family offers such passes, metered or not."""
    return isinstance(getattr(model, "measured", model), FreezesPadding)


def frozen_padding(model: SpeechModel, features: Features, hypothesis: Hypothesis) -> FrozenLogits:
    """Return the passes of a model that has them."""
    assert isinstance(model, FreezesPadding)
    return model.frozen_padding(features, hypothesis)
