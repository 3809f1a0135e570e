"""Draw masks, measure what each does, add up in fixed blocks, and stop where the reference is reliable.

A block is a fixed number of masks. The effects of its masks are collected, then added in one float64 product; blocks
are added in their order. So a map does not depend on the number of workers or on the batch size, beyond the rounding
of the passes themselves. The effects of a block may be kept (`references.blocks`), so that an interrupted estimate goes
on where it stopped, and several processes work on one.

With `until`, masks are drawn until the reliability of the map as used (pooled and normalised as the task scores it)
reaches the target. It is judged after the second block, and then whenever there are a twentieth more masks. Stopping at
the first success favours utterances that look reliable by chance: docs/references.md says by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xbench.case import Case
from xbench.errors import UtteranceError
from xbench.hiding.batching import Batched
from xbench.hiding.effect import Shift
from xbench.hiding.masks import Design, Numbering, draw_masks, mask_key, number
from xbench.hiding.segments import Segmentation
from xbench.maps import Layout, on_encoder_grid
from xbench.references.blocks import UNKEPT, Blocks, Effects, Unit, units
from xbench.references.estimators import ESTIMATORS, FOLDS, Moments, Needs
from xbench.references.reliability import Reliability, utterance_reliability
from xbench.references.sampled import SampledReference
from xbench.spec import Scoring

BLOCK = 500


@dataclass(frozen=True)
class Sampling:
    """How masks are drawn and batched, and how the map will be used.

    seed: of the masks. batch_size: masks per batch (None: a size is found). progress: called with the number of
    masks of each batch. scoring: the options under which `until` judges the map. block: how many masks are added at
    once, and the steps in which `until` judges; all runs use the default, another number is for studies. watch:
    called after every block with all sums so far. blocks: where the effects of blocks are kept.
    """

    seed: int = 0
    batch_size: int | None = None
    progress: Callable[[int], None] = lambda masks: None
    scoring: Scoring = field(default_factory=Scoring)
    block: int = BLOCK
    watch: Callable[[Accumulated], None] = lambda sums: None
    blocks: Blocks = UNKEPT


@dataclass(frozen=True)
class Recipe:
    """What is drawn and estimated: the number of masks (with `until`: the most), p, estimator and design."""

    masks: int
    p: float
    estimator: str = "masked-mean"
    design: Design = "independent"
    until: float | None = None


@dataclass
class Accumulated:
    """The moments of all masks so far, per level. Levels with equal segments are added to the first of them.

    effects: of each block the sum of its masks' effects, by which a block can be held against another measurement.
    """

    segmentation: Segmentation
    p: float
    neutral: str
    moments: dict[int, Moments]
    kept: Float[Tensor, " token"]
    masks: tuple[int, int] = (0, 0)
    effects: list[Float[Tensor, " token"]] = field(default_factory=list)

    @classmethod
    def empty(
        cls,
        segmentation: Segmentation,
        tokens: int,
        p: float,
        neutral: str,
        needs: Needs,
        device: torch.device | str = "cpu",
    ) -> Accumulated:
        """Return the sums of no masks, with what an estimator needs."""
        moments = {
            level: Moments.empty(segmentation.sizes[level], tokens, needs, device)
            for level in segmentation.distinct
        }
        kept = torch.zeros(tokens, dtype=torch.float64, device=device)
        return cls(segmentation, p, neutral, moments, kept)

    @property
    def drawn(self) -> int:
        """The number of masks so far."""
        return sum(self.masks)

    def add(self, numbering: Numbering, hidden: Bool[Tensor, "mask segment"], shift: Shift) -> None:
        """Add one block of masks and what they did; nothing here waits for the device."""
        distinct = np.asarray(self.segmentation.distinct)[numbering.level]
        fold = numbering.pair % FOLDS
        for level, moments in self.moments.items():
            size = self.segmentation.sizes[level]
            for half, which in product((0, 1), range(FOLDS)):
                rows = (distinct == level) & (numbering.half == half) & (fold == which)
                at = torch.from_numpy(np.flatnonzero(rows)).to(hidden.device, non_blocking=True)
                moments.add(half, which, hidden[at, :size], shift.value[at])
        self.kept += shift.kept.sum(0)
        self.effects.append(shift.value.double().sum(0))
        in_half_one = int(numbering.half.sum())
        self.masks = (
            self.masks[0] + len(hidden) - in_half_one,
            self.masks[1] + in_half_one,
        )

    def reference(self, estimator: str) -> SampledReference | None:
        """Return the reference that these masks give; None while they are too few for the estimator."""
        offsets = np.cumsum((0, *self.segmentation.sizes))
        tokens = len(self.kept)
        sums = np.zeros((2, tokens, self.segmentation.total))
        counts = np.zeros((2, self.segmentation.total), dtype=np.int64)
        for level, moments in self.moments.items():
            estimate = ESTIMATORS[estimator](moments, self.p)
            if estimate is None:
                return None
            columns = slice(offsets[level], offsets[level + 1])
            sums[:, :, columns] = estimate.cpu().numpy()
            counts[:, columns] = moments.counts.cpu().numpy()
        return SampledReference(
            segmentation=self.segmentation,
            sums=sums,
            counts=counts,
            masks=self.masks,
            kept=self.kept.cpu().numpy() / max(self.drawn, 1),
            neutral=self.neutral,
            block_sums=torch.stack(self.effects).cpu().numpy() if self.effects else None,
        )


def estimate(
    measure: Batched[Shift],
    segmentation: Segmentation,
    case: Case,
    sampling: Sampling,
    recipe: Recipe,
    *,
    neutral: str,
    computation: Callable[[], Mapping[str, str | float | None]] = dict,
    part: str | None = None,
) -> SampledReference:
    """Draw masks block by block and return the reference they make.

    measure: what hiding cells [batch, *cells] does to each token. computation: returns how passes were run; called
    after the last pass, since batches may have become smaller by then. part: names what is measured, and in which way,
    among `sampling.blocks`; None: effects of blocks are not kept. Raises UtteranceError `non-finite-divergence`; and
    `too-few-masks`, before any pass, when the estimator needs more; Superseded when another process was faster.
    """
    _check_enough(segmentation, recipe)
    levels, until = len(segmentation.sizes), recipe.until
    needs = ESTIMATORS[recipe.estimator].needs
    device = case.features.values.device
    sums = Accumulated.empty(
        segmentation, len(case.hypothesis.tokens), recipe.p, neutral, needs, device
    )
    block = block_size(levels, sampling.block)
    kept = UNKEPT if part is None else sampling.blocks

    @lru_cache(maxsize=1)  # a unit that was measured here is added next
    def drawn(unit: Unit) -> tuple[Numbering, Bool[Tensor, "mask segment"]]:
        numbering = number(np.arange(unit.first, unit.first + unit.masks), levels, recipe.design)
        return numbering, _draw(numbering, segmentation, case, sampling, recipe.p)

    def measured(unit: Unit) -> Shift:
        return _measured(measure, *drawn(unit), segmentation, sampling)

    coming = units(recipe.masks, block, until=until is not None, size=lambda: measure.size)
    reference, converged = None, None
    for unit, shift in Effects(coming, measured, kept, part or ""):
        numbering, hidden = drawn(unit)
        value, stayed = shift.value.to(device), shift.kept.to(device)
        for rows in unit.blocks:
            sums.add(numbering[rows], hidden[rows], Shift(value[rows], stayed[rows]))
            sampling.watch(sums)
        if not unit.look:
            continue
        reference = sums.reference(recipe.estimator)
        if until is None or reference is None:
            continue
        reliability = as_used(reference, case.layout, sampling.scoring).value
        converged = reliability is not None and reliability >= until
        # A map without a reliability (it is constant, or too short) would not get one from more masks.
        if converged or reliability is None:
            break
    assert reference is not None  # _check_enough has seen to it
    return replace(reference, converged=converged, computation=computation(), block=block)


def _check_enough(segmentation: Segmentation, recipe: Recipe) -> None:
    """Refuse least squares with too few masks, before any pass is made."""
    if recipe.estimator != "least-squares":
        return
    levels = len(segmentation.sizes)
    numbering = number(np.arange(recipe.masks), levels, recipe.design)
    distinct = np.asarray(segmentation.distinct)[numbering.level]
    for level in set(segmentation.distinct):
        masks = min(int(((distinct == level) & (numbering.half == half)).sum()) for half in (0, 1))
        if masks <= segmentation.sizes[level]:
            raise UtteranceError(
                "too-few-masks",
                f"least-squares has {masks} masks per half for {segmentation.sizes[level]} segments; "
                "use more masks or estimator=control-variate",
            )


def _draw(
    numbering: Numbering, segmentation: Segmentation, case: Case, sampling: Sampling, p: float
) -> Bool[Tensor, "mask segment"]:
    """Draw masks over the segments of their levels; rows of levels with fewer segments are filled up with False."""
    sizes = np.asarray(segmentation.sizes)[numbering.level]
    width = max(segmentation.sizes)
    key = mask_key(sampling.seed, case.key)
    return draw_masks(key, numbering, sizes, width, p, case.features.values.device)


def _measured(
    measure: Batched[Shift],
    numbering: Numbering,
    hidden: Bool[Tensor, "mask segment"],
    segmentation: Segmentation,
    sampling: Sampling,
) -> Shift:
    """Return what every mask does, measured in batches; waits for the device once, at the end."""
    labels = torch.from_numpy(segmentation.labels).long().to(hidden.device)
    cells = labels.shape[1:]
    values, kept = [], []
    first = 0
    while first < len(hidden):
        batch = hidden[first : first + measure.size]
        of_level = labels.flatten(1)[
            torch.from_numpy(numbering.level[first : first + len(batch)]).to(hidden.device)
        ]
        shift = measure(batch.gather(1, of_level).unflatten(1, cells))
        values.append(shift.value)
        kept.append(shift.kept)
        sampling.progress(len(batch))
        first += len(batch)
    found = Shift(torch.cat(values).double(), torch.cat(kept))
    if not torch.isfinite(found.value).all():
        raise UtteranceError(
            "non-finite-divergence", "the perturbed output distribution is not finite"
        )
    return found


def as_used(reference: SampledReference, layout: Layout, scoring: Scoring) -> Reliability:
    """Return the reliability of a reference after pooling and normalisation."""
    first, second = (on_encoder_grid(reference.half(index), layout, scoring) for index in (0, 1))
    return utterance_reliability(first, second, layout)


def block_size(levels: int, masks: int = BLOCK) -> int:
    """Return the masks per block: as many as given, rounded up to whole (levels x halves x pairs)."""
    unit = 4 * levels
    return -(-masks // unit) * unit
