"""Fonts for the scripts of the world: the default one where it has every character, else others of this machine."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable

_DEFAULT = "DejaVu Sans"  # comes with matplotlib
_NO_LETTERS = "Last Resort"  # a font of boxes, which claims to have every character


def families_for(texts: Iterable[str], *, embedded: bool = True) -> list[str]:
    """Return names of installed fonts that have the characters of the texts, the default first.

    A character that no font has is told once, as a UserWarning, where fonts are `embedded` in the picture: who looks
    at the text of an SVG file may have a font for it.
    """
    from matplotlib.font_manager import fontManager

    wanted = {c for text in texts for c in text if c.isprintable() and not c.isspace()}
    families = [_DEFAULT]
    upright = [f for f in fontManager.ttflist if f.style == "normal" and f.stretch == "normal"]
    # Of several weights the regular one, which comes last.
    upright.sort(key=lambda font: (font.weight in (400, "normal"), font.fname))
    files = {font.name: font.fname for font in upright}
    lacking = wanted - _characters(files[_DEFAULT])
    if not lacking:
        return families
    others = sorted(name for name in files if not name.startswith(_NO_LETTERS))
    found = {name: lacking & _characters(files[name]) for name in others}
    while (
        found and lacking & found[best := max(found, key=lambda name: len(found[name] & lacking))]
    ):
        families.append(best)
        lacking -= found.pop(best)
    if lacking and embedded:
        warnings.warn(
            f"no font on this machine has {_named(lacking)}: the picture shows boxes; install a font of the script, "
            "such as Noto Sans, or write an .svg",
            UserWarning,
            stacklevel=3,
        )
    return families


def _named(characters: set[str]) -> str:
    first = min(characters)
    script = unicodedata.name(first, "").split(" ")[0].lower()
    count = "1 character" if len(characters) == 1 else f"{len(characters)} characters"
    return f"{count} of the texts, such as '{first}'" + (f" ({script})" if script else "")


def _characters(file: str) -> set[str]:
    """Return every character that a font has."""
    from matplotlib.ft2font import FT2Font

    return {chr(code) for code in FT2Font(file).get_charmap()}
