"""Counter-based random masks: mask n follows from (seed, utterance, n) and nothing else.

Therefore any worker can draw any mask, a run can stop and go on, and more masks extend fewer.
"""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Bool


def mask_key(seed: int, utterance: str) -> int:
    """Return the 128-bit Philox key of one utterance under one seed."""
    digest = hashlib.blake2b(f"{seed}:{utterance}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def draw_mask(key: int, index: int, size: int, p: float) -> Bool[np.ndarray, " segment"]:
    """Draw mask number `index`: each of `size` segments is masked (True) with probability p.

    The index sits in the highest counter word of Philox, so streams of different masks never meet.
    """
    stream = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
    return stream.random(size) < p
