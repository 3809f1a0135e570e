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
from xbench.models.device import Precision
from xbench.models.optional import ReadsPrefix, offers
from xbench.models.protocol import SpeechModel


@dataclass(frozen=True)
class Way:
    """How hidden cells become the output of a model.

    name: tells the ways of one model apart. perturbed: from hidden cells to logits, or to the states of `twin`.
    twin: None where the model itself runs. states: what the twin gives when nothing is hidden.
    """

    name: str
    precision: Precision
    perturbed: Perturbed
    twin: Twin | None = None
    states: Float[Tensor, "token dim"] | None = None

    def measure(self, quantity: Quantity, clean: Clean) -> Measure:
        """Return the function from hidden cells to a quantity of every token."""
        if self.twin is None:
            measure = from_logits(quantity, clean, self.perturbed)
        else:
            assert self.states is not None
            measure = from_states(
                quantity, clean, self.states, self.twin.embeddings, self.perturbed
            )
        return self.precision.within(measure)

    def logits(
        self, output: Float[Tensor, "batch token output"]
    ) -> Float[Tensor, "batch token vocab"]:
        """Turn what `perturbed` gives into logits."""
        return output.float() if self.twin is None else self.twin.logits(output)


# From a model (or its twin) and a precision to the function from hidden cells to that model's output.
Build = Callable[[SpeechModel, torch.dtype], Perturbed]


def way_in(cells: Cells, precision: Precision) -> Way | None:
    """Return the way to run the model in this precision; None where it cannot run in it."""
    return _way(f"{cells.space}:{cells.neutral}", cells, precision, cells.passes)


def frozen_way(cells: SpectrogramCells, precision: Precision) -> Way | None:
    """Return the way that leaves the padding as in the clean pass; None where the clip has no padding."""
    if not cells.has_padding:
        return None
    return _way("frozen", cells, precision, cells.frozen_passes)


def _way(name: str, cells: Cells, precision: Precision, build: Build) -> Way | None:
    model, name, dtype = cells.case.model, f"{name}:{precision.name}", precision.dtype
    own = getattr(torch, model.info.precision)
    found = None if dtype != own and _starts_with_audio(cells) else twin(model, dtype)
    if found is not None:
        with found.clean_pass() as clean_products, precision.products():
            perturbed = build(found.model, dtype)
            states = perturbed(_nothing(cells))[0]
        if _fits(found, precision, states, cells.clean):
            beside = precision.within(found.beside(clean_products, perturbed))
            return Way(f"{name}:twin", precision, beside, found, states)
    if dtype != own:
        return None
    return Way(name, precision, precision.within(build(model, dtype)))


def _starts_with_audio(cells: Cells) -> bool:
    """Say whether nothing stands before the audio of a decoder-only model.

    Hidden positions at the start then stay zeros in every layer. Rounding makes them tiny vectors instead, which the
    norms blow up to directions of their own: an error as large as the effect.
    """
    model = cells.case.model
    return offers(model, ReadsPrefix) and model.audio_positions(cells.case.hypothesis).start == 0


def _nothing(cells: Cells) -> Tensor:
    """Return the mask that hides nothing: [1, *cells]."""
    return torch.zeros(1, *cells.shape, dtype=torch.bool, device=cells.values.device)


def _fits(
    found: Twin, precision: Precision, states: Float[Tensor, "token dim"], clean: Clean
) -> bool:
    """Say whether the model's logits are these states times the output embeddings, to the precision of the passes.

    A family may scale or cap its logits after that product; its twin would then explain another distribution.
    """
    if states.shape[-1] != found.embeddings.shape[1]:
        return False
    allowed = precision.eps**0.5 * clean.logits.abs().max()
    return bool((found.logits(states) - clean.logits).abs().max() <= allowed)
