"""One way to run a model over hidden cells: the model itself or its twin, in one precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.hiding.cells import Cells, SpectrogramCells
from xbench.hiding.effect import Clean, Measure, Perturbed, Quantity, from_logits, from_states
from xbench.hiding.twin import Twin, twin
from xbench.models.protocol import SpeechModel


@dataclass(frozen=True)
class Way:
    """How hidden cells become the output of a model.

    name: tells the ways of one model apart. perturbed: from hidden cells to logits, or to the states of `twin`.
    twin: None where the model itself runs. states: what the twin gives when nothing is hidden.
    """

    name: str
    dtype: torch.dtype
    perturbed: Perturbed
    twin: Twin | None = None
    states: Float[Tensor, "token dim"] | None = None

    def measure(self, quantity: Quantity, clean: Clean) -> Measure:
        """Return the function from hidden cells to a quantity of every token."""
        if self.twin is None:
            return from_logits(quantity, clean, self.perturbed)
        assert self.states is not None
        return from_states(quantity, clean, self.states, self.twin.embeddings, self.perturbed)

    def logits(
        self, output: Float[Tensor, "batch token output"]
    ) -> Float[Tensor, "batch token vocab"]:
        """Turn what `perturbed` gives into logits."""
        return output.float() if self.twin is None else self.twin.logits(output)


# From a model (or its twin) and a precision to the function from hidden cells to that model's output.
Build = Callable[[SpeechModel, torch.dtype], Perturbed]


def way_in(cells: Cells, dtype: torch.dtype) -> Way | None:
    """Return the way to run the model in this precision; None where it cannot run in it."""
    return _way(f"{cells.space}:{cells.neutral}", cells, dtype, cells.passes)


def frozen_way(cells: SpectrogramCells, dtype: torch.dtype) -> Way | None:
    """Return the way that leaves the padding as in the clean pass; None where the clip has no padding."""
    if not cells.has_padding:
        return None
    return _way("frozen", cells, dtype, cells.frozen_passes)


def _way(name: str, cells: Cells, dtype: torch.dtype, build: Build) -> Way | None:
    model, name = cells.case.model, f"{name}:{dtype}"
    found = twin(model, dtype)
    if found is not None:
        with found.clean_pass() as products:
            perturbed = build(found.model, dtype)
            states = perturbed(_nothing(cells))[0]
        if _fits(found, states, cells.clean):
            return Way(f"{name}:twin", dtype, found.beside(products, perturbed), found, states)
    if dtype != getattr(torch, model.info.precision):
        return None
    return Way(name, dtype, build(model, dtype))


def _nothing(cells: Cells) -> Tensor:
    """Return the mask that hides nothing: [1, *cells]."""
    return torch.zeros(1, *cells.shape, dtype=torch.bool, device=cells.values.device)


def _fits(found: Twin, states: Float[Tensor, "token dim"], clean: Clean) -> bool:
    """Say whether the model's logits are these states times the output embeddings, to the precision of the passes.

    A family may scale or cap its logits after that product; its twin would then explain another distribution.
    """
    if states.shape[-1] != found.embeddings.shape[1]:
        return False
    allowed = torch.finfo(found.dtype).eps ** 0.5 * clean.logits.abs().max()
    return bool((found.logits(states) - clean.logits).abs().max() <= allowed)
