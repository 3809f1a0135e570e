"""What is explained: each token's score as a function of the spectrogram or of the encoder output.

    f_i(x) = z_i[y_i]                            target `logit`
    f_i(x) = z_i[y_i] - log sum_v exp z_i[v]     target `log-probability`

z_i are the scores at the position that predicts token y_i, with the hypothesis as fixed prefix. x holds the
valid cells only: [melframe, mel] in space `input`, [frame, channel] in space `encoder`. Padding stays
what it was, so no method explains or perturbs it.

A baseline is the x of "nothing was heard": `channel-mean` (mean of each channel over the valid
frames), `zero`, or, on the spectrogram, `minimum` (its smallest value: silence where the scale is logarithmic).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xbench.case import Case
from xbench.models.attention_gradients import (
    ReadOut,
    differentiable_attention,
    tokens_per_pass,
    vector_jacobian_products,
)
from xbench.models.protocol import Hypothesis

Space = Literal["input", "encoder"]

_BATCH_BYTES = 32 * 2**20
_LARGEST_BATCH = 32


def read_out(hypothesis: Hypothesis, target: str) -> ReadOut:
    """Return the function from logits to the explained scores."""
    return partial(_read_out, hypothesis, target)


def _read_out(
    hypothesis: Hypothesis, target: str, logits: Float[Tensor, "batch token vocab"]
) -> Float[Tensor, "batch token"]:
    logits = logits.float()
    ids = torch.tensor(hypothesis.tokens, device=logits.device)
    chosen = logits.gather(-1, ids.expand(len(logits), -1)[..., None])[..., 0]
    return chosen - logits.logsumexp(-1) if target == "log-probability" else chosen


@dataclass(frozen=True)
class Scores:
    """The scores of a case's tokens as a function of its valid cells.

    point: the cells as they are. padding: the cells after the valid ones, which stay.
    """

    case: Case
    space: Space
    target: str
    point: Float[Tensor, "position channel"]
    padding: Float[Tensor, "rest channel"]

    @classmethod
    @torch.no_grad()
    def of(cls, case: Case, space: Space, target: str) -> Scores:
        """Take the spectrogram, or run the encoder once."""
        features = case.features
        if space == "input":
            cells, valid = features.values, features.melframes
        else:
            cells, valid = case.model.encode(features.values[None])[0], features.frames
        return cls(case, space, target, cells[:valid].float(), cells[valid:].float())

    def __call__(
        self, cells: Float[Tensor, "batch position channel"]
    ) -> Float[Tensor, "batch token"]:
        """Return the score of every token for each setting of the valid cells."""
        model, hypothesis = self.case.model, self.case.hypothesis
        whole = torch.cat([cells, self.padding.expand(len(cells), -1, -1)], dim=1)
        if self.space == "input":
            encoded = model.encode(whole)
        else:
            parameter_type = getattr(torch, model.info.precision)
            encoded = whole.to(parameter_type)
        return _read_out(hypothesis, self.target, model.logits(encoded, hypothesis))

    @torch.no_grad()
    def evaluate(
        self, cells: Float[Tensor, "batch position channel"]
    ) -> Float[Tensor, "batch token"]:
        """Return the scores without gradients, in batches that fit into memory."""
        return torch.cat([self(part) for part in cells.split(self.batch_size)])

    @property
    def batch_size(self) -> int:
        """How many settings one forward pass takes."""
        per_setting = 4 * max(self.point.numel() + self.padding.numel(), 1)
        return int(max(1, min(_LARGEST_BATCH, _BATCH_BYTES // per_setting)))

    def gradients(
        self, cells: Float[Tensor, "position channel"]
    ) -> Float[Tensor, "token position channel"]:
        """Return the gradient of every token's score: one forward pass, tokens batched backwards."""
        cells = cells.detach().clone().requires_grad_()
        with differentiable_attention():
            scores = self(cells[None])
        model, features = self.case.model, self.case.features
        sources = -(-len(features.values) // features.stride)
        through = sources if self.space == "input" else scores.shape[1]
        per_pass = tokens_per_pass(model, through, sources)
        parts = vector_jacobian_products(scores, [cells], per_pass)
        return torch.cat([gradients[0] for _, gradients in parts])

    def baseline(self, name: str) -> Float[Tensor, "position channel"]:
        """Return the cells of a named baseline."""
        if name == "zero":
            return torch.zeros_like(self.point)
        if name == "minimum":
            return torch.full_like(self.point, self.point.min().item())
        return self.point.mean(0).expand_as(self.point)

    def to_map(
        self, values: Float[Tensor, "token position channel"]
    ) -> Float[Tensor, "token frame"] | Float[Tensor, "token melframe mel"]:
        """Return signed attributions as a map; on the encoder output they are summed over channels."""
        return values if self.space == "input" else values.sum(-1)


@contextmanager
def seeded(seed: int, case: Case) -> Iterator[None]:
    """Seed torch's and numpy's global generators from (seed, audio); leave them as they were."""
    digest = hashlib.blake2b(f"{seed}:{case.key}".encode(), digest_size=4).digest()
    number = int.from_bytes(digest, "little")
    values = case.features.values
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[values.device] if values.is_cuda else []):
        torch.manual_seed(number)
        np.random.seed(number)
        try:
            yield
        finally:
            np.random.set_state(before)


def in_both_spaces(
    method: Callable[..., Tensor],
) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Return a method on the spectrogram and the same on the encoder output, as two implementations."""
    return partial(method, space="input"), partial(method, space="encoder")
