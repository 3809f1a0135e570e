"""What a reader sees on a page: links, places, and what it says of rows and of results.

An element with `data-row` speaks of a row of `data/results.json`, one with `data-of` of what results
share (`stated` lists the subjects); elements with `data-f` inside of it hold the values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path


@dataclass
class _Open:
    """An element that has not ended: its tag, and how many of that tag are open from it on."""

    tag: str
    depth: int = 1


@dataclass
class Seen(HTMLParser):
    """One page.

    numbers: (row, field, text). statements: of each subject the statements in their order, a text per
    field. found: what no page may have.
    """

    links: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    numbers: list[tuple[str, str, str]] = field(default_factory=list)
    statements: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    _row: str | None = None
    _of: _Open | None = None
    _statement: dict[str, str] = field(default_factory=dict)
    _field: _Open | None = None
    _name: str = ""
    _texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, ids, and of which row or subject which field comes next."""
        given = {name: value or "" for name, value in attrs}
        self.links += [given[name] for name in ("href", "src") if name in given]
        if "id" in given:
            self.ids.append(given["id"])
        if "style" in given or any(name.startswith("on") for name in given):
            self.found.append(f"<{tag}> has an inline style or handler")
        if tag == "tr" or "data-row" in given:
            self._row = given.get("data-row")
        for element in (self._of, self._field):
            if element and element.tag == tag:
                element.depth += 1
        if "data-of" in given:
            self._of, self._statement = _Open(tag), {}
            self.statements.setdefault(given["data-of"], []).append(self._statement)
        if "data-f" in given:
            self._field, self._name, self._texts = _Open(tag), given["data-f"], []

    def handle_data(self, data: str) -> None:
        """Collect the text of a field."""
        if self._field:
            self._texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Note the text of a field that ends here."""
        if self._ends(self._field, tag):
            text = plain("".join(self._texts))
            if self._of:
                self._statement[self._name] = text
            elif self._row:
                self.numbers.append((self._row, self._name, text))
            self._field = None
        if self._ends(self._of, tag):
            self._of = None

    @staticmethod
    def _ends(element: _Open | None, tag: str) -> bool:
        if element is None or element.tag != tag:
            return False
        element.depth -= 1
        return element.depth == 0


def plain(text: str) -> str:
    """Return a text as a reader sees it: runs of white space as one."""
    return " ".join(text.split())


def seen(page: Path) -> Seen:
    """Read a page."""
    made = Seen()
    made.feed(page.read_text("utf-8"))
    return made
