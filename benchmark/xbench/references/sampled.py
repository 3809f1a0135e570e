"""A reference from random masks: sums and counts per segment in two independent halves, and the maps they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from xbench.hiding.segments import Segmentation
from xbench.notebook import map_html
from xbench.references.reference import Facts, Relevance


@dataclass(frozen=True)
class SampledReference:
    """The mean of an effect over the masks that hide each segment, kept as sums and counts.

    sums: [half, token, segment], the effect added up over the masks that hide the segment.
    counts: [half, segment], how many masks hid it. masks: masks per half. kept: [token], share of
    masks under which the hypothesis token stayed the most likely one. neutral: the value a hidden
    cell takes. converged: whether the reliability asked for was reached; None where none was asked for.
    computation: how the passes were run (`hiding.passes`).
    Each mask (of antithetic ones: each pair) is in one half only. Estimators other than the masked mean store adjusted
    sums; divided by the counts they are the estimate.
    block_sums: [block, token], the effects of each block of `block` masks added up; None where nobody kept them.
    """

    segmentation: Segmentation
    sums: Float[np.ndarray, "2 token segment"]
    counts: Int[np.ndarray, "2 segment"]
    masks: tuple[int, int]
    kept: Float[np.ndarray, " token"]
    neutral: str
    converged: bool | None = None
    computation: Mapping[str, str | float | None] = field(default_factory=dict)
    block_sums: Float[np.ndarray, "block token"] | None = None
    block: int | None = None

    def mean(self) -> Relevance:
        """Return the map from all masks."""
        return self._assemble(self.sums.sum(0), self.counts.sum(0))

    def half(self, index: int) -> Relevance:
        """Return the map from half 0 or half 1."""
        return self._assemble(self.sums[index], self.counts[index])

    def halves(self) -> tuple[Relevance, Relevance]:
        """Return the maps from both halves."""
        return self.half(0), self.half(1)

    def facts(self) -> Facts:
        """Say how it was made."""
        return Facts(self.masks, self.kept, self.neutral, self.converged, self.computation)

    def to_artefact(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the sums, counts and labels, and how they were made."""
        arrays = {
            "labels": self.segmentation.labels,
            "sums": self.sums,
            "counts": self.counts,
            "kept": self.kept,
            **({} if self.block_sums is None else {"block_sums": self.block_sums}),
        }
        return arrays, {
            "sizes": self.segmentation.sizes,
            "masks": self.masks,
            "neutral": self.neutral,
            "converged": self.converged,
            "computation": dict(self.computation),
            "block": self.block,
        }

    def _repr_html_(self) -> str:
        values = self.mean()
        # Spectrogram cells are shown as time by tokens, the mel channels averaged.
        shown = values if values.ndim == 2 else values.mean(axis=-1)
        return map_html(
            shown, f"reference from {sum(self.masks)} masks, hidden cells: {self.neutral}"
        )

    def _assemble(
        self, sums: Float[np.ndarray, "token segment"], counts: Int[np.ndarray, " segment"]
    ) -> Relevance:
        """Return the masked mean of each cell over all levels: sum_l sums / sum_l counts; 0 where never hidden."""
        flat = self.segmentation.flat
        cells = self.segmentation.labels.shape[1:]
        numerator = np.zeros((len(sums), flat.shape[1]))
        denominator = np.zeros(flat.shape[1])
        for labels in flat:
            numerator += sums[:, labels]
            denominator += counts[labels]
        values = numerator / np.maximum(denominator, 1)
        return values.reshape(len(sums), *cells)


def restore(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> SampledReference:
    """Make a reference again from what `to_artefact` returned."""
    return SampledReference(
        segmentation=Segmentation(arrays["labels"], tuple(facts["sizes"])),
        sums=arrays["sums"],
        counts=arrays["counts"],
        masks=tuple(facts["masks"]),
        kept=arrays["kept"],
        neutral=facts["neutral"],
        converged=facts["converged"],
        computation=facts["computation"],
        block_sums=arrays.get("block_sums"),
        block=facts.get("block"),
    )
