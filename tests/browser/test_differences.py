"""The switch of a task page between scores and differences: one of them in sight, without any script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness import Site
from test_accessible import violations


@pytest.mark.parametrize("js", [True, False])
def test_the_switch_shows_one_of_the_two(
    site: Site, open_page: Callable[..., Any], js: bool
) -> None:
    page, watch = open_page(site.url("tasks/demo-asr-en.html"), js=js)
    section = page.locator("section:has(.view)").first
    scores, apart = section.locator("td.n.v-score"), section.locator("td.n.v-diff")
    assert scores.count() > apart.count() > 5  # rank and skill are scores too
    assert scores.first.is_visible()
    assert not apart.first.is_visible()
    section.locator(".view input").first.focus()
    page.keyboard.press("ArrowRight")
    assert section.locator(".diff").is_checked()
    assert apart.first.is_visible()
    assert not scores.first.is_visible()
    assert watch.problems == []


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 320)])
def test_differences_have_no_violations(
    site: Site, open_page: Callable[..., Any], theme: str, width: int
) -> None:
    page, watch = open_page(site.url("tasks/demo-asr-en.html"), theme=theme, width=width)
    for switch in page.locator(".diff").all():
        switch.check()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert watch.problems == []
    assert violations(page) == []
