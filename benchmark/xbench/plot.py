"""Pictures for papers and notebooks (extra `plot`: matplotlib)."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING

from xbench.errors import EnvironmentProblem, UsageError
from xbench.store import write_atomically

if TYPE_CHECKING:
    from xbench.explain import Explanation

_FORMATS = (".png", ".pdf", ".svg")


def check_target(path: str) -> None:
    """Raise before any work is done when the picture could not be written."""
    if Path(path).suffix not in _FORMATS:
        raise UsageError(f"--out {path}: the name must end in {', '.join(_FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise EnvironmentProblem("pictures need matplotlib; run pip install 'xbench[plot]'")


def save_explanation(explanation: Explanation, path: str, dpi: int = 150) -> None:
    """Draw spectrogram, map and tokens over one time axis; each map row is scaled to its maximum."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows, frames = explanation.values.shape
    end = frames * explanation.frame_seconds
    # svg.hashsalt and no date: equal explanations give equal files.
    with rc_context({"svg.hashsalt": "xbench", "font.size": 9}):
        figure = Figure(figsize=(8, 2.2 + 0.24 * rows), layout="constrained")
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
        buffer = io.BytesIO()
        suffix = Path(path).suffix[1:]
        metadata = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[suffix]
        figure.savefig(buffer, format=suffix, dpi=dpi, metadata=metadata)
    write_atomically(Path(path), buffer.getvalue())
