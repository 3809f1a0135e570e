"""The explorer of all results: what it shows, keeps in the address and gives away."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from harness import Site
from synthetic import METHODS, result, write

from xbench.claims import Findings
from xbench.results.checked import FILE, Check, with_check
from xbench.site import load
from xbench.site.build import Options, build

SLOW = pytest.mark.slow
FOCUSED = """(() => {
    const { dataset, name, textContent } = document.activeElement;
    return dataset.sort || dataset.tick || name || textContent;
})()"""
NUMBERS = (
    "value",
    "low",
    "high",
    "n",
    "floor",
    "ceiling",
    "skill",
    "weighted",
    "rank",
    "rank_high",
)


@pytest.fixture
def explorer(site: Site, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that opens the explorer in a state."""

    def opened(how: str = "file", more: dict[str, Any] | None = None, **state: str) -> Any:
        fragment = f"#{urlencode(state)}" if state else ""
        page, watch = open_page(site.url("results.html", how) + fragment, **(more or {}))
        page.locator("html.ready").wait_for()
        page.watch = watch
        return page

    return opened


def rows(site: Site) -> list[dict[str, str]]:
    """Return all rows as the downloadable file has them."""
    with (site.folder / "data" / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def shown(page: Any) -> list[str]:
    """Return the permanent names of the rows of the page, once all are drawn."""
    page.locator("#results tbody[aria-busy=false]").wait_for()
    return page.locator("#results tbody tr").evaluate_all("rows => rows.map(r => r.dataset.row)")


def column(page: Any, name: str) -> list[str]:
    """Return the texts of a column in sight."""
    at = page.locator("#results thead th:not([hidden])").evaluate_all(
        "(c, n) => c.findIndex(x => x.dataset.col === n)", name
    )
    page.locator("#results tbody[aria-busy=false]").wait_for()
    return page.locator("#results tbody tr").evaluate_all(
        "(rows, at) => rows.map(r => r.cells[at].textContent.trim())", at
    )


def download(page: Any) -> list[dict[str, str]]:
    """Return the view as its CSV button gives it."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    text = waiting.value.path().read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def same(ours: list[dict[str, str]], theirs: list[dict[str, str]]) -> None:
    """Assert that two lists hold the same rows in the same order, numbers as numbers."""
    assert [r["row"] for r in ours] == [r["row"] for r in theirs]
    for a, b in zip(ours, theirs, strict=True):
        for name in a:
            if name in NUMBERS and a[name]:
                assert float(a[name]) == float(b[name])
            elif not a[name].replace(".", "").replace("-", "").isdigit():
                assert a[name] == b[name], name


def test_the_first_paint_is_the_sorted_state(explorer: Callable[..., Any], site: Site) -> None:
    page = explorer()
    before = shown(page)
    assert before == [r["row"] for r in rows(site)[:100]]
    # Drawn again by the script from the data, the same rows come out with the same texts.
    python = page.locator("#results tbody tr").evaluate_all(
        "r => r.map(x => x.textContent.replace(/\\s+/g, ' '))"
    )
    page.evaluate("location.hash = 'q=mean'")
    page.locator("#count", has_text=" of ").wait_for()
    page.evaluate("location.hash = ''")
    page.wait_for_timeout(300)
    assert shown(page) == before
    ours = page.locator("#results tbody tr").evaluate_all(
        "r => r.map(x => x.textContent.replace(/\\s+/g, ' '))"
    )
    assert ours == python


def test_a_row_that_others_checked_says_so(
    tmp_path: Path, open_page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = (("pearson", "spes-encoder"),)
    files = write(tmp_path / "results", [result(method=m, scores=scores) for m in METHODS[:2]])
    sha256 = hashlib.sha256((files / "00000.json").read_bytes()).hexdigest()
    check = Check(sha256, "sampled", 3, 400, "1.0", "2026-05-01")
    (files / FILE).write_bytes(with_check(files / FILE, check))
    monkeypatch.setattr(
        load, "examine_all", lambda results, _: [Findings((), (), ())] * len(results)
    )
    place = build([files], tmp_path / "site", Options()).folder
    page, _ = open_page((place / "results.html").as_uri() + "#cols=value,checked")
    page.locator("html.ready").wait_for()
    marks = page.locator("#results tbody tr").evaluate_all(
        "rows => rows.map(r => r.querySelector('th .tag')?.textContent ?? '')"
    )
    assert sorted(zip(column(page, "checked"), marks, strict=True)) == [
        ("sampled, 0.75 %", "sampled, 0.75 %"),
        ("self-reported", ""),
    ]
    assert {r["checked"] for r in download(page)} == {"sampled, 0.75 %", "self-reported"}


def test_nothing_shifts_while_the_page_comes_up(site: Site, open_page: Callable[..., Any]) -> None:
    for state in ("", "#sort=-value&family=gradient"):
        page, _ = open_page(site.url("404.html"))
        page.goto(site.url("results.html") + state)
        page.wait_for_timeout(400)
        shift = page.evaluate(
            """() => new Promise(done => new PerformanceObserver(list =>
                 done(list.getEntries().reduce((sum, e) => sum + e.value, 0)))
               .observe({type: 'layout-shift', buffered: true}) || setTimeout(() => done(0), 300))"""
        )
        assert shift < 0.02, state


@pytest.mark.parametrize(
    "name",
    [
        "value",
        *(pytest.param(n, marks=SLOW) for n in ("skill", "n", "seconds", "config", "rank", "date")),
    ],
)
def test_sorting_both_ways_keeps_missing_values_last(
    explorer: Callable[..., Any], name: str
) -> None:
    for direction in ("", "-"):
        page = explorer(sort=direction + name, rows="all")
        texts = column(page, name)
        head = page.locator(f"#results th[data-col={name}]")
        assert head.get_attribute("aria-sort") == ("descending" if direction else "ascending")
        missing = [text.startswith("–") for text in texts]
        assert missing == sorted(missing)
        known = [t for t, gone in zip(texts, missing, strict=True) if not gone]
        if name in ("value", "skill", "n", "seconds", "rank"):
            numbers = [float(t.split()[0].replace("−", "-").replace(",", "")) for t in known]
            assert numbers == sorted(numbers, reverse=bool(direction))
        elif name == "date":
            assert known == sorted(known, reverse=bool(direction))


FILTERS = [
    ({"family": "gradient"}, lambda r: r["family"] == "gradient"),
    ({"method": "mean-heads"}, lambda r: r["method"] == "mean-heads"),
    ({"task": "demo-st-de"}, lambda r: r["task"] == "demo-st-de"),
    ({"model": "xbench-tiny"}, lambda r: r["model"] == "xbench-tiny"),
    ({"metric": "deletion-auc"}, lambda r: r["metric"] == "deletion-auc"),
    ({"reference": "spes-input"}, lambda r: r["reference"] == "spes-input"),
    ({"status": "complete"}, lambda r: r["status"] == "complete"),
    ({"min": "12"}, lambda r: int(r["n"]) >= 12),
    (
        {"q": "HEADS last"},
        lambda r: all(
            any(
                word in r[name].lower()
                for name in ("config", "model", "task", "metric", "reference")
            )
            for word in ("heads", "last")
        ),
    ),
    (
        {"family": "attention", "metric": "pearson", "model": "xbench-tiny", "q": "head"},
        lambda r: (
            r["family"] == "attention"
            and r["metric"] == "pearson"
            and r["model"] == "xbench-tiny"
            and "head" in r["config"]
        ),
    ),
]


@pytest.mark.parametrize(
    ("state", "keep"),
    [
        pytest.param(state, keep, id=urlencode(state), marks=() if "q" in state else SLOW)
        for state, keep in FILTERS
    ],
)
def test_the_csv_of_a_filtered_view_is_what_an_independent_filter_keeps(
    explorer: Callable[..., Any], site: Site, state: dict[str, str], keep: Any
) -> None:
    page = explorer(**state)
    expected = [r for r in rows(site) if keep(r)]
    assert 0 < len(expected) <= len(rows(site))
    same(download(page), expected)
    total = f"{len(rows(site))} rows"
    said = total if len(expected) == len(rows(site)) else f"{len(expected)} of {total}"
    assert page.locator("#count").inner_text().startswith(said)
    page.get_by_role("button", name="Clear filters", exact=True).click()
    assert page.locator("#count").inner_text().startswith(total)
    assert "#" not in page.url or page.url.endswith("#")
    assert page.watch.problems == []


def test_the_csv_follows_the_sorting(explorer: Callable[..., Any], site: Site) -> None:
    page = explorer(metric="pearson", reference="spes-encoder", sort="-value")
    wanted = [
        r for r in rows(site) if r["metric"] == "pearson" and r["reference"] == "spes-encoder"
    ]
    known = sorted((r for r in wanted if r["value"]), key=lambda r: -float(r["value"]))
    same(download(page), known + [r for r in wanted if not r["value"]])


def test_ranks_do_not_change_with_the_view_and_positions_do(
    explorer: Callable[..., Any], site: Site
) -> None:
    page = explorer(family="gradient", sort="-value", rows="all")
    ranks = {r["row"]: r["rank"] for r in rows(site)}
    assert [t.split()[0] for t in column(page, "rank")] == [
        ranks[row] or "–" for row in shown(page)
    ]
    assert column(page, "position") == [str(i + 1) for i in range(len(shown(page)))]


def test_the_address_keeps_the_view(explorer: Callable[..., Any]) -> None:
    page = explorer()
    page.locator("select[name=family]").select_option("control")
    page.locator("[name=q]").fill("diag")
    page.get_by_role("button", name="Score").click()
    assert shown(page)
    assert all("diagonal" in t for t in column(page, "config"))
    state = page.url.partition("#")[2]
    assert state == "q=diag&family=control&sort=-value" or set(state.split("&")) == {
        "q=diag",
        "family=control",
        "sort=-value",
    }
    rows_then = shown(page)
    again = explorer(**dict(part.split("=") for part in state.split("&")))
    assert shown(again) == rows_then
    assert again.locator("[name=q]").input_value() == "diag"


def test_a_link_pasted_on_the_open_page_and_the_back_button_work(
    explorer: Callable[..., Any],
) -> None:
    page = explorer()
    total = page.locator("#count").inner_text()
    page.evaluate("location.hash = 'family=control&sort=value'")
    page.locator("th[data-col=value][aria-sort=ascending]").wait_for()
    assert page.locator("select[name=family]").input_value() == "control"
    page.locator("select[name=family]").select_option("gradient")
    assert "family=gradient" in page.url
    page.go_back()
    page.locator("#count", has_text=" of ").wait_for()
    page.wait_for_timeout(200)
    assert page.locator("select[name=family]").input_value() == "control"
    page.go_back()
    page.wait_for_timeout(300)
    assert page.locator("#count").inner_text() == total


def test_unknown_and_hostile_keys_are_ignored(explorer: Callable[..., Any]) -> None:
    plain = explorer()
    total, first = plain.locator("#count").inner_text(), shown(plain)
    odd = {
        "__proto__": "x",
        "constructor": "y",
        "sort": "toString",
        "family": "no-such",
        "cols": "__proto__,constructor",
        "page": "-7",
        "tick": "<script>",
    }
    page = explorer(**odd)
    assert (page.locator("#count").inner_text(), shown(page)) == (total, first)
    assert page.watch.problems == []


def test_pages_and_all_rows(explorer: Callable[..., Any], site: Site) -> None:
    page = explorer()
    total = len(rows(site))
    assert len(shown(page)) == 100
    page.get_by_role("button", name="Next").click()
    assert shown(page) == [r["row"] for r in rows(site)[100:200]]
    assert column(page, "position")[0] == "101"
    page.get_by_role("button", name=f"Show all {total:,}").click()
    assert len(shown(page)) == total
    # What is selected with the mouse comes out as lines with tabs between cells.
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#results tbody'))")
    copied = page.evaluate("getSelection().toString()")
    assert len([line for line in copied.splitlines() if "\t" in line]) >= total


def test_columns_can_be_chosen(explorer: Callable[..., Any]) -> None:
    page = explorer()
    page.locator(".chooser summary").click()
    page.locator(".chooser input[value=family]").check()
    page.locator(".chooser input[value=model]").uncheck()
    heads = page.locator("#results thead th:not([hidden])").evaluate_all(
        "c => c.map(x => x.dataset.col)"
    )
    assert "family" in heads
    assert "model" not in heads
    assert heads[0] == "config"
    assert "cols=" in page.url
    page.keyboard.press("Escape")
    assert page.locator(".chooser[open]").count() == 0


def test_markdown_and_latex_of_the_view(explorer: Callable[..., Any]) -> None:
    page = explorer(
        more={"permissions": ["clipboard-read", "clipboard-write"]},
        how="http",
        family="control",
        task="demo-asr-en",
        model="xbench-tiny",
        metric="pearson",
        cols="config,value,rank",
    )
    count = len(shown(page))
    page.get_by_role("button", name="Markdown").click()
    page.locator(".told", has_text="Copied").wait_for()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert len(lines) == count + 2
    assert lines[0] == "| Method | Score | Rank |"
    assert lines[2].split(" | ")[1] == column(page, "value")[0].replace("  ", " ")
    page.get_by_role("button", name="LaTeX").click()
    page.wait_for_timeout(200)
    latex = page.evaluate("navigator.clipboard.readText()")
    assert latex.startswith("\\begin{tabular}{lrr}\n\\toprule\n")
    assert latex.count("\\\\\n") == count + 1
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_timeout(200)
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_ticked_methods_go_to_the_comparison(explorer: Callable[..., Any]) -> None:
    page = explorer(family="gradient", metric="pearson")
    boxes = page.locator("[data-tick]")
    slugs = boxes.evaluate_all("b => [...new Set(b.map(x => x.dataset.tick))]")
    for slug in slugs[:2]:
        page.locator(f"[data-tick={slug}]").first.check()
    page.get_by_role("link", name="Compare ").last.click()
    page.locator("#comparison p").first.wait_for()
    assert page.locator("select[name=a]").input_value() == slugs[0]
    assert page.locator("select[name=b]").input_value() == slugs[1]


def test_the_keyboard_alone_sorts_filters_and_ticks(explorer: Callable[..., Any]) -> None:
    page = explorer()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("[name=q]").focus()
    page.keyboard.type("saliency")
    page.locator("#count", has_text=" of ").wait_for()
    seen = set()
    for _ in range(45):
        page.keyboard.press("Tab")
        seen.add(page.evaluate(FOCUSED))
        if page.evaluate("document.activeElement.dataset.sort") == "skill":
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.dataset.sort") == "skill"
            width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
            assert float(width.removesuffix("px")) >= 3
    assert {"family", "task", "min", "CSV", "config", "value", "saliency"} <= seen
    assert page.locator("th[data-col=skill]").get_attribute("aria-sort") == "descending"


def test_the_data_files_hold_what_the_page_loads(site: Site) -> None:
    (script,) = (site.folder / "js").glob("results.*.js")
    text = script.read_text("utf-8")
    assert text.startswith("XB.put('results','")
    assert text.endswith("');\n")
    inner = text.removeprefix("XB.put('results','").removesuffix("');\n")
    plain = inner.replace("\\'", "'").replace("\\\\", "\\")
    assert plain + "\n" == (site.folder / "data" / "results.json").read_text("utf-8")
    assert json.loads(plain)["n"] == len(rows(site))
