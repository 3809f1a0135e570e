"""Strangers' text made harmless to look at, names turned into file names, facts turned into words.

HTML is escaped by the templates; here goes what escaping leaves: characters that hide or reorder
what stands beside them, and texts without end.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from xbench.authorship import papers
from xbench.claims.names import LONGEST
from xbench.inputs import visible

LONGEST_MESSAGE = 1000
DEEPEST = 40

# Names that some file systems keep for devices.
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d|index")


@functools.lru_cache(maxsize=1 << 16)
def readable(text: str, longest: int = LONGEST) -> str:
    """Return the text in NFC, invisible and reordering characters as escapes, cut to a length."""
    if not (text.isascii() and text.isprintable()):
        text = visible(unicodedata.normalize("NFC", text[: 4 * longest]))
    return text if len(text) <= longest else text[: longest - 1] + "…"


_NUMBERS = {int, float, bool, type(None)}


def harmless(value: Any, depth: int = 0) -> Any:
    """Return plain data with every text in it readable; ValueError where it is nested too deep."""
    if depth > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    kind = type(value)
    if kind is str:
        return readable(value, LONGEST_MESSAGE)
    if kind is list:
        kinds = set(map(type, value))
        if kinds <= _NUMBERS:  # most of a file: columns of scores
            return value
        if kinds == {str}:
            return [readable(item, LONGEST_MESSAGE) for item in value]
        return [harmless(item, depth + 1) for item in value]
    if kind is dict:
        return {
            readable(key): item if type(item) in _NUMBERS else harmless(item, depth + 1)
            for key, item in value.items()
        }
    return value


def digest(text: str, length: int) -> str:
    """Return the first digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Give every name a different file name of `[a-z0-9-]`, whatever the order of the names.

    A name that is its own slug keeps it; where others come to the same, they end in a hash.
    """
    unique = sorted(set(names))
    plain = {name: _slug(name) for name in unique}
    uses = Counter(plain.values())
    made = {}
    for name in unique:
        base = plain[name]
        shared = uses[base] > 1 and name != base
        odd = not base or _RESERVED.fullmatch(base) or shared
        made[name] = f"{base}-{digest(name, 8)}".lstrip("-") if odd else base
    return made


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].rstrip("-")


def linked(text: str) -> list[tuple[str, str | None]]:
    """Split a text at the papers that it names: each part with its link, or None."""
    parts: list[tuple[str, str | None]] = []
    for written, link in papers(text):
        before, _, text = text.partition(written)
        parts += [(before, None), (written, link)]
    return [(part, link) for part, link in [*parts, (text, None)] if part]


def words(reason: str | None) -> str:
    """Write a reason for reading: `fewer-than-6-clusters` without its hyphens."""
    if not reason:
        return "not recorded"
    return reason.replace("-", " ") if re.fullmatch(r"[a-z0-9-]+", reason) else reason


def setting(value: Any) -> str:
    """Write the value of a setting as words: no JSON's or Python's."""
    if value is None:
        return "not set"
    return told(value) if not isinstance(value, bool) else "yes" if value else "no"


def told(value: Any) -> str:
    """Write nested facts as words: `batch size 64; precision (bfloat16 6, float32 1)`."""
    if not isinstance(value, Mapping):
        return words(f"{value:.4g}" if isinstance(value, float) else str(value))
    nested = {
        k: f"({told(v).replace('; ', ', ')})" if isinstance(v, Mapping) else told(v)
        for k, v in value.items()
    }
    return "; ".join(f"{k.replace('_', ' ')} {v}" for k, v in nested.items())
