"""Documentation that can be held against the registry is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xbench import registry
from xbench.description import MethodDescription, MetricDescription
from xbench.metrics.sanity import GATES, Gate

PAGES = Path(__file__).parents[1] / "docs" / "methods"
# Methods that need other utterances or word times: one clip alone has no map of theirs to show.
NO_PICTURE = {"best-head", "top-k-heads", "corpus-mean", "shuffled", "word-window"}
ROWS = ("source", "cost", "space", "ignores", "models")


def pages() -> list[str]:
    return sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "index")


def built_in() -> dict[str, MethodDescription]:
    return {
        entry.name: entry.description
        for entry in registry.methods.entries()
        if entry.distribution == "xbench" and entry.description
    }


@pytest.mark.parametrize("name", pages())
def test_every_page_is_about_a_method(name: str) -> None:
    assert name in built_in()
    assert (PAGES / f"{name}.md").read_text().startswith(f"# {name}\n")


@pytest.mark.parametrize("name", built_in())
def test_every_method_has_a_page_that_says_what_it_must(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    cells = [line.split(" | ", 1)[0].removeprefix("| ") for line in page.splitlines()]
    assert [row for row in ROWS if row not in cells] == []
    description = built_in()[name]
    for parameter in description.parameters:
        assert f"`{parameter.name}`" in page, parameter.name
    assert ("signed" in page.lower()) == description.signed
    assert ("not a distribution" not in page) == description.distribution


@pytest.mark.parametrize("name", sorted(built_in().keys() - NO_PICTURE))
def test_every_page_shows_an_example(name: str) -> None:
    picture = f"../images/methods/{name}.png"
    assert f"]({picture})" in (PAGES / f"{name}.md").read_text()
    assert (PAGES / picture).is_file()


@pytest.mark.parametrize("name", built_in())
def test_every_method_says_what_it_ignores(name: str) -> None:
    ignores = built_in()[name].ignores
    assert ignores
    assert f"| ignores | {ignores} |" in (PAGES / f"{name}.md").read_text()


# -- metrics --------------------------------------------------------------------------------------

METRIC_PAGES = PAGES.parent / "metrics"
METRIC_ROWS = (
    *("direction", "range", "version", "parameters", "unchanged by", "ceiling", "null", "source"),
)


def metrics() -> dict[str, MetricDescription]:
    return {
        entry.name: entry.description
        for entry in registry.metrics.entries()
        if entry.distribution == "xbench" and entry.description
    }


def metric_rows(name: str) -> dict[str, str]:
    lines = (METRIC_PAGES / f"{name}.md").read_text().splitlines()
    cells = [line.strip("|").split(" | ", 1) for line in lines if line.startswith("| ")]
    return {cell[0].strip(): cell[1].strip() for cell in cells if len(cell) == 2}


def written_range(description: MetricDescription) -> str:
    low, high = description.range
    unit = f" {description.unit}" if description.unit else ""
    if low is None or high is None:
        bounds = [f"{word} {b:g}" for word, b in (("from", low), ("up to", high)) if b is not None]
        return f"{bounds[0]}{unit}" if bounds else "any number"
    return f"{low:g} to {high:g}{unit}"


@pytest.mark.parametrize("name", metrics())
def test_the_page_of_a_metric_agrees_with_its_description(name: str) -> None:
    description, page = metrics()[name], (METRIC_PAGES / f"{name}.md").read_text()
    rows = metric_rows(name)
    assert page.startswith(f"# {name}\n")
    assert [row for row in METRIC_ROWS if not rows.get(row)] == []
    assert "\n    " in page, "no formula"
    assert "\n## When it misleads\n" in page
    assert rows["direction"] == f"{'higher' if description.higher_is_better else 'lower'} is better"
    assert rows["range"] == written_range(description)
    assert rows["version"] == description.version
    assert rows["source"].startswith(description.source)
    assert [p.name for p in description.parameters if f"`{p.name}`" not in rows["parameters"]] == []
    assert (description.parameters == ()) == (rows["parameters"] == "none")
    stated = description.ceiling or description.no_ceiling
    assert f"`{stated.replace(':', '.')}`" in rows["ceiling"]


@pytest.mark.parametrize("page", sorted(METRIC_PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_every_metric_page_is_about_a_metric_and_in_the_index(page: Path) -> None:
    index = (METRIC_PAGES / "index.md").read_text()
    if page.stem != "index":
        assert page.stem in metrics()
        assert f"({page.name})" in index


@pytest.mark.parametrize("name", [n for n, d in metrics().items() if d.family == "agreement"])
def test_the_index_explains_every_reason_for_null(name: str) -> None:
    index = (METRIC_PAGES / "index.md").read_text().partition("## Reasons for null")[2]
    reasons = re.findall(r"`([a-z-]+)`", metric_rows(name)["null"])
    assert len(reasons) >= 4
    assert [reason for reason in reasons if f"`{reason}`" not in index] == []


# -- gates ----------------------------------------------------------------------------------------


def gate_rows() -> dict[str, list[str]]:
    text = (PAGES.parent / "gates.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_page_of_the_gates_has_a_row_for_each_in_order() -> None:
    assert list(gate_rows()) == [gate.name for gate in GATES]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_the_page_of_the_gates_says_limit_and_source(gate: Gate) -> None:
    condition = gate_rows()[gate.name][1]
    if gate.threshold is not None:
        assert f"{gate.threshold:g}".replace("e-0", "e-") in condition
        assert {"upper": "below", "lower": "above", "largest": "at most"}[gate.rule] in condition
    paper = re.search(r"arXiv (\d+\.\d+)", gate.source)
    assert paper is None or paper[1] in (PAGES.parent / "gates.md").read_text()
