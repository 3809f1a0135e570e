"""One clip: its spectrogram, its map and its tokens over one time axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xbench.plot.figure import new_figure

if TYPE_CHECKING:
    from xbench.runner.clip import Explanation


def save_explanation(explanation: Explanation, path: str, dpi: int = 150) -> None:
    """Draw spectrogram, map and tokens over one time axis; each map row is scaled to its maximum."""
    rows, frames = explanation.values.shape
    end = frames * explanation.frame_seconds
    with new_figure(8, 2.2 + 0.24 * rows, path, dpi) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.4, 0.24 * rows])
        above.imshow(
            explanation.spectrogram.T,
            origin="lower",
            aspect="auto",
            cmap="gray_r",
            extent=(0, explanation.seconds, 0, explanation.spectrogram.shape[1]),
        )
        above.set_ylabel("mel channel")
        peak = explanation.values.max(1, keepdims=True)
        image = below.imshow(
            explanation.values / peak.clip(min=1e-30),
            aspect="auto",
            cmap="cividis",
            interpolation="nearest",
            vmin=0,
            vmax=1,
            extent=(0, end, rows - 0.5, -0.5),
        )
        below.set_yticks(
            range(rows), [token.strip() or repr(token) for token in explanation.tokens]
        )
        below.set_xlabel("seconds")
        below.set_ylabel("token")
        figure.colorbar(image, ax=below, label="relevance / row maximum", pad=0.01)
        figure.suptitle(
            f"{explanation.method} of {explanation.model.name}: {explanation.audio}", fontsize=9
        )
