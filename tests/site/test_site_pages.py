"""Pages and templates agree on names: a field that no template uses, or a name without a field, is a fault."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from jinja2 import meta
from sites import check_site, some_results
from synthetic import METHODS, result, write

from xbench.results import column_name
from xbench.site.build import Options, build, site_facts
from xbench.site.pages.page import Page
from xbench.site.pages.run import PAGE_BYTES, rows_with_room
from xbench.site.render import environment, leaderboard_folder
from xbench.site.tables.tabulate import tabulate
from xbench.site.text import setting

RENDERER = {"root", "url", "asset", "data"}  # what the renderer adds to the fields of a page
BASE = {"path", "parts"}  # what `base.html` works with
PAGES = sorted(Page.__subclasses__(), key=lambda kind: kind.__name__)


def undeclared(template: str) -> set[str]:
    """Return the names that a template takes from outside, those of all templates left out."""
    text = (leaderboard_folder() / "templates" / template).read_text()
    made = environment(site_facts(tabulate([]), {}, Options()))
    return meta.find_undeclared_variables(made.parse(text)) - set(made.globals)


@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.__name__)
def test_the_fields_of_a_page_are_the_names_of_its_template(kind: type[Page]) -> None:
    own = {field.name for field in fields(kind)}
    assert undeclared(kind.template) - RENDERER - BASE == own - BASE


def test_every_section_has_an_id_and_a_link_to_itself(tmp_path: Path) -> None:
    site = check_site(tmp_path, some_results())
    for file in site.rglob("*.html"):
        text = file.read_text("utf-8")
        for section in re.findall(r"<section\b[^>]*>\s*<h2>.*?</h2>", text, re.DOTALL):
            if " hidden>" in section.partition("\n")[0]:  # a script fills it, and adds the link
                continue
            id = re.match(r'<section id="([^"]+)"', section)
            assert id, (file.name, section[:200])
            assert f'<a class="here" href="#{id[1]}"' in section, (file.name, section[:200])
        assert text.count("<h2>") == len(re.findall(r"<section\b[^>]*>\s*<h2>", text)), file.name


def test_a_score_that_uses_no_reference_is_named_without_one(tmp_path: Path) -> None:
    scores = (("pearson", "spes-encoder"), ("onset-error", "spes-encoder"))
    results = [result(method=method, scores=scores) for method in METHODS[:6]]
    site = check_site(tmp_path, results)
    for file in site.rglob("*.html"):
        words = " ".join(re.sub(r"<[^>]*>", " ", file.read_text("utf-8")).split())
        assert "onset-error against" not in words, file.name
    assert "pearson against spes-encoder" in (site / "index.html").read_text("utf-8")
    line = next(
        line
        for line in (site / "results.html").read_text("utf-8").splitlines()
        if "/onset-error@" in line
    )
    assert "<td><bdi>onset-error</bdi></td><td><bdi>none</bdi></td>" in line


def test_a_page_of_several_settings_begins_with_the_one_to_take(tmp_path: Path) -> None:
    site = check_site(tmp_path, [result(method=method) for method in METHODS[:6]])
    table = (site / "standings.html").read_text("utf-8").replace("<wbr>", "")
    standings = list(dict.fromkeys(re.findall(r"<bdi>(mean-heads[^<]*)</bdi>", table)))
    assert len(standings) == 2
    page = (site / "methods" / "mean-heads.html").read_text("utf-8")
    begun = re.search(r"Begin with <bdi>([^<]*)</bdi>", page)
    assert begun
    assert begun[1] == standings[0]
    heads = re.findall(r'<section id="scores-\d+"><h2><bdi>([^<]*)</bdi>', page)
    assert list(dict.fromkeys(heads)) == standings


def test_every_template_belongs_to_a_page() -> None:
    files = {file.name for file in (leaderboard_folder() / "templates").glob("*.html")}
    assert {kind.template for kind in PAGES} == files - {"base.html", "parts.html"}


def test_a_page_of_a_run_shows_what_tokens_weighted_by_effect_score(tmp_path: Path) -> None:
    weighted, older = result(method=METHODS[0]), result(method=METHODS[1])
    (score,) = (s for s in weighted["scores"] if s["metric"] == "pearson")
    plain, columns = column_name("pearson", score["reference"]), weighted["utterances"]
    keys = ("value", "ci", "reason", "ci_reason")

    def half(value: float | None) -> float | None:
        return None if value is None else value / 2

    # Half of score, floor and ceiling: skill and the corrected score are ratios, so these stay.
    for part in ("", "floor", "ceiling"):
        stated = score[part] if part else score
        scaled = {"value": half(stated["value"]), "ci": stated["ci"] and [*map(half, stated["ci"])]}
        key = f"weighted_{part}" if part else "weighted"
        score[key] = {name: stated[name] for name in keys} | scaled
        column = f"{part}:{plain}" if part else plain
        columns[f"{key.replace('_', '-')}:{plain}"] = [*map(half, columns[column])]
    for part in ("skill", "disattenuated"):
        score[f"weighted_{part}"] = {key: score[part][key] for key in keys}
    by_effect = score["value"] / 2
    site = check_site(tmp_path, [weighted, older])
    (page,) = (site / "runs").glob("*.html")
    section = page.read_text("utf-8").partition("Tokens weighted by their effect")[2]
    rows = section.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]
    assert len(rows) == 1
    for number in (f"{by_effect:.3f}", f"{score['skill']['value']:.2f}"):
        assert number in rows[0]
    # Tables have it as a column; a file from before it was kept has a dash there.
    for path in ("tasks/demo-asr-en.html", "standings.html", "index.html"):
        table = (site / path).read_text("utf-8").partition(">By effect</button>")[2]
        rows = table.partition("<tbody>")[2].partition("</tbody>")[0].split("</tr>")[:-1]
        cells = [re.findall(r'<td class="n wide[^"]*">([^<]*)</td>', row) for row in rows]
        assert sorted(own[0] for own in cells) == sorted([f"{by_effect:.3f}", "–"])
    found = json.loads((site / "data/results.json").read_text("utf-8"))["cols"]["weighted"]["v"]
    assert sorted(filter(None, found)) == [round(by_effect, 4)]
    assert set(found) == {None, round(by_effect, 4)}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "not set"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (1, "1"),
        ("pool-first", "pool first"),
    ],
)
def test_settings_are_words(value: Any, said: str) -> None:
    assert setting(value) == said


def test_a_run_of_many_methods_keeps_the_size_of_its_page(tmp_path: Path) -> None:
    assert rows_with_room(((81, 700), (162, 540), (5, 360)), 128_000) == [81, 132, 0]
    assert rows_with_room(((3, 700), (0, 540), (5, 360)), 128_000) == [3, 0, 5]
    methods = [("max-heads", {"heads": str(i)}, "attention", False) for i in range(250)]
    runs = [result(method=method) for method in methods]
    build([write(tmp_path / "results", runs)], tmp_path / "site", Options())
    (page,) = (tmp_path / "site" / "runs").glob("*.html")
    assert page.stat().st_size < 150_000
    assert f"{250 - PAGE_BYTES // 700} more rows are in" in page.read_text()
