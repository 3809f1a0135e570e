"""One clip: its spectrogram, and its maps side by side, over the same time axis and the same tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from xbench.plot.figure import new_figure

if TYPE_CHECKING:
    from xbench.runner.explanation import Band, Explanation

_ABREAST = 3  # maps side by side; more go below
_WIDTH, _ONLY = 3.1, 6.6  # inches of one map among others, and of one alone
_ROW, _ABOVE = 0.19, 0.62  # inches of one row of a map, and of the spectrogram above it
_MOST_COLUMNS = 275  # of a map: a frame of its own pixel may not fall between two
_SHADES = "Blues"


def save_explanation(explanation: Explanation, path: str, dpi: int = 150) -> None:
    """Draw spectrogram, maps and tokens over one time axis.

    Each row of a map goes from its median (white) to its maximum (dark): what stands out is seen, in attention as in a
    reference, whose values do not begin at zero.
    """
    bands = explanation.bands
    across = min(len(bands), _ABREAST)
    down = -(-len(bands) // across)
    rows = len(explanation.row_texts)
    below = _ROW * rows
    width = (_ONLY if across == 1 else _WIDTH * across) + 1.1
    height = down * (_ABOVE + below + 0.75) + 0.3
    with new_figure(width, height, path, dpi, explanation.row_texts, shades=True) as figure:
        figure.get_layout_engine().set(h_pad=0.02, w_pad=0.03, hspace=0, wspace=0)
        grid = figure.subplots(
            2 * down,
            across,
            sharex=True,
            squeeze=False,
            height_ratios=[_ABOVE, below] * down,
        )
        for place in range(across * down):
            above, map_axes = (grid[2 * (place // across) + i, place % across] for i in (0, 1))
            if place >= len(bands):
                above.set_axis_off()
                map_axes.set_axis_off()
                continue
            leftmost = place % across == 0
            _draw_spectrogram(above, explanation, labelled=leftmost)
            _draw_map(map_axes, explanation, bands[place], labelled=leftmost)
            _title(above, explanation, bands[place])
        figure.suptitle(
            f"{explanation.audio}, {explanation.model.name}: where each token came from; "
            "white is the median of a row, dark its maximum",
            fontsize=8,
            color="#555555",
            x=0.01,
            ha="left",
        )


def _title(axes: Any, explanation: Explanation, band: Band) -> None:
    name = _short(band) + ("  (reference)" if band.kind == "reference" else "")
    caption = band.caption(explanation.metric)
    axes.set_title(name, loc="left", fontsize=10, weight="bold", pad=16 if caption else 4)
    if caption:
        axes.annotate(
            caption,
            (0, 1),
            xytext=(0, 4),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=9,
            color="#333333",
        )


def _short(band: Band) -> str:
    """Return the name with the parameters that are no matter of course; a reference's name says enough."""
    if band.kind == "reference":
        return band.call.name
    own = [(k, v) for k, v in band.call.params if v != "all"]
    return band.call.name + (":" + ",".join(f"{k}={v}" for k, v in own) if own else "")


def _draw_spectrogram(axes: Any, explanation: Explanation, *, labelled: bool) -> None:
    axes.imshow(
        explanation.spectrogram.T,
        origin="lower",
        aspect="auto",
        cmap="gray_r",
        extent=(0, explanation.seconds, 0, explanation.spectrogram.shape[1]),
    )
    axes.set_yticks([])
    axes.tick_params(bottom=False, labelbottom=False)
    if labelled:
        axes.set_ylabel("mel", fontsize=7, color="#555555")
    for side in axes.spines.values():
        side.set_color("#cccccc")


def _draw_map(axes: Any, explanation: Explanation, band: Band, *, labelled: bool) -> None:
    values = _pooled(explanation.shown(band))
    rows = len(values)
    usual, high = np.median(values, 1, keepdims=True), values.max(1, keepdims=True)
    axes.imshow(
        (values - usual) / np.where(high > usual, high - usual, 1),
        aspect="auto",
        cmap=_SHADES,
        interpolation="nearest",
        vmin=0,
        vmax=1,
        extent=(0, explanation.values.shape[1] * explanation.frame_seconds, rows - 0.5, -0.5),
    )
    names = [text.strip() or repr(text) for text in explanation.row_texts]
    axes.set_yticks(range(rows), names if labelled else [], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("seconds", fontsize=8)
    for side in axes.spines.values():
        side.set_color("#cccccc")


def _pooled(values: Float[np.ndarray, "row frame"]) -> Float[np.ndarray, "row column"]:
    """Take the maximum of neighbouring frames where there are more than a picture has columns for."""
    frames = values.shape[1]
    columns = min(frames, _MOST_COLUMNS)
    starts = np.arange(columns) * frames // columns
    pooled: Float[np.ndarray, "row column"] = np.maximum.reduceat(values, starts, axis=1)
    return pooled
