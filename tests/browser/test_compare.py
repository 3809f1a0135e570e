"""Two methods side by side, cost charts, single heads, theme: what scripts add to what Python wrote."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import WORDS, bundle
from harness import Site, made
from synthetic import METHODS, SCORES, result


def pairs(site: Site, slug: str) -> list[dict[str, Any]]:
    """Return the pairs of a method as the data file has them."""
    (script,) = (site.folder / "js" / "pairs").glob(f"{slug}.*.js")
    text = script.read_text("utf-8").partition("','")[2].removesuffix("');\n")
    columns = json.loads(text.replace("\\'", "'").replace("\\\\", "\\"))

    def read(column: dict[str, Any]) -> list[Any]:
        return (
            column["v"]
            if "v" in column
            else [column["dict"][i] if i >= 0 else None for i in column["ix"]]
        )

    names = list(columns)
    return [
        dict(zip(names, line, strict=True))
        for line in zip(*map(read, columns.values()), strict=True)
    ]


def outcome(pair: dict[str, Any]) -> str:
    """Say what a pair means for its first method, from the data alone."""
    if pair["p"] is None:
        return "undecided"
    if pair["p"] >= 0.05:
        return "not distinguished"
    ahead = (
        pair["difference"] < 0 if pair["metric"] == "sufficiency-eraser" else pair["difference"] > 0
    )
    return "better" if ahead else "worse"


@pytest.mark.parametrize(
    ("kind", "known", "other"), [("methods", "chefer", "saliency"), ("models", "xbench-tiny", "")]
)
@pytest.mark.parametrize("side", ["a", "b"])
def test_a_link_with_an_unknown_name_says_so_and_keeps_the_other_side(
    site: Site, open_page: Callable[..., Any], kind: str, known: str, other: str, side: str
) -> None:
    kept = "b" if side == "a" else "a"
    address = f"#kind={kind}&{side}=no-such-name&{kept}={known}"
    page, watch = open_page(site.url("compare.html") + address)
    said = page.locator("#comparison")
    assert said.inner_text() == (
        f"Not among the {kind} on this board: no-such-name. Choose another."
    )
    assert page.locator("#comparison-detail section").count() == 0
    assert page.locator(f"select[name={kept}]").input_value() == known
    assert page.locator(f"select[name={side}]").input_value() == "no-such-name"
    page.get_by_role("button", name="Swap").click()
    assert page.locator(f"select[name={side}]").input_value() == known
    assert "no-such-name" in said.inner_text()
    box = page.locator(f"select[name={kept}]")
    values = box.locator("option").evaluate_all("all => all.map((option) => option.value)")
    box.select_option(other or next(v for v in values if v not in (known, "no-such-name")))
    page.locator("#comparison-detail section").first.wait_for()
    assert "no-such-name" not in said.inner_text()
    assert watch.problems == []


def test_a_section_of_a_comparison_has_a_link_that_leads_to_it(
    site: Site, open_page: Callable[..., Any]
) -> None:
    page, _ = open_page(site.url("compare.html") + "#a=chefer&b=uniform")
    page.locator(".pairs").first.wait_for()
    last = page.locator("#comparison-detail section").last
    assert last.get_attribute("id")
    address = last.locator("a.here").evaluate("link => link.href")
    again, watch = open_page(address)
    again.locator(".pairs").first.wait_for()
    assert again.locator("select[name=a]").input_value() == "chefer"
    assert again.locator("select[name=b]").input_value() == "uniform"
    again.wait_for_timeout(300)
    top = again.locator("#comparison-detail section").last.evaluate(
        "section => section.getBoundingClientRect().top"
    )
    assert top < 800
    assert again.evaluate("scrollY") > 0
    assert watch.problems == []


@pytest.mark.parametrize("other", ["uniform", "saliency"])
def test_the_verdict_and_the_differences_are_those_of_the_data(
    site: Site, open_page: Callable[..., Any], other: str
) -> None:
    page, watch = open_page(site.url("compare.html") + f"#a=chefer&b={other}")
    page.locator(".pairs").first.wait_for()
    expected = [p for p in pairs(site, "chefer") if p["other"] == other]
    metrics = {(p["metric"], p["reference"]) for p in expected}
    assert page.locator(".pairs").count() == len(metrics)
    verdicts = " ".join(page.locator("#comparison p").all_inner_texts())
    for metric, reference in metrics:
        mine = [p for p in expected if (p["metric"], p["reference"]) == (metric, reference)]
        n = {
            word: sum(outcome(p) == word for p in mine)
            for word in ("better", "not distinguished", "worse")
        }
        assert (
            f"{metric}: chefer is better than {other} on {n['better']}, worse on {n['worse']}, "
            f"not distinguished on {n['not distinguished']} of {len(mine)} model-task pairs"
        ) in verdicts
    shown = page.locator(".pairs tbody tr").evaluate_all(
        "rows => rows.map(r => [r.cells[2].firstChild.textContent, r.cells[6].textContent])"
    )
    written = [(f"{p['difference']:.3f}".replace("-", "−"), outcome(p)) for p in expected]
    assert sorted(map(tuple, shown)) == sorted(written)
    assert watch.problems == []


def test_swapping_turns_the_verdict_around_and_the_back_button_back(
    site: Site, open_page: Callable[..., Any]
) -> None:
    page, _ = open_page(site.url("compare.html") + "#a=chefer&b=uniform")
    page.locator(".pairs").first.wait_for()
    before = page.locator("#comparison p").first.inner_text()
    page.get_by_role("button", name="Swap").click()
    page.locator("#comparison p", has_text="uniform is better").first.wait_for()
    assert page.url.endswith("#a=uniform&b=chefer")
    page.go_back()
    page.locator("#comparison p", has_text="chefer is better").first.wait_for()
    assert page.locator("#comparison p").first.inner_text() == before
    page.locator("select[name=b]").select_option("chefer")
    assert page.locator("#comparison").inner_text() == "Choose two different methods."


def test_no_script_but_our_data_files_can_be_added(
    site: Site, open_page: Callable[..., Any]
) -> None:
    page, _ = open_page(site.url("compare.html"))
    tried = """address => { const s = document.createElement('script');
        try { s.src = address; return 'accepted'; } catch (e) { return e.name; } }"""
    assert page.evaluate(tried, "https://example.org/evil.js") == "TypeError"
    assert page.evaluate(tried, "js/results.js") == "TypeError"
    refused = "a => { try { trustedTypes.createPolicy(a, {}); return 'made'; } catch (e) { return e.name; } }"
    assert page.evaluate(refused, "other") == "TypeError"
    handler = """() => {
        try { document.body.setAttribute('onclick', 'bad()'); return 'set'; } catch (e) { return e.name; }
    }"""
    assert page.evaluate(handler) == "TypeError"


def test_a_mark_and_its_line_show_each_other(site: Site, open_page: Callable[..., Any]) -> None:
    page, _ = open_page(site.url("cost.html"))
    chart = page.locator("figure.chart").first
    table = page.locator("figure.chart + details table").first
    labels = table.locator("tbody th bdi").all_inner_texts()
    marks = chart.locator("svg g title").evaluate_all("t => t.map(x => x.textContent)")
    assert sorted(m.rpartition(": ")[0] for m in marks) == sorted(labels)
    for row, mark in ((r, next(m for m in marks if m.rpartition(": ")[0] == r)) for r in labels):
        cells = table.locator("tbody tr").nth(labels.index(row)).locator("td")
        assert (
            mark.rpartition(": ")[2]
            == f"{cells.nth(1).inner_text().split()[0]} at {cells.nth(0).locator('[data-f]').inner_text()}"
        )
    table.locator("tbody a").nth(3).focus()
    assert labels[3] in chart.locator(".live").inner_text()
    assert chart.locator("svg .chosen title").text_content().startswith(labels[3] + ": ")
    chart.get_by_label("gradient").uncheck()
    assert chart.locator("svg .f-gradient:not(.off)").count() == 0


def test_arrow_keys_move_between_heads_and_a_live_line_reads_them(
    site: Site, open_page: Callable[..., Any]
) -> None:
    page, _ = open_page(site.url("models/xbench-tiny.html"))
    table = page.locator("table[data-heads]").first
    live = page.locator("[data-heads-live]").first
    assert table.locator("td[tabindex='0']").count() == 1
    table.locator("td[tabindex='0']").focus()
    page.keyboard.press("Control+Home")
    first = table.locator("tbody tr").first.locator("td").first
    assert live.inner_text().startswith(
        f"layer 0, head 0: {first.inner_text().replace('.', '0.', 1)} ["
    )
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert live.inner_text().startswith("layer 2, head 1: ")
    page.keyboard.press("Control+End")
    page.keyboard.press("ArrowRight")
    assert live.inner_text().startswith("layer 3, head 3: ")
    assert page.evaluate("document.activeElement.tagName") == "TD"
    live.get_by_role("link").click()
    page.locator("html.ready").wait_for()
    rows = page.locator("#results tbody tr")
    assert rows.count() == 1
    assert "head=3,layer=3" in rows.first.inner_text()


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_survives_loading_and_is_set_before_the_first_paint(
    site: Site, open_page: Callable[..., Any], system: str
) -> None:
    page, _ = open_page(site.url("about.html", "http"), theme=system)
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    before = page.evaluate(ground)
    button = page.locator("#theme")
    assert button.get_attribute("aria-pressed") == str(system == "dark").lower()
    button.click()
    after = page.evaluate(ground)
    assert after != before
    page.goto(site.url("index.html", "http"))
    assert page.evaluate(ground) == after
    # The script stands in the head without defer: nothing is painted before it has run.
    order = page.evaluate(
        "[...document.head.querySelectorAll('script')].map(s => [s.defer, s.async])"
    )
    assert order == [[False, False]]


def test_hostile_texts_stay_texts(site: Site, open_page: Callable[..., Any]) -> None:
    for path in (
        "results.html#q=bold&cols=dataset,model",
        "models/index.html",
        "tasks/demo-asr-en.html",
        "compare.html",
    ):
        page, watch = open_page(site.url(path))
        assert page.locator("main script, main b, main img, main [onerror]").count() == 0
        assert watch.problems == []
        links = page.locator("a[href]").evaluate_all("a => a.map(x => x.protocol)")
        assert set(links) <= {"file:"}
    page, _ = open_page(site.url("results.html#q=bold&cols=dataset,model"))
    page.locator("html.ready").wait_for()
    assert page.locator("#results td bdi", has_text="model-<b>bold</b>").count() > 0


def csv_rows(site: Site) -> list[dict[str, str]]:
    """Return all rows as the downloadable file has them."""
    with (site.folder / "data" / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_two_models_show_the_scores_of_both_and_who_leads_on_both(
    site: Site, open_page: Callable[..., Any]
) -> None:
    slugs = sorted(p.stem for p in (site.folder / "models").glob("*.html") if p.stem != "index")
    page, watch = open_page(site.url("compare.html"))
    page.locator("select[name=kind]").select_option("models")
    first, second = (page.locator(f"select[name={name}]") for name in "ab")
    assert first.locator("option").evaluate_all("o => o.map(x => x.value).sort()") == slugs
    titles = [box.locator("option:checked").text_content() for box in (first, second)]
    rows = {
        (r["task"], r["metric"], r["model"], r["config"]): r
        for r in csv_rows(site)
        if r["reference"] in ("spes-encoder", "") and r["rank_reason"] != "single-head"
    }
    for task in ("demo-asr-en", "demo-st-de"):
        table = page.get_by_role("table", name=f"Methods on {task}, pearson")
        shown = table.locator("tbody tr").evaluate_all(
            "rows => rows.map(r => [...r.cells].map(c => c.textContent))"
        )
        wanted = {
            key[3]
            for key, row in rows.items()
            if key[:3] == (task, "pearson", titles[0])
            and row["value"]
            and rows.get((task, "pearson", titles[1], key[3]), {}).get("value")
        }
        assert {line[0] for line in shown} == wanted
        for line in shown:
            for at, title in ((1, titles[0]), (5, titles[1])):
                row = rows[task, "pearson", title, line[0]]
                assert line[at].startswith(f"{float(row['value']):.3f}".replace("-", "−"))
                assert line[at + 3] == (row["rank"] or "–")
        shared = sum(
            all(rows[task, "pearson", title, name]["best"] == "1" for title in titles)
            for name in wanted
        )
        said = page.locator("#comparison p", has_text=f"{task}, pearson").inner_text()
        assert (f": {shared} method" in said) if shared else ("no method leads on both" in said)
    page.get_by_role("button", name="Swap").click()
    assert f"kind=models&a={second.input_value()}" not in page.url
    assert page.url.endswith(f"#kind=models&a={first.input_value()}&b={second.input_value()}")
    assert first.locator("option:checked").text_content() == titles[1]
    page.go_back()
    page.locator("select[name=kind]").select_option("methods")
    page.locator(".pairs").first.wait_for()
    assert watch.problems == []


@pytest.mark.parametrize("how", ["file", "http"])
def test_both_methods_on_one_utterance_and_where_they_differ(
    site: Site, open_page: Callable[..., Any], how: str
) -> None:
    page, watch = open_page(site.url("compare.html", how) + "#a=chefer&b=uniform")
    page.locator(".tracks canvas >> nth=2").wait_for()
    assert page.locator(".tracks figcaption").all_inner_texts()[0].startswith("chefer")
    words = [word.strip("▁") for word in WORDS]
    assert [
        text.strip() for text in page.locator(".tracks .rows li").all_inner_texts()
    ] == 3 * words
    page.get_by_label("Example").select_option("demo-two")
    page.locator("a[href='examples/demo-two.html']").wait_for()
    shown = page.locator(".tracks canvas >> nth=2").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    # `uniform` is constant, so the difference is chefer on its scale: from white to orange.
    chefer = base64.b64decode(next(m for m in bundle()["maps"] if m["id"] == "chefer")["data"])
    for channel, full in enumerate((213, 94, 0)):
        wanted = [255 + level / 255 * (full - 255) for level in chefer]
        assert all(abs(a - b) <= 1 for a, b in zip(shown[channel::4], wanted, strict=True))
    assert watch.problems == []


def test_a_run_that_a_newer_one_replaces_counts_nowhere(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    one = SCORES[:1]
    old, new = (result(method=METHODS[0], scores=one, seed=n, date=f"2026-0{n}-01") for n in (1, 2))
    other = result(method=METHODS[5], scores=one)
    # By its score the old run stands last on its board, and it took a hundred times as long.
    for run, value, seconds in ((old, 0.1, 100.0), (new, 0.5, 1.0), (other, 0.4, 0.5)):
        run["scores"][0]["value"] = value
        run["cost"] |= {"seconds": seconds, "seconds_per_audio_second": seconds}
    site = made(tmp_path, "twice", [old, new, other])
    page, _ = open_page((site / "compare.html").as_uri() + "#a=mean-heads&b=chefer")
    page.locator(".pairs").first.wait_for()
    said = page.locator("#comparison .note").inner_text()
    assert said.startswith("The first takes 2.0 times as long")
