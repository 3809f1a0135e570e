"""Tables of all pages, links of sections, words that explain themselves, the search."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Site


def column(page: Any, name: str) -> list[str]:
    """Return the values of a column of the first table, in the order in which they stand."""
    table = page.locator("table.sort").first
    heads = table.locator("thead th").evaluate_all("h => h.map(x => x.textContent)")
    at = next(i for i, text in enumerate(heads) if text.strip().startswith(name))
    cells = table.locator("tbody tr").evaluate_all(
        "(rows, at) => rows.map(r => (r.cells[at].querySelector('[data-f=value]') || r.cells[at]).textContent.trim())",
        at,
    )
    return list(cells)


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def test_a_column_sorts_both_ways_and_back_and_the_address_keeps_it(
    site: Site, open_page: Callable[..., Any]
) -> None:
    page, watch = open_page(site.url("cost.html"))
    given = column(page, "Score")
    button = page.get_by_role("button", name="Sort by Score").first
    button.click()
    known = [number(text) for text in given]
    assert [number(text) for text in column(page, "Score")] == sorted(known, reverse=True)
    assert page.locator("th[aria-sort]").first.get_attribute("aria-sort") == "descending"
    button.click()
    assert [number(text) for text in column(page, "Score")] == sorted(known)
    address = page.url
    button.click()
    assert column(page, "Score") == given
    assert page.locator("th[aria-sort]").count() == 0
    again, _ = open_page(address)
    assert [number(text) for text in column(again, "Score")] == sorted(known)
    assert watch.problems == []


def test_an_interval_stands_in_the_line_of_its_number(
    site: Site, open_page: Callable[..., Any]
) -> None:
    page, watch = open_page(site.url("index.html"))
    shown = page.locator("p .ci").evaluate_all("all => all.map(e => getComputedStyle(e).display)")
    assert set(shown) == {"inline"}
    assert watch.problems == []


def test_a_table_is_saved_as_it_is_shown(
    site: Site, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page, watch = open_page(site.url("index.html"))
    with page.expect_download() as download:
        page.locator("main .tools").first.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "table.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text("utf-8"))))
    assert list(lines[0])[:4] == ["Method", "Score", "Score low", "Score high"]
    shown = column(page, "Score")
    assert [float(line["Score"]) for line in lines] == [number(text.split()[0]) for text in shown]
    for line in lines:
        assert float(line["Score low"]) <= float(line["Score"]) <= float(line["Score high"])
        assert line["Rank"].isdigit() or line["Rank"] == ""
    ranks = page.locator("td.rank").first.inner_text()
    assert ranks == f"{lines[0]['Rank']} ({lines[0]['Rank low']}–{lines[0]['Rank high']})"
    assert watch.problems == []


def test_a_word_explains_itself_and_a_section_has_its_link(
    site: Site, open_page: Callable[..., Any]
) -> None:
    page, watch = open_page(site.url("index.html"))
    text = page.locator("#help-skill")
    assert not text.is_visible()
    page.get_by_role("button", name="Skill", exact=True).first.click()
    assert text.is_visible()
    page.keyboard.press("Escape")
    assert not text.is_visible()
    page.keyboard.press("Enter")
    assert text.is_visible()
    page.locator("#rests a.here").click()
    assert page.url.endswith("#rests")
    assert watch.problems == []


def test_a_word_explains_itself_to_who_comes_by_the_keyboard_until_they_go_on(
    site: Site, open_page: Callable[..., Any]
) -> None:
    page, watch = open_page(site.url("index.html"))
    text = page.locator("#help-skill")
    term = page.get_by_role("button", name="Skill", exact=True).first
    page.get_by_role("button", name="Sort by Score").first.focus()
    page.keyboard.press("Tab")
    assert term.evaluate("e => e === document.activeElement")
    assert text.is_visible()
    # What is explained stays in sight.
    page.wait_for_timeout(100)
    word, said = term.bounding_box(), text.bounding_box()
    assert word is not None
    assert said is not None
    assert said["y"] >= word["y"] + word["height"] or said["y"] + said["height"] <= word["y"]
    page.keyboard.press("Tab")  # to the link in the explanation
    assert text.is_visible()
    assert text.locator("a").evaluate("e => e === document.activeElement")
    page.keyboard.press("Escape")
    assert term.evaluate("e => e === document.activeElement")
    assert not text.is_visible()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert text.is_visible()
    page.keyboard.press("Shift+Tab")
    assert not text.is_visible()
    assert watch.problems == []


def test_a_word_explains_itself_under_a_pointer_until_it_goes_on(
    site: Site, open_page: Callable[..., Any]
) -> None:
    page, watch = open_page(site.url("index.html"))
    text = page.locator("#help-skill")
    term = page.get_by_role("button", name="Skill", exact=True).first
    term.hover()
    assert text.is_visible()
    term.click()
    assert text.is_visible()
    text.locator("a").hover()  # what is explained can be pointed at
    assert text.is_visible()
    page.locator("h1").hover()
    assert not text.is_visible()
    assert watch.problems == []


def test_names_are_found(site: Site, open_page: Callable[..., Any]) -> None:
    page, watch = open_page(site.url("search.html"))
    everything = page.locator("#index li").count()
    page.get_by_role("searchbox").fill("chefer")
    assert page.locator("#index li:visible a").all_inner_texts() == ["chefer"]
    assert page.locator("#found").inner_text() == "1 page found"
    page.get_by_role("searchbox").fill("pearson metric")
    page.locator("#index li:visible a").first.click()
    assert page.url.endswith("about.html#metric-pearson")
    page.go_back()
    page.get_by_role("searchbox").fill("")
    assert page.locator("#index li:visible").count() == everything
    assert watch.problems == []


def test_references_are_a_list_on_a_phone(site: Site, open_page: Callable[..., Any]) -> None:
    page, watch = open_page(site.url("tasks/demo-asr-en.html"), width=375)
    region = page.locator(".scroll", has=page.locator(".stack"))
    assert region.evaluate("e => e.scrollWidth <= e.clientWidth")
    lines = (
        page.locator(".stack tbody tr")
        .first.locator("th, td")
        .evaluate_all("cells => cells.map((cell) => cell.getBoundingClientRect().left)")
    )
    assert len(set(lines)) == 1
    assert watch.problems == []
