"""What a method may learn from other utterances, and what it learned.

A method with a `fit` function in its description is first shown the task's dev split (`FitSplit`) and then
called with the outcome (`Fitted`). Where a task has no dev split, it is shown the test utterances
themselves, and its row is an `oracle`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from xbench.maps import GridMap
from xbench.metrics import Score
from xbench.spec import canonical_json
from xbench.trace import Trace


@dataclass(frozen=True)
class FitCase:
    """One utterance to learn from: its trace and its reference on the encoder grid."""

    trace: Trace
    reference: GridMap


@dataclass(frozen=True)
class FitSplit:
    """The utterances to learn from, and the headline score of a [token, frame] map of one of them."""

    cases: tuple[FitCase, ...]
    score: Callable[[GridMap, FitCase], Score]


@dataclass(frozen=True)
class Learned:
    """What a `fit` function returns: plain facts for the result file, and arrays."""

    facts: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """What was learned, from which split and from how many utterances."""

    learned: Learned
    split: Literal["dev", "oracle"]
    n: int

    @property
    def digest(self) -> str:
        """Hash of what was learned: it determines the maps."""
        digest = hashlib.sha256(canonical_json(dict(self.learned.facts)).encode())
        for name, values in sorted(self.learned.arrays.items()):
            digest.update(f"{name}{values.shape}{values.dtype}".encode() + values.tobytes())
        return digest.hexdigest()
