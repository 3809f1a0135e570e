"""Counter-based random masks: mask n follows from (seed, utterance, n) and nothing else.

So any worker can draw any mask, a run can stop and go on, and the first 1,000 of 2,000 masks are those of a run with
1,000.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from xbench.hiding import philox
from xbench.models.device import device_of

Design = Literal["independent", "antithetic"]


def mask_key(seed: int, utterance: str) -> int:
    """Return the 128-bit Philox key of one utterance under one seed."""
    digest = hashlib.blake2b(f"{seed}:{utterance}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def draw_mask(
    key: int, index: int, size: int, p: float, *, mirrored: bool = False
) -> Bool[np.ndarray, " segment"]:
    """Draw mask number `index`: each of `size` segments is masked (True) with probability p.

    m = [u < p] with u uniform on [0, 1); mirrored: m = [u >= 1 - p], which has the same
    distribution and hides, at p = 1/2, exactly the other segments.
    The index is the highest word of Philox's counter, so the random numbers of different masks never overlap.
    """
    stream = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
    uniform = stream.random(size)
    return uniform >= 1 - p if mirrored else uniform < p


@dataclass(frozen=True)
class Numbering:
    """What the numbers of masks mean: to which level, half and pair each of them belongs.

    level: n mod L. half: (n div L) mod 2. pair: two successive masks of one level and half.
    drawn: the number whose random stream mask n uses. mirrored: whether it is the mirror image of that mask.
    """

    level: Int[np.ndarray, " mask"]
    half: Int[np.ndarray, " mask"]
    pair: Int[np.ndarray, " mask"]
    drawn: Int[np.ndarray, " mask"]
    mirrored: Bool[np.ndarray, " mask"]

    def __getitem__(self, part: slice) -> Numbering:
        """Return the numbering of some of the masks."""
        return Numbering(*(getattr(self, column.name)[part] for column in fields(self)))


def number(indices: Int[np.ndarray, " mask"], levels: int, design: Design) -> Numbering:
    """Return what these mask numbers mean over L levels.

    Both masks of an antithetic (mirrored) pair are in one half. A pair across the halves would make the halves agree
    or differ for reasons that have nothing to do with the reference (scoring section 2).
    """
    serial = indices // (2 * levels)
    mirrored = (serial % 2 == 1) & (design == "antithetic")
    return Numbering(
        level=indices % levels,
        half=(indices // levels) % 2,
        pair=serial // 2,
        drawn=indices - 2 * levels * mirrored,
        mirrored=mirrored,
    )


def draw_masks(
    key: int,
    numbering: Numbering,
    sizes: Int[np.ndarray, " mask"],
    width: int,
    p: float,
    device: torch.device,
) -> Bool[Tensor, "mask segment"]:
    """Draw masks as `draw_mask` does, all at once and on the device; after its own size a row is False.

    sizes: segments of each mask's level. width: of the widest level.
    """
    if not device_of(device).draws_masks:
        rows = np.zeros((len(sizes), width), dtype=bool)
        for row, (index, size, mirrored) in enumerate(
            zip(numbering.drawn, sizes, numbering.mirrored, strict=True)
        ):
            drawn = draw_mask(key, int(index), int(size), p, mirrored=bool(mirrored))
            rows[row, :size] = drawn
        return torch.from_numpy(rows).to(device)
    return masks_from_counters(
        key,
        *(torch.from_numpy(x).to(device) for x in (numbering.drawn, sizes, numbering.mirrored)),
        width=width,
        p=p,
    )


def masks_from_counters(
    key: int,
    drawn: Int[Tensor, " mask"],
    sizes: Int[Tensor, " mask"],
    mirrored: Bool[Tensor, " mask"],
    *,
    width: int,
    p: float,
) -> Bool[Tensor, "mask segment"]:
    """Draw masks on the device of their numbers, without waiting for it."""
    numbers = philox.uniform(key, drawn, width)
    hidden = torch.where(mirrored[:, None], numbers >= 1 - p, numbers < p)
    return hidden & (torch.arange(width, device=drawn.device) < sizes[:, None])
