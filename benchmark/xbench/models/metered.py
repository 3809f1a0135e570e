"""A model that counts its passes, so that costs are measured and not declared."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from xbench.models.protocol import (
    AudioReading,
    Features,
    Hypothesis,
    Keep,
    MaskedLogits,
    ModelInfo,
    SpeechModel,
    ValidLogits,
)
from xbench.spec import Decoding
from xbench.trace import Trace


@dataclass(frozen=True)
class Passes:
    """Sequences taken through the decoder, forward and backward."""

    forward: int = 0
    backward: int = 0

    def __sub__(self, other: Passes) -> Passes:
        return Passes(self.forward - other.forward, self.backward - other.backward)


class MeteredModel:
    """Wraps a model and counts what is run: each sequence of a batch that the decoder reads is one forward pass.

    Each sequence is one backward pass whenever a gradient flows back from the logits, also when it carries the
    gradients of several tokens at once, since that takes as long as one.
    """

    def __init__(self, model: SpeechModel) -> None:
        self._model = model
        self.passes = Passes()

    def __getattr__(self, name: str) -> Any:
        # For members beyond the protocol that run no pass, such as `attention_stacks`; they need no count.
        return getattr(self._model, name)

    @property
    def measured(self) -> SpeechModel:
        """The wrapped model."""
        return self._model

    def beside(self, model: SpeechModel) -> MeteredModel:
        """Return another model, counted with this one."""
        other = MeteredModel(model)
        other._count = self._count  # type: ignore[method-assign]  # one meter for both
        return other

    @property
    def info(self) -> ModelInfo:
        """Name and limits of the wrapped model."""
        return self._model.info

    def check_language(self, source: str, target: str | None) -> None:
        """Ask the wrapped model."""
        self._model.check_language(source, target)

    def features(self, audio: Float32[np.ndarray, " sample"]) -> Features:
        """Ask the wrapped model."""
        return self._model.features(audio)

    def decode(
        self, features: Features, source: str, target: str | None, decoding: Decoding
    ) -> Hypothesis:
        """Ask the wrapped model; decoding is no cost of a method."""
        return self._model.decode(features, source, target, decoding)

    def encode(
        self, values: Float[Tensor, "batch melframe mel"]
    ) -> Float[Tensor, "batch frame dim"]:
        """Ask the wrapped model; a pass is counted where the decoder runs."""
        return self._model.encode(values)

    def logits(
        self, encoded: Float[Tensor, "batch frame dim"], hypothesis: Hypothesis
    ) -> Float[Tensor, "batch token vocab"]:
        """Count and forward."""
        logits = self._model.logits(encoded, hypothesis)
        self._count(forward=len(encoded))
        if logits.requires_grad:
            logits.register_hook(lambda gradient: self._count(backward=len(encoded)))
        return logits

    def frame_masking(
        self, encoded: Float[Tensor, "1 frame dim"], hypothesis: Hypothesis
    ) -> MaskedLogits:
        """Count every mask."""
        return self._masks_counted(self._model.frame_masking(encoded, hypothesis))

    def frame_removal(
        self, encoded: Float[Tensor, "1 frame dim"], hypothesis: Hypothesis
    ) -> MaskedLogits:
        """Count every mask, where the wrapped model has such passes."""
        model: Any = self._model
        return self._masks_counted(model.frame_removal(encoded, hypothesis))

    def _masks_counted(self, masked_logits: MaskedLogits) -> MaskedLogits:
        def counted(keep: Keep) -> Float[Tensor, "batch token vocab"]:
            self._count(forward=len(keep))
            return masked_logits(keep)

        return counted

    def audio_reading(self, hypothesis: Hypothesis) -> AudioReading:
        """Count every sequence, where the wrapped model has such passes."""
        model: Any = self._model
        reading: AudioReading = model.audio_reading(hypothesis)

        def counted(
            audio: Float[Tensor, "batch frame dim"], keys: Bool[Tensor, "batch frame"] | None
        ) -> Float[Tensor, "batch token vocab"]:
            self._count(forward=len(audio))
            return reading(audio, keys)

        return counted

    def input_masking(
        self, features: Features, hypothesis: Hypothesis, dtype: torch.dtype
    ) -> ValidLogits:
        """Count every sequence, where the wrapped model has such passes."""
        model: Any = self._model
        masked_logits: ValidLogits = model.input_masking(features, hypothesis, dtype)

        def counted(
            values: Float[Tensor, "batch validmelframe mel"],
        ) -> Float[Tensor, "batch token vocab"]:
            self._count(forward=len(values))
            return masked_logits(values)

        return counted

    def frozen_padding(self, features: Features, hypothesis: Hypothesis) -> ValidLogits:
        """Count the clean pass and every sequence, where the wrapped model has such passes."""
        model: Any = self._model
        frozen_logits: ValidLogits = model.frozen_padding(features, hypothesis)
        self._count(forward=1)

        def counted(
            values: Float[Tensor, "batch validmelframe mel"],
        ) -> Float[Tensor, "batch token vocab"]:
            self._count(forward=len(values))
            return frozen_logits(values)

        return counted

    def trace(self, features: Features, hypothesis: Hypothesis, needs: Set[str]) -> Trace:
        """Count one pass."""
        self._count(forward=1)
        return self._model.trace(features, hypothesis, needs)

    def randomised(self, seed: int) -> MeteredModel:
        """Return the re-initialised model, counted with this one."""
        return self.beside(self._model.randomised(seed))

    def _count(self, *, forward: int = 0, backward: int = 0) -> None:
        self.passes = Passes(self.passes.forward + forward, self.passes.backward + backward)


def model_classes(model: SpeechModel) -> tuple[type, ...]:
    """Return the classes whose functions a model runs, that of the counting included."""
    measured = model.measured if isinstance(model, MeteredModel) else model
    return (MeteredModel, *type(measured).__mro__[:-1])
