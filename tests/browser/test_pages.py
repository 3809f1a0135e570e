"""Every page type is silent, whole and readable, however it is opened."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from harness import Site, page_types


def _problems(
    open_page: Callable[..., Any], site: Site, path: str, how: str, **more: Any
) -> list[str]:
    page, watch = open_page(site.url(path, how), **more)
    found = list(watch.problems)
    if not page.locator("h1").is_visible():
        found.append("no heading in sight")
    wide = page.evaluate("document.documentElement.scrollWidth") if more.get("js", True) else 0
    if wide > more.get("width", 1280):
        found.append(f"the page scrolls sideways: {wide}")
    open_page.close()
    return [f"{path} {how} {more}: {problem}" for problem in found]


def test_every_page_type_from_a_folder_wide_and_narrow(
    site: Site, open_page: Callable[..., Any]
) -> None:
    found: list[str] = []
    for number, path in enumerate(page_types(site.folder)):
        theme = ("light", "dark")[number % 2]
        found += _problems(open_page, site, path, "file", theme=theme, width=320)
    assert found == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["file", "http", "sub-path"])
@pytest.mark.parametrize("js", [True, False])
def test_the_whole_matrix(site: Site, open_page: Callable[..., Any], how: str, js: bool) -> None:
    found: list[str] = []
    for path, theme, width in itertools.product(
        page_types(site.folder), ("light", "dark"), (1280, 320)
    ):
        found += _problems(open_page, site, path, how, theme=theme, width=width, js=js)
    assert found == []


@pytest.mark.parametrize("how", ["http", "sub-path"])
def test_the_page_for_lost_readers_finds_the_top_of_the_site(
    site: Site, browser: Any, how: str
) -> None:
    """A host shows it at the address that was asked for, here three folders down."""
    context = browser.new_context()
    page = context.new_page()
    lost = (site.folder / "404.html").read_text("utf-8")
    page.route(
        "**/at/all.html", lambda r: r.fulfill(status=404, content_type="text/html", body=lost)
    )
    page.goto(site.url("deep/down/at/all.html", how))
    top = site.url("index.html", how)
    page.locator(f"a.brand[href='{urlsplit(top).path}']").wait_for()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("getComputedStyle(document.body).margin") == "0px"  # the stylesheet's
    page.get_by_role("link", name="Start from the first page").click()
    assert page.url == top
    context.close()
