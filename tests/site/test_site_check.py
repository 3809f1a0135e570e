"""What `xbench leaderboard check` finds in a site that somebody changed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from sites import check_site
from synthetic import METHODS, result, unsupported, write

from xbench.errors import UsageError
from xbench.site.build import build
from xbench.site.check import not_of, problems
from xbench.site.pages import task as task_pages
from xbench.site.shared import Quality, Shared, quality_of, shared


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("results.html", 'data-f="value">0.', 'data-f="value">9.', "data/results.json says"),
        ("index.html", 'href="tasks/index.html"', 'href="tasks/gone.html"', "leads nowhere"),
        ("index.html", "about.html#metric-pearson", "about.html#metric-gone", "not there"),
        ("about.html", 'id="missing"', 'id="metrics"', "stands twice"),
        ("about.html", 'href="downloads.html"', 'href="/downloads.html"', "not a relative link"),
        ("about.html", "<h1>", '<h1 style="color:red">', "inline style"),
        ("cost.html", "</main>", "<!--" + "x" * 200_000 + "--></main>", "bytes are more than"),
    ],
)
def test_the_check_finds(
    site: Path, tmp_path: Path, file: str, old: str, new: str, said: str
) -> None:
    copy = shutil.copytree(site, tmp_path / "copy")
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1))
    found = problems(copy)
    assert any(said in problem for problem in found), found
    assert any("is not the file that was built" in problem for problem in found)


def test_the_check_finds_a_missing_file_and_refuses_other_folders(
    site: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(site, tmp_path / "copy")
    (copy / "cost.html").unlink()
    assert any("cost.html: is missing" in p for p in problems(copy))
    with pytest.raises(UsageError, match="not a built site"):
        problems(tmp_path)


# -- what pages say of quality, references and costs -----------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two models; of the first one run has no outcome and one disagrees with the others."""
    results = [
        result("t", model, method, clusters=12)
        for model in ("m", "n")
        for method in (*METHODS[:2], METHODS[5])
    ]
    results[0]["quality"] |= {"value": 5.0, "poor": 1}
    results[0]["references"][0]["masks"] = [500, 500]
    results.append(unsupported("t", "m", ("aaa", {}, "attention", False)))
    return check_site(tmp_path_factory.mktemp("mixed"), results)


CELLS = [
    *(("tasks/t.html", "quality", f) for f in ("measure", "quality", "n", "poor", "share")),
    *(
        ("tasks/t.html", "reference", f)
        for f in ("version", "masks", "reliability", "ceilings", "hidden", "computation", "share")
    ),
    *(("models/m.html", "quality", f) for f in ("measure", "quality", "poor", "share")),
    ("models/m.html", "padding", "padding"),
    *(("runs", "quality", f) for f in ("measure", "quality", "n", "poor", "share")),
    *(("runs", "reference", f) for f in ("masks", "reliability", "ceilings")),
    *(
        ("runs", "cost", f)
        for f in ("forward", "backward", "seconds", "memory", "device", "failed")
    ),
    *(("cost.html", "pooled", f) for f in ("seconds", "passes", "value", "ci", "skill")),
    *(("cost.html", "memory", f) for f in ("methods", "memory")),
    ("index.html", "pooled", "seconds"),
]


@pytest.mark.parametrize(("page", "kind", "field"), CELLS)
def test_the_check_finds_a_changed_cell(
    mixed: Path, tmp_path: Path, page: str, kind: str, field: str
) -> None:
    copy = shutil.copytree(mixed, tmp_path / "copy")
    file = copy / page if page != "runs" else run_page(copy, "m")
    text, changed = re.subn(
        rf'(data-of="{kind} [^"]*"(?:(?!data-of=).)*?data-f="{field}"[^>]*>)',
        r"\g<1>9",
        file.read_text(),
        count=1,
        flags=re.DOTALL,
    )
    assert changed == 1
    file.write_text(text)
    (problem,) = complaints(copy)
    assert re.search(rf": {kind} [^:]* {field} is '9[^']*', the data files say '", problem)


def run_page(site: Path, model: str) -> Path:
    (page,) = (p for p in (site / "runs").iterdir() if f"models/{model}.html" in p.read_text())
    return page


