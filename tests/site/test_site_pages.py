"""Pages and templates agree on names: a field that no template uses, or a name without a field, is a fault."""

from __future__ import annotations

from dataclasses import fields

import pytest
from jinja2 import meta

from xbench.site.build import Options, site_facts
from xbench.site.pages.page import Page
from xbench.site.render import environment, leaderboard_folder
from xbench.site.tables.tabulate import tabulate

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
