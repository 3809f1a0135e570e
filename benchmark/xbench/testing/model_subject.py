"""What the battery of a model is run on, and when two outputs of it count as the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from xbench.description import CAPTURES
from xbench.hiding.effect import kl_divergence
from xbench.models.protocol import Features, Hypothesis, SpeechModel
from xbench.spec import Decoding
from xbench.testing.battery import Broken
from xbench.testing.state import State, model_state
from xbench.trace import Trace

SAME = 1e-5  # nats
OTHER = 1e-6  # nats: less than any change that means something, more than rounding
TOKENS = 12

Audio = Float32[np.ndarray, " _"]  # clips differ in length


@dataclass(frozen=True)
class Subject:
    """The model, a shorter and a longer clip, and what the model makes of them."""

    model: SpeechModel
    short: Audio
    long: Audio
    language: str

    @cached_property
    def before(self) -> State:
        """The state of weights, hooks and flags before the first check."""
        return model_state(self.model)

    @cached_property
    def features(self) -> tuple[Features, Features]:
        """Of the short and the long clip."""
        assert self.before
        return self.model.features(self.short), self.model.features(self.long)

    @cached_property
    def hypothesis(self) -> Hypothesis:
        """The greedy hypothesis of the short clip."""
        greedy = Decoding(beams=1, no_repeat_ngram=0, max_tokens=TOKENS)
        return self.model.decode(self.features[0], self.language, None, greedy)

    @cached_property
    @torch.no_grad()
    def encoded(self) -> Float[Tensor, "1 frame dim"]:
        """Of the short clip."""
        return self.model.encode(self.features[0].values[None])

    @cached_property
    @torch.no_grad()
    def logits(self) -> Float[Tensor, "token vocab"]:
        """Of the short clip, alone."""
        return self.model.logits(self.encoded, self.hypothesis)[0]

    @cached_property
    def trace(self) -> Trace:
        """Everything that the model can capture of the short clip."""
        return self.model.trace(self.features[0], self.hypothesis, CAPTURES)


def divergence(
    expected: Float[Tensor, "token vocab"], found: Float[Tensor, "token vocab"]
) -> float:
    """Return the largest KL divergence of any row, in nats."""
    if expected.shape != found.shape:
        raise Broken(f"logits of shape {list(found.shape)}, expected {list(expected.shape)}")
    log_p, log_q = expected.float().log_softmax(-1), found.float().log_softmax(-1)
    return float(kl_divergence(log_p, log_q[None]).max())


def expect_same(expected: Tensor, found: Tensor, what: str) -> None:
    """Raise Broken where two outputs differ by more than rounding."""
    nats = divergence(expected, found)
    if not nats < SAME:
        raise Broken(f"{what}: KL {nats:.3g}, allowed {SAME:g}")
