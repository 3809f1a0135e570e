"""Formulas of the built-in methods, read from their pages in `docs/methods`: the one place that states them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from xbench.description import MethodDescription

Span = tuple[str, str]  # kind: "text", "code" or "em"; and what it says


@dataclass(frozen=True)
class Formula:
    """A formula as preformatted text, and the paragraph below it that says what its letters mean."""

    text: str
    legend: tuple[Span, ...]


def pages_folder() -> Path:
    """Return the method pages packed into the wheel, or else the checkout's `docs/methods/`."""
    packed = Path(__file__).parents[1] / "_methods"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "docs" / "methods"


def formula(description: MethodDescription | None) -> Formula | None:
    """Return the formula of a built-in method; None for a plugin's, whose documentation is elsewhere."""
    if description is None or not description.implementation.startswith("xbench."):
        return None
    page = pages_folder() / f"{description.name}.md"
    return parsed(page.read_text("utf-8")) if page.is_file() else None


def parsed(page: str) -> Formula | None:
    """Return the first indented block of a page and the paragraph that follows, if one does."""
    blocks = [block.strip("\n") for block in re.split(r"\n\s*\n", page)]
    for block, after in zip(blocks, [*blocks[1:], ""], strict=True):
        if block.startswith("    "):
            told = "" if after.startswith(("|", "    ", "!", "#", "-")) else after
            return Formula(textwrap.dedent(block), tuple(_spans(" ".join(told.split()))))
    return None


def _spans(paragraph: str) -> list[Span]:
    """Split Markdown at its code and emphasis; a link becomes its words."""
    paragraph = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", paragraph)
    found: list[Span] = []
    rest = 0
    for match in re.finditer(r"(`|\*\*?)(?=\S)(.+?)(?<=\S)\1", paragraph):
        kind = "code" if match[1] == "`" else "em"
        found += [("text", paragraph[rest : match.start()]), (kind, match[2])]
        rest = match.end()
    found.append(("text", paragraph[rest:]))
    return [(kind, text) for kind, text in found if text]
