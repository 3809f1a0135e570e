"""Metrics: how good a map is on one utterance, by itself or compared with a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Score"]


@dataclass(frozen=True)
class Score:
    """The value of a metric on one utterance, or the reason why it has none: a slug such as `constant-map`.

    Results count the reasons. left_out: for metrics that are means over tokens, how many content tokens have no
    value, by reason. columns: further numbers of the utterance, which the result keeps as columns `<metric>:<name>`.
    """

    value: float | None
    reason: str | None = None
    left_out: tuple[tuple[str, int], ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse NaN, infinity, and a missing value without a reason."""
        if (self.value is None) == (self.reason is None):
            raise ValueError("a score has either a value or a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a score is a finite number or None with a reason, not {self.value}")
