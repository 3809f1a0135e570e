"""Differences to mean-heads on task pages: the pairs that ranks come from, no second arithmetic."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from synthetic import METHODS, head, result, write

from xbench.site.build import build
from xbench.site.charts import number
from xbench.site.check import problems
from xbench.site.differences import differences
from xbench.site.pages import task as task_pages
from xbench.site.ranking import RankedPair

SCORES = (
    ("pearson", "spes-encoder"),
    ("sufficiency-eraser", None),
)  # of the second, less is better


def test_the_sign_is_that_of_the_method_and_the_outcome_that_of_the_metric() -> None:
    pairs = [
        RankedPair("a", "base", 0.2, 0.1, 0.30004, 0.01, 9),
        RankedPair("base", "c", 0.2, 0.1, 0.3, 0.01, 9),
        RankedPair("base", "d", -0.2, None, None, 0.05, 9),
        RankedPair("a", "c", 9.0, 8.0, 10.0, 0.0, 9),  # of two others
        RankedPair("base", "e", 0.1, None, None, None, 9),
    ]
    found = differences(pairs, "base", higher=True)
    numbers = {slug: (d.value, d.low, d.high, d.outcome) for slug, d in found.items()}
    assert numbers == {
        "a": (0.2, 0.1, 0.3, "better"),
        "c": (-0.2, -0.3, -0.1, "worse"),
        "d": (0.2, None, None, "tied"),  # 0.05 is not below 0.05
        "e": (-0.1, None, None, "undecided"),
    }
    turned = differences(pairs, "base", higher=False)
    assert [turned[slug].outcome for slug in "acde"] == ["worse", "better", "tied", "undecided"]


def runs(models: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        result("a-task", model, method, scores=SCORES, clusters=12)
        for model in models
        for method in (*METHODS[:4], METHODS[5], METHODS[11], head(0, 1))
    ]


def made(folder: Path, results: list[dict[str, Any]]) -> Path:
    build([write(folder / "results", results)], folder / "out")
    assert problems(folder / "out") == []
    return folder / "out"


def task_page(site: Path) -> list[str]:
    """Return the sections of the two scores."""
    text = (site / "tasks/a-task.html").read_text().replace("<wbr>", "")
    return [part for part in text.split("<section") if "Method" in part and "<fieldset" in part]


def from_compare(site: Path) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Return difference and interval as the page that compares two is given them, by metric, label, model."""
    (entities,) = (site / "js").glob("entities.*.js")
    labels = {slug: c["label"] for slug, c in loaded(entities)["configs"].items()}
    found = {}
    for file in (site / "js/pairs").iterdir():
        table = loaded(file)
        columns = {
            name: c["v"] if "v" in c else [c["dict"][i] for i in c["ix"] if i >= 0] or [None]
            for name, c in table.items()
            if name != "reference"
        }
        names = ("metric", "model", "other", "difference", "low", "high")
        for metric, model, other, value, low, high in zip(
            *(columns[n] for n in names), strict=True
        ):
            if other == "mean-heads":
                key = (metric, labels[file.name.split(".")[0]], model)
                found[key] = (number(value, 3), f"[{number(low)}, {number(high)}]")
    return found


def loaded(file: Path) -> Any:
    text = file.read_text().partition("','")[2].removesuffix("');\n")
    return json.loads(re.sub(r"\\(.)", r"\1", text))


ROW = r'<th scope="row">.*?<bdi>([^<]*)</bdi>.*?</tr>'
DIFFERENCE = r'<strong class="d-\w+">([^<]*)</strong> <small class="ci">([^<]*)</small>'


def test_the_forest_of_one_model_says_what_the_compare_page_says(tmp_path: Path) -> None:
    site = made(tmp_path, runs(("m",)))
    expected = from_compare(site)
    assert len(expected) == 10  # 5 others, 2 scores; the single head is not ranked
    shown = {}
    for (metric, _), section in zip(SCORES, task_page(site), strict=True):
        body = section[section.index("<tbody>") : section.index("</tbody>")]
        for row in re.finditer(ROW, body, re.S):
            for value, interval in re.findall(DIFFERENCE, row[0]):
                shown[metric, row[1], "m"] = (value, interval)
    assert shown == expected


