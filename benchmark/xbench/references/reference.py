"""A reference saliency: sums and counts per segment in two independent halves, and the maps they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from xbench.references.segments import Segmentation


@dataclass(frozen=True)
class Reference:
    """Masked means of a divergence, kept as sufficient statistics per segment.

    sums: [half, token, segment], divergence added up over the masks that hide the segment.
    counts: [half, segment], how many masks hid it. masks: masks per half. kept: [token], share of
    masks under which the hypothesis token stayed the most likely one. neutral: the value a hidden
    cell takes. Halves hold whole masks and share none. computation: how the passes were run, where it is
    not the plain way (`references.passes`).
    """

    segmentation: Segmentation
    sums: Float[np.ndarray, "2 token segment"]
    counts: Int[np.ndarray, "2 segment"]
    masks: tuple[int, int]
    kept: Float[np.ndarray, " token"]
    neutral: str
    computation: Mapping[str, str | float | None] = field(default_factory=dict)

    def mean(self) -> Float[np.ndarray, "token *cells"]:
        """Return the map from all masks."""
        return self._assemble(self.sums.sum(0), self.counts.sum(0))

    def half(self, index: int) -> Float[np.ndarray, "token *cells"]:
        """Return the map from half 0 or half 1."""
        return self._assemble(self.sums[index], self.counts[index])

    def _assemble(
        self, sums: Float[np.ndarray, "token segment"], counts: Int[np.ndarray, " segment"]
    ) -> Float[np.ndarray, "token *cells"]:
        """Masked mean per cell, all levels together: sum_l sums / sum_l counts, 0 where never hidden."""
        flat = self.segmentation.flat
        cells = self.segmentation.labels.shape[1:]
        numerator = np.zeros((len(sums), flat.shape[1]))
        denominator = np.zeros(flat.shape[1])
        for labels in flat:
            numerator += sums[:, labels]
            denominator += counts[labels]
        values = numerator / np.maximum(denominator, 1)
        return values.reshape(len(sums), *cells)
