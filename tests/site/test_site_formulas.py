"""The formula on a method's page is that of its documentation."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import METHODS, result, write

from xbench import registry
from xbench.site.build import build
from xbench.site.formulas import formula, parsed

PAGE = """# name

What it is, with `code` that is no formula.

    M = a * b
      + c

`M[i]` is *not* 2 * 3 * 4, see [the other](other.md) and **this**.

    N = another block

| | |
"""


def test_the_first_block_and_the_paragraph_below_it_are_taken() -> None:
    found = parsed(PAGE)
    assert found is not None
    assert found.text == "M = a * b\n  + c"
    assert found.legend == (
        *(("code", "M[i]"), ("text", " is "), ("em", "not")),
        *(("text", " 2 * 3 * 4, see the other and "), ("em", "this"), ("text", ".")),
    )


@pytest.mark.parametrize("after", ["| | |\n|---|---|", "![picture](a.png)", "    b", ""])
def test_what_is_no_paragraph_is_no_legend(after: str) -> None:
    found = parsed(f"# name\n\nwords\n\n    a\n\n{after}\n")
    assert found is not None
    assert (found.text, found.legend) == ("a", ())


def test_a_page_without_a_block_has_no_formula() -> None:
    assert parsed("# name\n\nonly words\n") is None


def built_in() -> list[str]:
    entries = registry.methods.entries()
    return sorted(e.name for e in entries if e.distribution == "xbench" and e.description)


@pytest.mark.parametrize("name", built_in())
def test_every_built_in_method_has_a_formula(name: str) -> None:
    found = formula(registry.methods.get(name))
    assert found is not None
    assert re.search(r"[=~]", found.text), found.text
    assert not any("`" in text for _, text in found.legend), found.legend


def test_methods_of_others_have_none() -> None:
    described = registry.methods.get("mean-heads")
    assert formula(None) is None
    assert formula(replace(described, implementation="plugin.code:mean_heads")) is None
    assert formula(replace(described, name="called-otherwise")) is None


def test_the_page_shows_it_as_text(tmp_path: Path) -> None:
    other = ("of-a-stranger", {}, "attention", False)
    results = [result(method=method) for method in (METHODS[0], METHODS[5], other)]
    build([write(tmp_path / "results", results)], tmp_path / "out")
    for name in ("mean-heads", "chefer"):
        expected = formula(registry.methods.get(name))
        assert expected is not None
        text = (tmp_path / f"out/methods/{name}.html").read_text()
        shown = re.search(r"<dt>Formula</dt><dd><code class=\"block\">(.*?)</code>", text, re.S)
        assert shown
        assert html.unescape(shown[1]) == expected.text
        below = text[shown.end() : text.index("</dd>", shown.end())]
        words = html.unescape(re.sub(r"<.*?>", "", below)).split()
        assert words == "".join(text for _, text in expected.legend).split()
    assert "<dt>Formula</dt>" not in (tmp_path / "out/methods/of-a-stranger.html").read_text()
