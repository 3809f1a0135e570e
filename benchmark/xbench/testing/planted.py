"""A toy speech model whose evidence is known."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xbench.models.protocol import Features, Hypothesis, MaskedLogits, ModelInfo, layout
from xbench.spec import Decoding
from xbench.trace import Trace

RATE = 16000
Evidence = Literal["all", "any", "padding", "previous"]


@dataclass(frozen=True)
class Planted:
    """A toy speech model: how likely token i is follows from its evidence, and from nothing else.

        H[j] = mean of melframes 2j and 2j + 1                          [frame, mel]
        h[j] = mean of H[j, c] over c in band                           1 in a loud frame, 0 in a silent one
        logits[i, tokens[i]] = gain * e[i]

    with e[i], by the kind of evidence,

        all         mean of h[j] over j in frames[i]: every frame adds its part
        any         1 - product of (1 - h[j]) over j in frames[i]: redundant, one loud frame is enough
        padding     1 - mean of h[j] over the padding: the silence after the clip
        previous    1 where the token before has the id that the model itself would write there: the text alone

    All other logits are 0. evidence: the kind of each token; empty: `all` for every token.
    """

    frames: tuple[tuple[int, ...], ...] = ((1, 2), (5, 6), (9, 10))
    evidence: tuple[Evidence, ...] = ()
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
        loud = encoded[..., list(self.band)].mean(-1)
        before = (hypothesis.prompt[-1], *hypothesis.tokens)
        for row, token in enumerate(hypothesis.tokens):
            own = loud[:, list(self.frames[row])]
            match self.kind(row):
                case "all":
                    evidence = own.mean(1)
                case "any":
                    evidence = 1 - (1 - own).prod(1)
                case "padding":
                    evidence = 1 - loud[:, self.total :].mean(1)
                case "previous":
                    evidence = torch.full_like(loud[:, 0], before[row] == row)
            logits[:, row, token] = self.gain * evidence
        return logits

    def kind(self, row: int) -> Evidence:
        """Return the kind of evidence of a token."""
        return self.evidence[row] if self.evidence else "all"

    def trace(self, features: Features, hypothesis: Hypothesis, needs: Set[str]) -> Trace:
        """Return cross-attention that looks at the evidence, evenly.

        A token whose evidence is the padding looks there, and evenly at what is left of it after the crop; one whose
        evidence is the text looks at the first frame, as real models do when they need no audio.
        """
        attention = torch.zeros(1, 1, len(hypothesis.tokens), features.frames)
        padding = torch.zeros(1, 1, len(hypothesis.tokens))
        for row, frames in enumerate(self.frames):
            match self.kind(row):
                case "padding":
                    attention[0, 0, row] = 1 / features.frames
                    padding[0, 0, row] = 1.0
                case "previous":
                    attention[0, 0, row, 0] = 1.0
                case _:
                    attention[0, 0, row, list(frames)] = 1 / len(frames)
        return Trace(layout(features, hypothesis), attention, padding, 1)