def complaints(site: Path) -> list[str]:
    """Return what the check finds beside the hashes, which tell every change of a file."""
    return [p for p in problems(site) if "is not the file that was built" not in p]


def test_the_check_finds_a_changed_cost_among_the_results(mixed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(mixed, tmp_path / "copy")
    page = copy / "results.html"
    page.write_text(page.read_text().replace('data-f="seconds">', 'data-f="seconds">9', 1))
    (problem,) = complaints(copy)
    assert " seconds is 9" in problem
    assert "data/runs says 0.0" in problem


def test_the_check_finds_a_statement_that_is_left_out(mixed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(mixed, tmp_path / "copy")
    page = copy / "tasks/t.html"
    kept, _, rest = page.read_text().partition('<tr data-of="quality t@m">')
    page.write_text(kept + rest.partition("</tr>")[2])
    assert complaints(copy) == [
        "tasks/t.html: quality t@m is shown with 1 statements, the data files make 2"
    ]


def test_the_check_finds_a_remark_that_is_left_out(mixed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(mixed, tmp_path / "copy")
    page = copy / "tasks/t.html"
    page.write_text(re.sub(r' <small data-f="share">[^<]*</small>', "", page.read_text(), count=1))
    (problem,) = complaints(copy)
    assert "share is '', the data files say '(2 of 3 results)'" in problem


def test_the_check_finds_what_no_result_says(mixed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(mixed, tmp_path / "copy")
    page = copy / "models/n.html"
    page.write_text(page.read_text().replace("padding t@n", "padding t@gone"))
    (problem,) = complaints(copy)
    assert "padding t@gone is shown with 1 statements, the data files make 0" in problem


@pytest.mark.parametrize("where", ["references", "quality", "cost"])
def test_the_check_finds_data_that_says_something_else(
    mixed: Path, tmp_path: Path, where: str
) -> None:
    copy = shutil.copytree(mixed, tmp_path / "copy")
    for file in (copy / "data/runs").iterdir():
        told = json.loads(file.read_text())
        for reference in told["references"]:
            reference["reliability"]["value"] = 0.11 if where == "references" else 0.83
        for run in told["runs"]:
            if where == "quality" and run["quality"]["value"] is not None:
                run["quality"]["value"] = 99.0
            if where == "cost":
                run["cost"]["forward_passes"] = 7
        file.write_text(json.dumps(told))
    field, expected = {
        "references": ("reliability", {"runs", "tasks"}),
        "quality": ("quality", {"runs", "tasks", "models"}),
        "cost": ("forward", {"runs"}),
    }[where]
    pages = {found.partition("/")[0] for found in complaints(copy) if f" {field} is " in found}
    assert pages == expected


def test_the_check_finds_a_page_that_takes_its_facts_from_the_first_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_the_first(results: Any) -> Shared[Quality]:
        return shared([quality_of(next(iter(results))["quality"])])

    monkeypatch.setattr(task_pages, "shared_quality", of_the_first)
    runs = [unsupported("t", "m", ("aaa", {}, "attention", False)), result("t", "m")]
    build([write(tmp_path / "results", runs)], tmp_path / "out")
    found = problems(tmp_path / "out")
    assert (
        "tasks/t.html: quality t@m quality is '– (no target text)', the data files say '4.2 %'"
        in found
    )


def test_a_site_without_the_data_that_the_check_needs_is_refused(
    mixed: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(mixed, tmp_path / "copy")
    (copy / "data/standings.json").unlink()
    with pytest.raises(UsageError, match=r"not a built site.*build it again"):
        problems(copy)


def test_the_results_behind_a_site_are_examined_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "results", [result(), result(method=METHODS[2])])
    build([folder], tmp_path / "site")
    assert not_of(tmp_path / "site", [folder]) == []
    write(tmp_path / "more", [result(method=METHODS[4])])
    (new,) = not_of(tmp_path / "site", [folder, tmp_path / "more"])
    assert new == "00000.json: the site does not show it; build it again"
    broken = folder / "00000.json"
    broken.write_text(broken.read_text().replace('"status": "complete"', '"status": "finished"'))
    (told,) = not_of(tmp_path / "site", [folder])
    assert told.startswith("00000.json: the site shows it, but status")
    with pytest.raises(UsageError, match="not a built site"):
        not_of(tmp_path / "results", [folder])
