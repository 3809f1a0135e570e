"""All maps of an example as one SVG file, for papers and slides: tokens beside each row, time below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import escape

from xbench.bundle import unpack
from xbench.site.thumbnail import address

_LEFT, _WIDTH, _ROW, _TITLE = 110, 900, 12, 26


def picture(bundle: Mapping[str, Any]) -> str:
    """Draw the maps below each other over one time axis, each token on its own scale."""
    texts = [
        token["text"].replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip()
        for token in bundle["tokens"]
    ]
    parts = []
    top = 0
    for entry in bundle["maps"]:
        grid = unpack(entry)
        parts.append(
            f'<text x="{_LEFT}" y="{top + 18}" font-weight="bold">{escape(entry["label"])}</text>'
        )
        top += _TITLE
        parts.append(
            f'<image href="{address(grid)}" x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_ROW * len(grid)}" '
            'preserveAspectRatio="none" image-rendering="pixelated"/>'
        )
        parts += [
            f'<text x="{_LEFT - 6}" y="{top + _ROW * row + 10}" text-anchor="end">{escape(text)}</text>'
            for row, text in enumerate(texts)
        ]
        top += _ROW * len(grid)
    seconds = bundle["seconds"]
    parts += [
        f'<text x="{_LEFT + _WIDTH * second / seconds:.1f}" y="{top + 14}">{second} s</text>'
        for second in range(0, int(seconds) + 1, 1 + int(seconds) // 12)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 30} {top + 22}" '
        f'font-family="sans-serif" font-size="10">{"".join(parts)}</svg>\n'
    )
