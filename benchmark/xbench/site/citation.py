"""How to cite xbench and the paper it grew out of: BibTeX made of CITATION.cff."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


def citation_file() -> Path:
    """Return the CITATION.cff packed into the wheel, or else that of the checkout."""
    packed = Path(__file__).parents[1] / "_citation.cff"
    return packed if packed.is_file() else Path(__file__).parents[3] / "CITATION.cff"


def bibtex() -> str:
    """Return an entry for xbench, then one for each work that CITATION.cff refers to."""
    cited = yaml.safe_load(citation_file().read_text("utf-8"))
    return "\n\n".join(map(_entry, [cited, *cited.get("references", ())]))


def _entry(work: Mapping[str, Any]) -> str:
    kind = {"software": "software", "article": "article"}.get(work["type"], "misc")
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in _fields(work))
    return f"@{kind}{{{_key(work)},\n{lines},\n}}"


def _fields(work: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "title", work["title"]
    yield "author", " and ".join(map(_author, work["authors"]))
    for name in ("year", "version", "license", "url"):
        if name in work:
            yield name, str(work[name])


def _author(author: Mapping[str, str]) -> str:
    if "name" in author:
        return f"{{{author['name']}}}"  # an organisation: BibTeX must not split it
    return f"{author['family-names']}, {author['given-names']}"


def _key(work: Mapping[str, Any]) -> str:
    first = work["authors"][0]
    if "name" in first:
        return re.sub(r"\W.*", "", work["title"]).lower()
    return f"{first['family-names'].lower()}{work.get('year', '')}"
