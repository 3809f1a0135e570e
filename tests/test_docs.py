"""Documentation that can be held against the registry is."""

from __future__ import annotations

from pathlib import Path

import pytest

from xbench import registry
from xbench.description import MethodDescription

PAGES = Path(__file__).parents[1] / "docs" / "methods"
# Methods that need other utterances or word times: one clip alone has no map of theirs to show.
NO_PICTURE = {"best-head", "top-k-heads", "corpus-mean", "shuffled", "word-window"}
ROWS = ("source", "cost", "space", "ignores", "models")


def pages() -> list[str]:
    return sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "index")


def built_in() -> dict[str, MethodDescription]:
    return {
        entry.name: entry.description
        for entry in registry.methods.entries()
        if entry.distribution == "xbench" and entry.description
    }


@pytest.mark.parametrize("name", pages())
def test_every_page_is_about_a_method(name: str) -> None:
    assert name in built_in()
    assert (PAGES / f"{name}.md").read_text().startswith(f"# {name}\n")


@pytest.mark.parametrize("name", built_in())
def test_every_method_has_a_page_that_says_what_it_must(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    cells = [line.split(" | ", 1)[0].removeprefix("| ") for line in page.splitlines()]
    assert [row for row in ROWS if row not in cells] == []
    description = built_in()[name]
    for parameter in description.parameters:
        assert f"`{parameter.name}`" in page, parameter.name
    assert ("signed" in page.lower()) == description.signed
    assert ("not a distribution" not in page) == description.distribution


@pytest.mark.parametrize("name", sorted(built_in().keys() - NO_PICTURE))
def test_every_page_shows_an_example(name: str) -> None:
    picture = f"../images/methods/{name}.png"
    assert f"]({picture})" in (PAGES / f"{name}.md").read_text()
    assert (PAGES / picture).is_file()


@pytest.mark.parametrize("name", built_in())
def test_every_method_says_what_it_ignores(name: str) -> None:
    ignores = built_in()[name].ignores
    assert ignores
    assert f"| ignores | {ignores} |" in (PAGES / f"{name}.md").read_text()
