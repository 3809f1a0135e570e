"""Pages and templates agree on names: a field that no template uses, or a name without a field, is a fault."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from jinja2 import meta
from sites import check_site
from synthetic import METHODS, result

from xbench.results import column_name
from xbench.site.build import Options, site_facts
from xbench.site.pages.page import Page
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
