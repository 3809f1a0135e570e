"""A reference saliency: sums and counts per segment in two independent halves, and the maps they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from xbench.hiding.segments import Segmentation
from xbench.notebook import map_html


@dataclass(frozen=True)
class Reference:
    """Masked means of a divergence, kept as sufficient statistics per segment.

    sums: [half, token, segment], divergence added up over the masks that hide the segment.
    counts: [half, segment], how many masks hid it. masks: masks per half. kept: [token], share of
    masks under which the hypothesis token stayed the most likely one. neutral: the value a hidden
    cell takes. converged: whether the reliability asked for was reached; None where none was asked for.
    computation: how the passes were run, where it is not the plain way (`hiding.passes`).
    Halves hold whole masks (antithetic ones: whole pairs) and share none. Estimators other than the masked
    mean leave adjusted sums, whose quotient with the counts is their estimate.
    """

    segmentation: Segmentation
    sums: Float[np.ndarray, "2 token segment"]
    counts: Int[np.ndarray, "2 segment"]
    masks: tuple[int, int]
    kept: Float[np.ndarray, " token"]
    neutral: str
    converged: bool | None = None
    computation: Mapping[str, str | float | None] = field(default_factory=dict)

    def mean(self) -> Float[np.ndarray, "token *cells"]:
        """Return the map from all masks."""
        return self._assemble(self.sums.sum(0), self.counts.sum(0))

    def half(self, index: int) -> Float[np.ndarray, "token *cells"]:
        """Return the map from half 0 or half 1."""
        return self._assemble(self.sums[index], self.counts[index])

    def _repr_html_(self) -> str:
        values = self.mean()
        # Spectrogram cells are shown as time by tokens, the mel channels averaged.
        shown = values if values.ndim == 2 else values.mean(axis=-1)
        return map_html(
            shown, f"reference from {sum(self.masks)} masks, hidden cells: {self.neutral}"
        )

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
