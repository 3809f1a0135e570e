"""No violation that axe-core finds; contrast of colours is tested with the build of the site."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Site, page_types

VENDOR = Path(__file__).parent / "vendor"
AXE = VENDOR / "axe-4.14.1.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def test_the_vendored_checker_is_the_locked_one() -> None:
    locked = [line.split() for line in (VENDOR / "SHA256SUMS").read_text("utf-8").splitlines()]
    assert {name for _, name in locked} == {p.name for p in VENDOR.iterdir()} - {"SHA256SUMS"}
    for digest, name in locked:
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest


def violations(page: Any) -> list[str]:
    """Return what axe-core finds on the open page, one line per rule and place."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES
    )
    return [
        f"{v['id']}: {node['target']} {node['html'][:160]}"
        for v in found["violations"]
        for node in v["nodes"][:3]
    ]


def _checked(site: Site, open_page: Callable[..., Any], cases: Any) -> list[str]:
    found = []
    for path, theme, width in cases:
        page, _ = open_page(site.url(path), theme=theme, width=width)
        found += [f"{path} {theme} {width}: {problem}" for problem in violations(page)]
        open_page.close()
    return found


def test_the_pages_with_scripts_have_no_violations(
    site: Site, open_page: Callable[..., Any]
) -> None:
    cases = [
        ("results.html", "light", 1280),
        ("compare.html", "dark", 320),
        ("examples/demo-one.html", "light", 320),
    ]
    assert _checked(site, open_page, cases) == []


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 320])
def test_no_page_type_has_violations(
    site: Site, open_page: Callable[..., Any], theme: str, width: int
) -> None:
    cases = itertools.product(page_types(site.folder), [theme], [width])
    assert _checked(site, open_page, cases) == []
