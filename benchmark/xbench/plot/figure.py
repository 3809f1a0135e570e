"""What all pictures share: the extra they need, fonts, colours, and files that are equal for equal data."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xbench.errors import EnvironmentProblem, UsageError
from xbench.store import write_atomically

_METADATA: dict[str, dict[str, None]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}

# Colour (Okabe and Ito 2008) and shape of each kind of method, the same in every picture.
KINDS = {
    "attention": ("#0072B2", "o"),
    "gradient": ("#D55E00", "s"),
    "perturbation": ("#009E73", "^"),
    "control": ("#777777", "D"),
}


def check_target(path: str) -> None:
    """Raise before any work is done when the picture could not be written."""
    if Path(path).suffix not in _METADATA:
        raise UsageError(f"--out {path}: the name must end in {', '.join(_METADATA)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise EnvironmentProblem("pictures need matplotlib; run pip install 'xbench[plot]'")


@contextmanager
def new_figure(width: float, height: float, path: str | Path, dpi: int = 150) -> Iterator[Any]:
    """Yield a matplotlib figure (inches) and write it to `path`, atomically, when the context ends well.

    Without dates and with a fixed salt, equal data give equal files.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(
        {"svg.hashsalt": "xbench", "font.size": 9, "svg.fonttype": "none", "text.parse_math": False}
    ):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        buffer = io.BytesIO()
        suffix = Path(path).suffix
        figure.savefig(
            buffer, format=suffix[1:], dpi=dpi, bbox_inches="tight", metadata=_METADATA[suffix]
        )
    write_atomically(Path(path), buffer.getvalue())
