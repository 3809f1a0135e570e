"""Documentation that can be held against the registry is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import xbench
from xbench import registry
from xbench.description import MethodDescription, MetricDescription
from xbench.metrics.sanity import GATES, Gate

PAGES = Path(__file__).parents[1] / "docs" / "methods"
# Methods that need other utterances or word times: one clip alone has no map of theirs to show.
NO_PICTURE = {"best-head", "top-k-heads", "greedy-heads", "corpus-mean", "shuffled", "word-window"}
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


def index_rows() -> list[str]:
    lines = (PAGES / "index.md").read_text().splitlines()
    return [line for line in lines if line.startswith("| [")]


def test_the_index_of_methods_has_one_row_for_each() -> None:
    listed = [name for row in index_rows() for name in re.findall(r"\]\(([a-z-]+)\.md\)", row)]
    assert sorted(listed) == sorted(built_in())


@pytest.mark.parametrize("row", index_rows(), ids=lambda row: row.split("]")[0].removeprefix("| ["))
def test_the_index_of_methods_says_which_are_signed(row: str) -> None:
    for name in re.findall(r"\]\(([a-z-]+)\.md\)", row):
        assert row.endswith("; signed |") == built_in()[name].signed


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


# -- ways in --------------------------------------------------------------------------------------

ROOT = PAGES.parents[1]
DOCS = ROOT / "docs"
OURS = sorted({*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("[!.]*/README.md")})


def linked(page: Path) -> dict[str, Path]:
    """Return what a page links to within the repository: the link as written, and the file it names."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return {
        link: (page.parent / link.partition("#")[0]).resolve()
        for link in links
        if not re.match(r"#|[a-z]+:", link)
    }


@pytest.mark.parametrize("page", OURS, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_broken(page: Path) -> None:
    assert [link for link, target in linked(page).items() if not target.exists()] == []


def test_every_page_is_reached_from_the_index() -> None:
    reached, ahead = set(), [DOCS / "index.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            ahead += [
                to for to in linked(page).values() if to.suffix == ".md" and DOCS in to.parents
            ]
    assert sorted({*DOCS.rglob("*.md")} - reached) == []


def test_the_index_has_a_line_for_each_page_of_its_folder() -> None:
    listed = linked(DOCS / "index.md").values()
    missing = {*DOCS.glob("*.md"), *DOCS.glob("*/index.md")} - {DOCS / "index.md", *listed}
    assert sorted(missing) == []


def test_the_readme_leads_to_the_index() -> None:
    assert DOCS / "index.md" in linked(ROOT / "README.md").values()


# -- architecture ---------------------------------------------------------------------------------

PACKAGE = Path(xbench.__file__).parent


def modules_told() -> dict[str, list[str]]:
    """Return the modules that docs/architecture.md tells of, by folder; the top folder is ""."""
    sections = re.split(r"^##+ ", (DOCS / "architecture.md").read_text(), flags=re.MULTILINE)
    told = {}
    for section in sections:
        heading = section.splitlines()[0]
        if folder := re.fullmatch(r"`(.+)/`|Loose modules", heading):
            cells = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
            told[folder[1] or ""] = sorted(re.findall(r"`(\w+)`", " ".join(cells)))
    return told


def test_the_page_on_architecture_tells_of_every_module_in_its_folder() -> None:
    there: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        there.setdefault(file.parent.relative_to(PACKAGE).as_posix().strip("."), []).append(
            file.stem
        )
    expected = {folder: [m for m in found if m != "__init__"] for folder, found in there.items()}
    assert modules_told() == {folder: sorted(found) for folder, found in expected.items()}
