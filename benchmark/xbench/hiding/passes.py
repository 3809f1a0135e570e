"""Choose how passes over hidden cells are run (precision, padding, batch size), check the choice and record it.

These facts are stored with the reference or measurement that was computed:

    precision            float32, tf32, bfloat16 or float16: what the products of perturbed passes are computed in (the
                         clean pass keeps the model's own)
    precision_reason     requested, check-passed, check-failed, slow-here (no hardware for it), no-twin
    precision_noise      how many more masks the rounding costs, as a share (`hiding.checks`; None without a trial)
    precision_following  the largest share of the effects' variance that may be error following the mask
    padding              exact or frozen; padding_reason (check-passed, check-failed, slower-here, no-padding) and
                         padding_check (lowest correlation of a content token's divergence), only where it was a choice
    batch_size           masks per pass at the end

Whatever is chosen, `hiding.trust` first checks, once per loaded model, that hiding does in it what it should.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xbench.hiding import checks
from xbench.hiding.batching import Batched, Start, batched_measure
from xbench.hiding.cells import Cells, SpectrogramCells
from xbench.hiding.effect import Quantity, Shift, divergence
from xbench.hiding.masks import mask_key
from xbench.hiding.segments import Segmentation
from xbench.hiding.trust import trust
from xbench.hiding.way import Way, frozen_way, way_in
from xbench.models.device import PRECISIONS, fast_precisions, precision_of, wait

Facts = dict[str, str | float | None]


@dataclass(frozen=True)
class Trial:
    """The masks on which a faster way is compared with the exact one; no reference uses the same masks.

    segmentation: the parts that a mask hides as a whole. p: the probability that a part is hidden.
    """

    segmentation: Segmentation
    p: float
    seed: int = 0

    def hidden(self, cells: Cells, numbers: range = range(checks.MASKS)) -> torch.Tensor:
        """Draw masks by their numbers: [mask, *cells]."""
        key = mask_key(self.seed, f"check:{cells.case.key}")
        device = cells.case.features.values.device
        return checks.check_masks(self.segmentation, key, self.p, device, numbers)


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

    precision: a name of `models.device.PRECISIONS`, None for the model's own, or `auto`: the first of the device's fast
    ones with which a trial of this utterance passes. padding: `exact`, or `frozen` where a trial passes and it is
    faster (spectrogram cells only).
    batch_size: masks per pass to begin with; None: found. trial: by default segments of `Cells.trial_segments`.
    Raises XbenchError where hiding does not do in the model what it should (`hiding.trust`).
    """
    passes = _Passes(cells, quantity, batch_size, trial or Trial(cells.trial_segments(), 0.5))
    exact, chosen = passes.in_precision(precision)
    if padding == "exact":
        return chosen
    return passes.with_frozen_padding(chosen, exact)


def choose_again(
    cells: Cells, quantity: Quantity, choice: Mapping[str, Any], batch_size: int | None = None
) -> Chosen | None:
    """Return passes that run as they were chosen to run before (`Chosen.choice`); None where they cannot here.

    So all parts of one reference are computed in one way, whichever process computes them. Raises as `choose`.
    """
    info = cells.case.model.info
    name = str(choice["precision"])
    precision = PRECISIONS.get(name) or precision_of(getattr(torch, info.precision))
    way = way_in(cells, precision) if precision.name == name else None
    if way is None:
        return None
    trust(cells, way)
    rows = cells.positions
    if choice.get("padding") == "frozen":
        assert isinstance(cells, SpectrogramCells)
        way, rows = frozen_way(cells, precision), cells.case.features.frames
    return (
        None
        if way is None
        else Chosen(_batched(cells, quantity, way, rows, batch_size), dict(choice))
    )


