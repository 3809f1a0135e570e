"""Counter-based random masks: mask n follows from (seed, utterance, n) and nothing else.

Therefore any worker can draw any mask, a run can stop and go on, and more masks extend fewer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

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
    The index sits in the highest counter word of Philox, so streams of different masks never meet.
    """
    stream = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
    uniform = stream.random(size)
    return uniform >= 1 - p if mirrored else uniform < p


@dataclass(frozen=True)
class Numbering:
    """What the numbers of masks mean.

    level: n mod L. half: (n div L) mod 2. pair: two following masks of one level and half.
    drawn: the number whose random stream mask n uses. mirrored: it takes the other end of it.
    """

    level: Int[np.ndarray, " mask"]
    half: Int[np.ndarray, " mask"]
    pair: Int[np.ndarray, " mask"]
    drawn: Int[np.ndarray, " mask"]
    mirrored: Bool[np.ndarray, " mask"]


def number(indices: Int[np.ndarray, " mask"], levels: int, design: Design) -> Numbering:
    """Return what these mask numbers mean over L levels.

    Both masks of an antithetic pair are in one half: a pair across the halves would make them agree
    or differ for reasons other than the reference (scoring section 2).
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
