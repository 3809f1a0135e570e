"""Who made a method: its authors, its code, its paper, its licence. Results name them, and the site links them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata

LINK = r"""^https://[^\s<>"'\\]+$"""  # what may stand where a link is shown
_ARXIV = re.compile(r"arXiv:? ?(\d{4}\.\d{4,5})", re.IGNORECASE)
_CODE = ("source", "source code", "repository", "code", "github", "gitlab", "homepage")


@dataclass(frozen=True)
class Authorship:
    """What is known of who made a method; None for what nobody states.

    authors: who wrote its code. code, paper: links. licence: of its code.
    """

    authors: str | None = None
    code: str | None = None
    paper: str | None = None
    licence: str | None = None

    def over(self, other: Authorship) -> Authorship:
        """Return this, with what it leaves open from the other."""
        return Authorship(
            self.authors or other.authors,
            self.code or other.code,
            self.paper or other.paper,
            self.licence or other.licence,
        )


def of_package(name: str) -> Authorship:
    """Return what the metadata of an installed package say: `authors`, `license`, `urls` in its pyproject.toml."""
    try:
        said = metadata(name)
    except (PackageNotFoundError, ValueError):  # a name of no package, or none at all
        return Authorship()

    def first(field: str) -> str | None:
        found = said.get_all(field)
        return str(found[0]) if found else None

    urls = {}
    for line in said.get_all("Project-URL") or ():
        label, _, target = line.partition(",")
        urls[label.strip().lower()] = target.strip()
    code = [urls[label] for label in _CODE if re.match(LINK, urls.get(label, ""))]
    mail = re.sub(r"\s*<[^>]*>", "", first("Author-email") or "")
    return Authorship(
        authors=first("Author") or (mail if "@" not in mail else None) or None,
        code=code[0] if code else None,
        licence=first("License-Expression") or first("License"),
    )


def papers(text: str) -> list[tuple[str, str]]:
    """Return the papers on arXiv that a text names, as written, each with its link."""
    return [(m[0], f"https://arxiv.org/abs/{m[1]}") for m in _ARXIV.finditer(text)]
