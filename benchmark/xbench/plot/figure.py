"""What all pictures share: the extra they need, fonts, colours, and files that are equal for equal data."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xbench.errors import EnvironmentProblem, UsageError
from xbench.plot.fonts import families_for
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
def new_figure(
    width: float,
    height: float,
    path: str | Path,
    dpi: int = 150,
    texts: Iterable[str] = (),
    *,
    shades: bool = False,
) -> Iterator[Any]:
    """Yield a matplotlib figure (inches) and write it to `path`, atomically, when the context ends well.

    Without dates and with a fixed salt, equal data give equal files. texts: what is written in it in any script, for
    which fonts are looked for. shades: it is made of few colours in many shades, so a PNG of 256 of them looks the same
    in less than half of the bytes.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    suffix = Path(path).suffix
    families = families_for(texts, embedded=suffix != ".svg")
    with (
        rc_context(
            {
                "svg.hashsalt": "xbench",
                "font.size": 9,
                "font.family": families,
                "svg.fonttype": "none",
                "text.parse_math": False,
            }
        ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)  # told once
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        buffer = io.BytesIO()
        figure.savefig(
            buffer, format=suffix[1:], dpi=dpi, bbox_inches="tight", metadata=_METADATA[suffix]
        )
    written = _of_256_colours(buffer) if shades and suffix == ".png" else buffer
    write_atomically(Path(path), written.getvalue())


def _of_256_colours(png: io.BytesIO) -> io.BytesIO:
    from PIL import Image

    smaller = io.BytesIO()
    picture = Image.open(png).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(smaller, "png", optimize=True)
    return smaller
