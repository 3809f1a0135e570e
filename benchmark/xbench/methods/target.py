"""What is explained: each token's score as a function of the spectrogram or of the encoder output.

    f_i(x) = z_i[y_i]                            target `logit`
    f_i(x) = z_i[y_i] - log sum_v exp z_i[v]     target `log-probability`

z_i are the scores at the position that predicts token y_i, with the hypothesis as fixed prefix. x holds the
valid cells only: [melframe, mel] in space `input`, [frame, channel] in space `encoder`. Padding stays
what it was, so no method explains or perturbs it.

A baseline is the x that stands for "nothing was heard": every cell has a neutral value (`hiding.cells`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xbench.case import Case
from xbench.hiding.batching import Start, batched_tensor
from xbench.hiding.cells import Cells, Space, cells_of, neutral_value
from xbench.hiding.effect import read_out
from xbench.models.attention_gradients import (
    differentiable_attention,
    tokens_per_pass,
    vector_jacobian_products,
)


@dataclass(frozen=True)
class Scores:
    """The scores of a case's tokens as a function of its valid cells, with gradients."""

    cells: Cells
    target: str

    @classmethod
    def of(cls, case: Case, space: Space, target: str) -> Scores:
        """Return the scores as a function of the cells of a space."""
        return cls(cells_of(case, space), target)

    @property
    def space(self) -> Space:
        """Where the cells lie."""
        return self.cells.space

    @property
    def point(self) -> Float[Tensor, "position channel"]:
        """The cells as they are."""
        return self.cells.values.float()

    @property
    def sources(self) -> int:
        """How many positions the encoder has, those of padding too."""
        features = self.cells.case.features
        return math.ceil(len(features.values) / features.stride)

    def __call__(
        self, cells: Float[Tensor, "batch position channel"]
    ) -> Float[Tensor, "batch token"]:
        """Return the score of every token for each setting of the valid cells."""
        return read_out(self.cells.case.hypothesis, self.target, self.cells.logits(cells))

    @torch.no_grad()
    def evaluate(
        self, cells: Float[Tensor, "batch position channel"]
    ) -> Float[Tensor, "batch token"]:
        """Return the scores without gradients, in batches that fit into memory."""
        start = Start.on(cells.device, self.cells.positions)
        return batched_tensor(self.__call__, start.size)(cells)

    def gradients(
        self, cells: Float[Tensor, "position channel"]
    ) -> Float[Tensor, "token position channel"]:
        """Return the gradient of every token's score: one forward pass, tokens batched backwards."""
        cells = cells.detach().clone().requires_grad_()
        with differentiable_attention():
            scores = self(cells[None])
        through = self.sources if self.space == "input" else scores.shape[1]
        per_pass = tokens_per_pass(self.cells.case.model, through, self.sources)
        parts = vector_jacobian_products(scores, [cells], per_pass)
        return torch.cat([gradients[0] for _, gradients in parts])

    def baseline(self, name: str) -> Float[Tensor, "position channel"]:
        """Return the cells of a named baseline."""
        point = self.point
        return neutral_value(point, name).expand_as(point)

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
