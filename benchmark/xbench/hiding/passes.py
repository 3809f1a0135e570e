"""Choose how passes over hidden cells are run (precision, padding, batch size), check the choice and record it.

These facts are stored with the reference or measurement that was computed:

    precision         float32 or bfloat16: what the perturbed passes ran in (the clean pass keeps the model's own)
    precision_reason  requested, check-passed, check-failed, slow-here (no bfloat16 hardware), no-twin
    precision_check   lowest correlation of a content token's divergence with the exact one, same masks
    padding           exact or frozen; padding_reason, padding_check likewise (only where it was a choice)
    batch_size        masks per pass at the end, after any back-off

Whatever is chosen, `hiding.trust` first checks, once per loaded model, that hiding does in it what it should.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from xbench.hiding import checks
from xbench.hiding.batching import Batched, batched_measure, starting_size
from xbench.hiding.cells import Cells, SpectrogramCells
from xbench.hiding.effect import Quantity, Shift, divergence
from xbench.hiding.masks import mask_key
from xbench.hiding.precision import bfloat16_is_fast
from xbench.hiding.segments import Segmentation
from xbench.hiding.trust import trust
from xbench.hiding.way import Way, frozen_way, way_in

Facts = dict[str, str | float | None]


@dataclass(frozen=True)
class Trial:
    """The masks on which a faster way is compared with the exact one; no reference uses the same masks.

    segmentation: the parts that a mask hides as a whole. p: the probability that a part is hidden.
    """

    segmentation: Segmentation
    p: float
    seed: int = 0

    def hidden(self, cells: Cells) -> torch.Tensor:
        """Draw the masks: [mask, *cells]."""
        key = mask_key(self.seed, f"check:{cells.case.key}")
        device = cells.case.features.values.device
        return checks.check_masks(self.segmentation, key, self.p, device)


@dataclass(frozen=True)
class Chosen:
    """A measure in the way that was chosen, and the facts to record."""

    measure: Batched[Shift]
    choice: Facts

    @property
    def facts(self) -> Facts:
        """The choice, and the batch size as it is now."""
        return {**self.choice, "batch_size": self.measure.size}


def choose(
    cells: Cells,
    quantity: Quantity,
    *,
    precision: str | None = None,
    padding: str = "exact",
    batch_size: int | None = None,
    trial: Trial | None = None,
) -> Chosen:
    """Return how a quantity is measured while cells are hidden.

    precision: `float32`, `bfloat16`, None for the model's own, or `auto`: bfloat16 where it is fast and a trial of this
    utterance passes. padding: `exact`, or `frozen` where a trial passes (spectrogram cells only).
    batch_size: masks per pass to begin with; None: found. trial: by default segments of `Cells.trial_segments`.
    Raises XbenchError where hiding does not do in the model what it should (`hiding.trust`).
    """
    passes = _Passes(cells, quantity, batch_size, trial or Trial(cells.trial_segments(), 0.5))
    exact, chosen = passes.in_precision(precision)
    if padding == "exact":
        return chosen
    return passes.with_frozen_padding(chosen, exact)


@dataclass(frozen=True)
class _Passes:
    """What is to be measured, on which cells; the way of running the passes is still to be chosen."""

    cells: Cells
    quantity: Quantity
    batch_size: int | None
    trial: Trial

    def in_precision(self, requested: str | None) -> tuple[Way, Chosen]:
        """Return passes in the requested precision, or in the model's own where it cannot run in another."""
        model = self.cells.case.model
        own: torch.dtype = getattr(torch, model.info.precision)
        wanted = own if requested in (None, "auto") else getattr(torch, requested)
        way = way_in(self.cells, wanted)
        if way is None:
            way = way_in(self.cells, own)
            assert way is not None  # a model runs in its own precision
            return self._chosen(way, "no-twin", None)
        if requested != "auto" or own != torch.float32:
            return self._chosen(way, "requested", None)
        if not bfloat16_is_fast(model.info.device):
            return self._chosen(way, "slow-here", None)
        fast = way_in(self.cells, torch.bfloat16)
        if fast is None:
            return self._chosen(way, "no-twin", None)
        check = self._agreement(way, fast)
        if check is not None and check >= checks.PRECISION:
            return self._chosen(fast, "check-passed", check)
        return self._chosen(way, "check-failed", check)

    def with_frozen_padding(self, chosen: Chosen, exact: Way) -> Chosen:
        """Return passes over frozen padding where the trial against the exact ones passes, else the exact ones."""
        assert isinstance(self.cells, SpectrogramCells)
        frozen = frozen_way(self.cells, exact.dtype)
        if frozen is None:
            return _with_padding(chosen, "exact", "no-padding", None)
        check = self._agreement(exact, frozen)
        if check is not None and check >= checks.PADDING:
            rows = self.cells.case.features.frames
            return _with_padding(
                Chosen(self._batched(frozen, rows), chosen.choice), "frozen", "check-passed", check
            )
        return _with_padding(chosen, "exact", "check-failed", check)

    def _chosen(self, way: Way, reason: str, check: float | None) -> tuple[Way, Chosen]:
        trust(self.cells, way)
        choice: Facts = {
            "precision": str(way.dtype).removeprefix("torch."),
            "precision_reason": reason,
            "precision_check": check,
        }
        return way, Chosen(self._batched(way, self.cells.positions), choice)

    def _batched(self, way: Way, rows: int, quantity: Quantity | None = None) -> Batched[Shift]:
        size = self.batch_size or starting_size(self.cells.clean.logits.device, rows)
        return batched_measure(way.measure(quantity or self.quantity, self.cells.clean), size)

    def _agreement(self, exact: Way, fast: Way) -> float | None:
        """Compare the divergence under two ways on the masks of the trial."""
        rows = self.cells.positions
        return checks.lowest_agreement(
            self._batched(exact, rows, divergence),
            self._batched(fast, rows, divergence),
            self.trial.hidden(self.cells),
            self.cells.case.hypothesis.content,
        )


def _with_padding(chosen: Chosen, padding: str, reason: str, check: float | None) -> Chosen:
    facts: Facts = {"padding": padding, "padding_reason": reason, "padding_check": check}
    return Chosen(chosen.measure, {**chosen.choice, **facts})