def test_the_matrix_of_models_says_what_the_compare_page_says(tmp_path: Path) -> None:
    site = made(tmp_path, runs(("m", "n")))
    expected = from_compare(site)
    assert len(expected) == 20
    shown = {}
    for (metric, _), section in zip(SCORES, task_page(site), strict=True):
        matrix = section[section.index("heat matrix") :]
        for row in re.finditer(
            ROW, matrix[matrix.index("<tbody>") : matrix.index("</tbody>")], re.S
        ):
            if found := re.findall(DIFFERENCE, row[0]):
                for model, difference in zip("mn", found, strict=True):
                    shown[metric, row[1], model] = difference
    assert shown == expected


def test_over_all_models_it_is_the_mean_of_paired_differences(tmp_path: Path) -> None:
    results = runs(("m", "n"))
    section = task_page(made(tmp_path, results))[0]
    body = section[section.index("<tbody>") : section.index("</tbody>")]
    values = {
        name: [
            value
            for run in results
            if run["method"]["name"] == name
            for value in run["utterances"]["pearson@spes-encoder"]
        ]
        for name in ("chefer", "value-norm")
    }
    base = [
        value
        for run in results
        if run["method"]["params"] == {"heads": "all", "layers": "all"}
        and run["method"]["name"] == "mean-heads"
        for value in run["utterances"]["pearson@spes-encoder"]
    ]
    shown = {row[1]: row[0] for row in re.finditer(ROW, body, re.S)}
    for name, column in values.items():
        wanted = fmean(x - y for x, y in zip(column, base, strict=True))
        (label,) = (label for label in shown if label.partition(":")[0] == name)
        (found,) = re.findall(r'<strong class="d-\w+">([^<]*)</strong>', shown[label])
        assert float(found.replace("\N{MINUS SIGN}", "-")) == pytest.approx(wanted, abs=6e-4)
    assert "what the others are compared with" in shown["mean-heads"]


def test_without_mean_heads_there_is_nothing_to_switch(tmp_path: Path) -> None:
    results = [r for r in runs(("m",)) if r["method"]["name"] != "mean-heads"]
    text = (made(tmp_path, results) / "tasks/a-task.html").read_text()
    assert "v-diff" not in text
    assert "v-score" not in text


# 6 methods: 5,100 bytes for each of two scores, and 2,520 for the differences of one.
@pytest.mark.parametrize(("room", "kept"), [(14_000, 1), (12_500, 0)])
def test_a_page_that_would_become_too_long_links_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, kept: int
) -> None:
    monkeypatch.setattr(task_pages, "PAGE_BYTES", room)
    text = (made(tmp_path, runs(("m",))) / "tasks/a-task.html").read_text()
    assert text.count("<fieldset") == kept
    assert text.count("stand on the page that compares two") == 2 - kept
    assert text.count('href="../compare.html#b=mean-heads"') == 2


def test_the_best_mean_stands_first_whether_more_or_less_is_better(tmp_path: Path) -> None:
    text = (made(tmp_path, runs(("m", "n"))) / "tasks/a-task.html").read_text()
    for (metric, _), higher in zip(SCORES, (True, False), strict=True):
        table = re.search(
            rf"<caption>{metric}[^<]*ranks hold within a column.*?</table>", text, re.S
        )
        assert table is not None
        rows = table[0].partition("<tbody>")[2].split("<tr>")[1:]
        means = [
            fmean(map(float, found))
            for row in rows
            if (found := re.findall(r'data-f="value"[^>]*>([−\d.]+)<', row.replace("−", "-")))
        ]
        assert len(means) > 3
        assert means == sorted(means, reverse=higher)
