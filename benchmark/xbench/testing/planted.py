"""A toy speech model whose evidence is known."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xbench.models.protocol import Features, Hypothesis, MaskedLogits, ModelInfo, layout
from xbench.spec import Decoding
from xbench.trace import Trace

RATE = 16000


@dataclass(frozen=True)
class Planted:
    """A toy speech model: token i is as likely as frames `frames[i]` are loud in mels `band`.

        H[j] = mean of melframes 2j and 2j + 1                          [frame, mel]
        logits[i, tokens[i]] = gain * mean of H[j, c] over j in frames[i], c in band

    All other logits are 0, and no other frame or channel has any influence.
    """

    frames: tuple[tuple[int, ...], ...] = ((1, 2), (5, 6), (9, 10))
    band: tuple[int, ...] = (4, 5, 6, 7)
    mels: int = 12
    total: int = 12
    padding: int = 3
    gain: float = 6.0
    vocabulary: int = 6

    @property
    def info(self) -> ModelInfo:
        """Return a description of no network at all."""
        return ModelInfo(
            name="planted",
            family="planted",
            source="local",
            revision="1",
            architecture="Planted",
            n_parameters=0,
            precision="float32",
            device="cpu",
            sampling_rate=RATE,
            max_samples=RATE,
            encoder_layers=1,
            decoder_layers=1,
            heads=1,
        )

    def check_language(self, source: str, target: str | None) -> None:
        """Take every language."""

    def features(self, audio: np.ndarray) -> Features:
        """Return loud cells where the tokens look (alike for any audio), silence elsewhere."""
        values = torch.zeros(2 * (self.total + self.padding), self.mels)
        for frames in self.frames:
            for frame in frames:
                values[2 * frame : 2 * frame + 2, list(self.band)] = 1.0
        return Features(values, 2 * self.total, self.total, 2, 0.01)

    def decode(
        self, features: Features, source: str, target: str | None, decoding: Decoding
    ) -> Hypothesis:
        """Return one token per set of frames, numbered from 1."""
        tokens = tuple(range(1, len(self.frames) + 1))
        return Hypothesis(
            prompt=(0,),
            tokens=tokens,
            texts=tuple(str(token) for token in tokens),
            content=tuple(range(len(tokens))),
            text=" ".join(map(str, tokens)),
            truncated=False,
        )

    def randomised(self, seed: int) -> Planted:
        """There are no weights to initialise anew."""
        return self

    def frame_masking(self, encoded: Tensor, hypothesis: Hypothesis) -> MaskedLogits:
        """The plain way: every mask multiplies the encoder output."""
        return lambda keep: self.logits(encoded * keep[..., None], hypothesis)

    def encode(self, values: Tensor) -> Tensor:
        """Return H: pairs of melframes averaged."""
        return values.unflatten(1, (-1, 2)).mean(2)

    def logits(self, encoded: Tensor, hypothesis: Hypothesis) -> Tensor:
        """Return the logits that the class describes."""
        logits = encoded.new_zeros(len(encoded), len(hypothesis.tokens), self.vocabulary)
        for row, token in enumerate(hypothesis.tokens):
            heard = encoded[:, list(self.frames[row])][..., list(self.band)]
            logits[:, row, token] = self.gain * heard.mean((1, 2))
        return logits

    def trace(self, features: Features, hypothesis: Hypothesis, needs: Set[str]) -> Trace:
        """Return cross-attention that looks at the evidence, evenly."""
        attention = torch.zeros(1, 1, len(hypothesis.tokens), features.frames)
        for row, frames in enumerate(self.frames):
            attention[0, 0, row, list(frames)] = 1 / len(frames)
        padding = torch.zeros(1, 1, len(hypothesis.tokens))
        return Trace(layout(features, hypothesis), attention, padding, 1)
