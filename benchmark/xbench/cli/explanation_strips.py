"""One explanation in the terminal: a strip of blocks per row of each map."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from xbench.cli.console import out, safe, say

if TYPE_CHECKING:
    from xbench.runner.explanation import Band, Explanation

_BLOCKS = " ▁▂▃▄▅▆▇█"


def show_explanation(explanation: Explanation) -> None:
    """Print the hypothesis, and per map and row a strip: how relevance is spread over time.

    A column is the maximum of the frames it covers; each row is scaled to its own maximum.
    """
    only = f", {explanation.bands[0].call}" if len(explanation.bands) == 1 else ""
    say(f"{explanation.audio} ({explanation.seconds:.2f} s), {explanation.model.name}{only}")
    say(f"hypothesis: {explanation.text}")
    for band in explanation.bands:
        if not only:
            caption = band.caption(explanation.metric)
            reference = "reference " if band.kind == "reference" else ""
            say("")
            say(f"{reference}{band.call}" + (f": {caption}" if caption else ""))
        _show_band(explanation, band)


def _show_band(explanation: Explanation, band: Band) -> None:
    import numpy as np

    values = explanation.shown(band)
    labels = [repr(text) for text in explanation.row_texts]
    frames = values.shape[1]
    width = max(map(_cells, labels))
    columns = max(1, min(frames, out.width - width - 4))
    starts = np.arange(columns) * frames // columns
    pooled = np.maximum.reduceat(values, starts, axis=1)
    low, high = pooled.min(1, keepdims=True), pooled.max(1, keepdims=True)
    levels = np.where(high > low, (pooled - low) / np.where(high > low, high - low, 1), 0)
    for label, row in zip(labels, levels, strict=True):
        strip = "".join(_BLOCKS[round(level * (len(_BLOCKS) - 1))] for level in row)
        padding = " " * (width - _cells(label))
        out.print(f"{padding}{safe(label)} [cyan]{strip}[/cyan]", soft_wrap=False, no_wrap=True)
    end = f"{frames * explanation.frame_seconds:.2f} s"
    say(" " * (width + 1) + "0 s" + end.rjust(columns - 3))


def _cells(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for each wide character, none for a mark."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
