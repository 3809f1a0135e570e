"""Data files: the numbers of the result files, readable by others, within their bytes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
from sites import check_site, some_results
from synthetic import METHODS, MORE_SCORES, result

from xbench.site.data.exports import latex, markdown
from xbench.site.data.results import RESULTS_SCHEMA
from xbench.site.data.scripts import json_text, script_text
from xbench.site.load import Result, read_results
from xbench.site.tables.tabulate import tabulate


def columns(table: dict[str, Any], name: str) -> list[Any]:
    column = table[name]
    return (
        column["v"]
        if "v" in column
        else [column["dict"][i] if i >= 0 else None for i in column["ix"]]
    )


def test_numbers_are_those_of_the_result_files(site: Path) -> None:
    data = json.loads((site / "data/results.json").read_text())
    jsonschema.validate(data, RESULTS_SCHEMA)
    sources = {}
    for run in some_results():
        for score in run["scores"]:
            params = json.dumps(run["method"]["params"], sort_keys=True)
            key = (run["task"]["name"], run["model"]["name"], run["method"]["name"], params)
            sources[(*key, score["metric"], score["reference"])] = score
    accepted, _ = read_results([site.parent / "results"])
    runs = {run.id: run.data for run in tabulate(accepted).runs}
    ids = [data["runs"]["id"]["v"][i] for i in columns(data["cols"], "run")]
    assert len(ids) == data["n"] == len(sources)
    for i, id in enumerate(ids):
        run = runs[id]
        key = (
            run["task"]["name"],
            run["model"]["name"],
            run["method"]["name"],
            json.dumps(run["method"]["params"], sort_keys=True),
            columns(data["cols"], "metric")[i],
            columns(data["cols"], "reference")[i],
        )
        score = sources.pop(key)
        assert columns(data["cols"], "value")[i] == round(score["value"], 4)
        assert columns(data["cols"], "low")[i] == round(score["ci"][0], 4)
        assert columns(data["cols"], "floor")[i] == round(score["floor"]["value"], 4)
        assert columns(data["cols"], "skill")[i] == round(score["skill"]["value"], 4)
        assert columns(data["cols"], "n")[i] == score["n"]
    assert not sources


def test_scripts_hold_exactly_the_bytes_of_the_json(site: Path) -> None:
    text = next((site / "js").glob("results.*.js")).read_text()
    quoted = re.fullmatch(r"XB\.put\('results','(.*)'\);\n", text)
    assert quoted
    plain = re.sub(r"\\(.)", r"\1", quoted[1])
    assert plain + "\n" == (site / "data/results.json").read_text()


def test_a_script_quotes_whatever_the_json_holds() -> None:
    value = {"a": "'\\\"</script>\u2028\n"}
    text = script_text("x", json_text(value))
    assert "</" not in text
    plain = re.sub(r"\\(.)", r"\1", text.removeprefix("XB.put('x','").removesuffix("');\n"))
    assert json.loads(plain) == value


def test_sums_and_names_hold_the_hashes(site: Path) -> None:
    for line in (site / "data/SHA256SUMS").read_text().splitlines():
        expected, _, name = line.partition("  ")
        assert hashlib.sha256((site / "data" / name).read_bytes()).hexdigest() == expected
    for file in (site / "assets").iterdir():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert file.name.split(".")[-2] == digest[:8]


def test_rows_of_ten_thousand_keep_within_their_bytes(tmp_path: Path) -> None:
    """Sizes depend on rows, not on utterances: two scores of few clips are enough."""
    results = [
        result(f"task-{t}", f"model-{m}", method, scores=MORE_SCORES, utterances=6)
        for t in range(2)
        for m in range(6)
        for method in METHODS
    ]
    out = check_site(tmp_path, results)
    assert json.loads((out / "data/results.json").read_text())["n"] == 1008


def test_pairs_read_the_same_from_both_sides(site: Path) -> None:
    files = {p.name.split(".")[0]: p for p in (site / "js/pairs").iterdir()}

    def pairs(slug: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        text = files[slug].read_text()
        table = json.loads(re.sub(r"\\(.)", r"\1", text[text.index(",'") + 2 : -4]))
        names = ("task", "model", "metric", "reference", "other")
        keys = zip(*(columns(table, name) for name in names), strict=True)
        numbers = zip(*(columns(table, n) for n in ("difference", "low", "high", "p")), strict=True)
        return dict(zip(keys, numbers, strict=True))

    first, second = pairs("mean-heads"), pairs("max-heads")
    checked = 0
    for (*where, other), (difference, low, high, p) in first.items():
        if other == "max-heads":
            turned = second[(*where, "mean-heads")]
            ends = (None, None) if low is None else (-high, -low)
            assert turned == (-difference, *ends, p)
            checked += 1
    assert checked == 8  # 2 tasks, 2 models, 2 scores shown


def test_methods_are_compared_on_the_error_of_word_times(tmp_path: Path) -> None:
    scores = [
        ("pearson", "spes-encoder"),
        ("spearman", "spes-encoder"),
        ("onset-error", "spes-encoder"),
    ]
    out = check_site(tmp_path, [result(method=m, scores=scores) for m in METHODS[:2]])
    for file in (*(out / "js/pairs").iterdir(), *(out / "js").glob("entities.*.js")):
        assert "onset-error" in file.read_text()
        assert "spearman" not in file.read_text().partition("metrics")[0]
    assert [*(out / "js/pairs").iterdir()]


def test_latex_and_markdown_escape_what_they_must() -> None:
    accepted = tabulate(read_results_of(result(model="50 % & a_b | c")))
    assert r"50 \% \& a\_b | c & pearson" in latex(accepted.rows, ("model", "metric"))
    assert r"| 50 % & a_b \| c | pearson |" in markdown(accepted.rows, ("model", "metric"))


def read_results_of(run: dict[str, Any]) -> list[Result]:
    return [Result("x.json", "0" * 64, run)]
