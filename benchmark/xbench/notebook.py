"""Pictures of maps and tables for Jupyter: HTML without scripts, all text escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_ROW_PIXELS = 12
_WIDEST = 900


def map_html(
    values: Float[np.ndarray, "token frame"], caption: str, tokens: Sequence[str] = ()
) -> str:
    """Return a grey picture of a map, dark = relevant, every row scaled to its own range."""
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    spread = np.where(high > low, high - low, 1.0)
    grey = np.round(255 * (1 - (values - low) / spread)).astype(np.uint8)
    picture = (
        f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{_png(grey)}" '
        f'style="image-rendering:pixelated;width:{min(_WIDEST, 4 * grey.shape[1])}px;'
        f'height:{_ROW_PIXELS * len(grey)}px">'
    )
    names = "".join(
        f'<div style="height:{_ROW_PIXELS}px;font:10px/{_ROW_PIXELS}px monospace;text-align:right">'
        f"{html.escape(token.strip() or repr(token))}</div>"
        for token in tokens
    )
    return (
        f"<figure><figcaption>{html.escape(caption)}</figcaption>"
        f'<div style="display:flex;gap:6px"><div>{names}</div>{picture}</div></figure>'
    )


def _png(grey: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def number_text(value: float | None, ci: Sequence[float] | None, reason: str | None) -> str:
    """Return a number with its interval, or a dash with the reason why there is none."""
    if value is None:
        return f"– ({reason})"
    return f"{value:.3f}" + (f" [{ci[0]:.2f}, {ci[1]:.2f}]" if ci else "")


def table_html(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all text is escaped."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f"<table><caption>{html.escape(caption)}</caption>"
        f"<thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"
    )