@dataclass(frozen=True)
class _Passes:
    """What is to be measured, on which cells; the way of running the passes is still to be chosen."""

    cells: Cells
    quantity: Quantity
    batch_size: int | None
    trial: Trial

    def in_precision(self, requested: str | None) -> tuple[Way, Chosen]:
        """Return passes in the requested precision, or in the model's own where it cannot run in another."""
        info = self.cells.case.model.info
        own = precision_of(getattr(torch, info.precision))
        wanted = own if requested in (None, "auto") else PRECISIONS[requested]
        way = way_in(self.cells, wanted)
        if way is None:
            way = way_in(self.cells, own)
            assert way is not None  # a model runs in its own precision
            return self._chosen(way, "no-twin")
        if requested != "auto" or own.name != "float32":
            return self._chosen(way, "requested")
        reason, found = "slow-here", None
        for precision in fast_precisions(info.device):
            fast = way_in(self.cells, precision)
            if fast is None:
                reason, found = "no-twin", None
                continue
            found = self._rounding(way, fast)
            if found is not None and found.accepted:
                return self._chosen(fast, "check-passed", found)
            reason = "check-failed"
        return self._chosen(way, reason, found)

    def with_frozen_padding(self, chosen: Chosen, exact: Way) -> Chosen:
        """Return passes over frozen padding where the trial against the exact ones passes and they are faster."""
        assert isinstance(self.cells, SpectrogramCells)
        frozen = frozen_way(self.cells, exact.precision)
        if frozen is None:
            return _with_padding(chosen, "exact", "no-padding", None)
        check = self._agreement(exact, frozen)
        if check is None or check < checks.PADDING:
            return _with_padding(chosen, "exact", "check-failed", check)
        rows = self.cells.case.features.frames
        faster = Chosen(self._batched(frozen, rows), chosen.choice)
        if self._seconds(faster.measure) >= self._seconds(chosen.measure):
            return _with_padding(chosen, "exact", "slower-here", check)
        return _with_padding(faster, "frozen", "check-passed", check)

    def _chosen(
        self, way: Way, reason: str, found: checks.Rounding | None = None
    ) -> tuple[Way, Chosen]:
        trust(self.cells, way)
        choice: Facts = {
            "precision": way.precision.name,
            "precision_reason": reason,
            "precision_noise": None if found is None else found.noise,
            "precision_following": None if found is None else found.at_most,
        }
        return way, Chosen(self._batched(way, self.cells.positions), choice)

    def _seconds(self, measure: Batched[Shift]) -> float:
        """Return the seconds per mask of one batch, the first of two left out."""
        hidden = self.trial.hidden(self.cells)
        batch = hidden[: max(1, min(measure.size, len(hidden)))]
        taken = 0.0
        for _ in range(2):
            wait(batch.device)
            started = time.perf_counter()
            measure.function(batch)
            wait(batch.device)
            taken = time.perf_counter() - started
        return taken / len(batch)

    def _batched(self, way: Way, rows: int, quantity: Quantity | None = None) -> Batched[Shift]:
        return _batched(self.cells, quantity or self.quantity, way, rows, self.batch_size)

    def _agreement(self, exact: Way, frozen: Way) -> float | None:
        """Compare the divergence over exact and frozen padding on the masks of the trial."""
        content = self.cells.case.hypothesis.content
        return checks.lowest_agreement(
            *self._both(exact, frozen), self.trial.hidden(self.cells), content
        )

    def _rounding(self, exact: Way, fast: Way) -> checks.Rounding | None:
        """Compare the divergence in two precisions on the masks of the trial, and on more while it is undecided."""
        both, found = self._both(exact, fast), None
        content = self.cells.case.hypothesis.content
        effects, shares = [], []
        for numbers in (range(checks.MASKS), range(checks.MASKS, checks.MORE_MASKS)):
            hidden = self.trial.hidden(self.cells, numbers)
            effects.append(checks.effects(*both, hidden, content))
            shares.append(checks.frame_shares(hidden))
            slow, quick = (np.concatenate(parts, 1) for parts in zip(*effects, strict=True))
            found = checks.rounding(slow, quick, np.concatenate(shares))
            if found is None or not found.undecided:
                break
        return found

    def _both(self, exact: Way, fast: Way) -> tuple[Batched[Shift], Batched[Shift]]:
        rows = self.cells.positions
        return self._batched(exact, rows, divergence), self._batched(fast, rows, divergence)


def _batched(
    cells: Cells, quantity: Quantity, way: Way, rows: int, batch_size: int | None
) -> Batched[Shift]:
    found = Start.on(cells.clean.logits.device, rows)
    start = Start(batch_size) if batch_size else found
    return batched_measure(way.measure(quantity, cells.clean), start)


def _with_padding(chosen: Chosen, padding: str, reason: str, check: float | None) -> Chosen:
    facts: Facts = {"padding": padding, "padding_reason": reason, "padding_check": check}
    return Chosen(chosen.measure, {**chosen.choice, **facts})
