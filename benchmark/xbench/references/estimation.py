"""Draw masks, measure what each does, and add the divergences up per segment and half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from xbench.case import Case
from xbench.errors import UtteranceError
from xbench.references.divergence import Measure
from xbench.references.masks import draw_mask, mask_key
from xbench.references.reference import Reference
from xbench.references.segments import Segmentation


@dataclass(frozen=True)
class Sampling:
    """How masks are drawn and batched: seed, masks per batch (None: found), progress callback."""

    seed: int = 0
    batch_size: int | None = None
    progress: Callable[[int], None] = lambda masks: None


def masked_mean(
    measure: Measure,
    segmentation: Segmentation,
    case: Case,
    sampling: Sampling,
    *,
    batch_size: int,
    masks: int,
    p: float,
    neutral: str,
) -> Reference:
    """Draw masks, measure divergences and add them up per segment and half.

    measure: what hiding cells [batch, *cells] does to each token. Memory does not grow with the number
    of masks. Raises UtteranceError `non-finite-divergence`.
    """
    device = case.features.values.device
    tokens = len(case.hypothesis.tokens)
    flat = torch.from_numpy(segmentation.flat).long().to(device)
    cells = segmentation.labels.shape[1:]
    levels, total = len(segmentation.sizes), segmentation.total
    starts = np.cumsum((0, *segmentation.sizes[:-1]))
    key = mask_key(sampling.seed, case.key)

    sums = torch.zeros(2, tokens, total, dtype=torch.float64)
    counts = torch.zeros(2, total, dtype=torch.float64)
    kept = torch.zeros(tokens, dtype=torch.float64)
    for first in range(0, masks, batch_size):
        indices = np.arange(first, min(first + batch_size, masks))
        drawn = np.zeros((len(indices), total), dtype=bool)
        for row, index in enumerate(indices):
            level = index % levels
            start, size = starts[level], segmentation.sizes[level]
            drawn[row, start : start + size] = draw_mask(key, int(index), size, p)
        hidden = torch.from_numpy(drawn).to(device)
        in_cells = hidden.gather(1, flat[indices % levels]).reshape(len(indices), *cells)
        shift = measure(in_cells)
        divergence = shift.divergence
        if not torch.isfinite(divergence).all():
            raise UtteranceError(
                "non-finite-divergence", "the perturbed output distribution is not finite"
            )
        kept += shift.kept.sum(0).double().cpu()
        half = torch.from_numpy((indices // levels) % 2)
        for side in (0, 1):
            rows = half == side
            side_hidden = hidden[rows.to(device)].to(divergence.dtype)
            sums[side] += (divergence[rows.to(device)].T @ side_hidden).double().cpu()
            counts[side] += side_hidden.sum(0).double().cpu()
        sampling.progress(len(indices))
    in_half_one = sum(1 for index in range(masks) if (index // levels) % 2)
    return Reference(
        segmentation=segmentation,
        sums=sums.numpy(),
        counts=counts.numpy().astype(np.int64),
        masks=(masks - in_half_one, in_half_one),
        kept=(kept / max(masks, 1)).numpy(),
        neutral=neutral,
    )
