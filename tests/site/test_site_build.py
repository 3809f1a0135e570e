"""The built site: the same bytes every time, only its own files, hostile text harmless, budgets kept."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from synthetic import METHODS, MORE_SCORES, head, many, result, write

from xbench.errors import UsageError
from xbench.site import charts
from xbench.site.build import Options, build
from xbench.site.check import problems
from xbench.site.data import RESULTS_SCHEMA, json_text, latex, markdown, script_text
from xbench.site.load import read_results
from xbench.site.render import leaderboard_folder
from xbench.site.tables import tabulate

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "=HYPERLINK(1)",
    "../../etc/passwd",
    "__proto__",
    "{{ 7 * 7 }}{% raw %}",
    "a\u202eb\u2028c\u0000",
    "日本語 العربية עברית",
    "x" * 200,
    "'); alert(1); XB.put('",
    "</title><style>*{}</style>",
)


def some_results() -> list[dict[str, Any]]:
    heads = [head(layer, number) for layer in range(2) for number in range(2)]
    return [
        result(task, model, method, scores=MORE_SCORES[:2] + MORE_SCORES[4:])
        for task in ("task-a", "task-b")
        for model in ("model-a", "model-b")
        for method in (*METHODS[:6], METHODS[11], *heads)
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of 44 results, for tests that only look."""
    folder = tmp_path_factory.mktemp("site")
    build([write(folder / "results", some_results())], folder / "out")
    return folder / "out"


def tree(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


# -- the same bytes --------------------------------------------------------------------------------


def test_neither_hash_seed_time_zone_locale_nor_file_names_change_a_byte(tmp_path: Path) -> None:
    results = some_results()[:12]
    write(tmp_path / "a", results)
    code = (
        "import sys; from pathlib import Path; from xbench.site.build import build;"
        "build([Path(sys.argv[1])], Path(sys.argv[2]))"
    )
    trees = []
    for number, (seed, zone, locale) in enumerate(
        [("1", "UTC", "C"), ("2", "Pacific/Kiritimati", "tr_TR.UTF-8")]
    ):
        out = tmp_path / f"out-{number}"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale}
        environment.pop("SOURCE_DATE_EPOCH", None)
        command = [sys.executable, "-c", code, str(tmp_path / "a"), str(out)]
        subprocess.run(command, check=True, env=environment)
        trees.append(tree(out))
    assert trees[0] == trees[1]


def test_the_order_of_the_input_changes_no_page(tmp_path: Path) -> None:
    results = some_results()[:12]
    build([write(tmp_path / "a", results)], tmp_path / "one")
    build([write(tmp_path / "b", results[::-1])], tmp_path / "two")
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    # What names the input files may differ: they are called otherwise.
    differing = {path for path in one | two if one.get(path) != two.get(path)}
    assert all(
        p in ("build.json", "data/SHA256SUMS") or p.startswith("data/runs/") for p in differing
    )


def test_the_date_is_the_newest_run_or_given_never_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    inputs = write(tmp_path / "r", [result(date="2026-01-05"), result("other", date="2026-03-01")])
    build([inputs], tmp_path / "out")
    assert json.loads((tmp_path / "out/build.json").read_text())["date"] == "2026-03-01"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    build([inputs], tmp_path / "out")
    assert json.loads((tmp_path / "out/build.json").read_text())["date"] == "1970-01-02"


# -- only its own files ----------------------------------------------------------------------------


def test_a_folder_of_others_is_refused_and_untouched(tmp_path: Path) -> None:
    inputs = write(tmp_path / "r", [result()])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="nothing was deleted"):
        build([inputs], tmp_path / "out")
    assert tree(tmp_path / "out").keys() == {"thesis.tex"}


def test_a_second_build_drops_its_old_pages_and_keeps_what_others_put_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build([write(tmp_path / "one", [result(model="gone"), result()])], out)
    (out / "CNAME").write_text("example.org")
    (out / "models" / "notes.txt").write_text("mine")
    assert (out / "models/gone.html").exists()
    build([write(tmp_path / "two", [result()])], out)
    assert not (out / "models/gone.html").exists()
    assert (out / "CNAME").read_text() == "example.org"
    assert (out / "models/notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_snapshot_stays_when_the_site_is_built_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    inputs = write(tmp_path / "r", [result()])
    build([inputs], out)
    build([inputs], out, Options(snapshot="2026-05"))
    frozen = tree(out / "s" / "2026-05")
    build([write(tmp_path / "more", [result(), result(method=METHODS[1])])], out)
    assert tree(out / "s" / "2026-05") == frozen
    assert problems(out / "s" / "2026-05") == []
    assert problems(out) == []
    with pytest.raises(UsageError, match="--snapshot"):
        build([inputs], out, Options(snapshot="../up"))


def test_strict_fails_on_a_broken_file_and_names_it(tmp_path: Path) -> None:
    inputs = write(tmp_path / "r", [result()])
    (inputs / "bad.json").write_text("{")
    built = build([inputs], tmp_path / "out")
    assert [r.file for r in built.refused] == ["bad.json"]
    assert "bad.json" in (tmp_path / "out/about.html").read_text()
    with pytest.raises(UsageError, match=r"bad\.json"):
        build([inputs], tmp_path / "strict", Options(strict=True))
    assert not (tmp_path / "strict").exists()


# -- sizes of the input ----------------------------------------------------------------------------


def check_site(folder: Path, results: list[dict[str, Any]]) -> Path:
    build([write(folder / "results", results)], folder / "out")
    assert problems(folder / "out") == []
    return folder / "out"


def test_no_results_at_all_still_make_a_readable_site(tmp_path: Path) -> None:
    out = check_site(tmp_path, [])
    assert "No results yet" in (out / "index.html").read_text()
    assert "No results yet" in (out / "results.html").read_text()


def test_one_result_one_method_and_all_values_missing(tmp_path: Path) -> None:
    check_site(tmp_path / "one", [result()])
    check_site(tmp_path / "few-clusters", [result(method=m, clusters=2) for m in METHODS[:3]])
    out = check_site(tmp_path / "missing", [result(method=m, missing=True) for m in METHODS[:3]])
    assert "constant map" in (out / "results.html").read_text()


def test_a_whole_site_is_sound(site: Path) -> None:
    assert problems(site) == []
    names = {path for path in tree(site) if path.endswith(".html")}
    assert {
        "index.html",
        "results.html",
        "about.html",
        "404.html",
        "cost.html",
        "heads.html",
    } <= names
    assert {"tasks/task-a.html", "models/model-b.html", "methods/mean-heads.html"} <= names


@pytest.mark.slow
def test_fifty_thousand_rows(tmp_path: Path) -> None:
    folder = write(tmp_path / "results", many(50_000))
    built = build([folder], tmp_path / "out")
    assert built.rows >= 50_000
    assert [p for p in problems(tmp_path / "out") if "models/" not in p] == []


# -- hostile text ----------------------------------------------------------------------------------


def hostile_results() -> list[dict[str, Any]]:
    results = []
    for number, text in enumerate(HOSTILE):
        others = (HOSTILE[number - 1], HOSTILE[number - 2])
        method = (text, {text[:50]: text}, "attention", False)
        run = result(text, text, method, texts=(text, *others))
        run["scores"][1] |= {"metric": text, "reference": text}
        run["cost"]["device"] = text
        run["provenance"]["command"] = [text]
        run["references"][0] |= {"estimator": text, "neutral_value": text}
        results.append(run)
    return results


def test_hostile_text_stays_text_everywhere(tmp_path: Path) -> None:
    out = check_site(tmp_path, hostile_results())
    for page in out.rglob("*.html"):
        html = page.read_text("utf-8")
        assert "<script>alert" not in html
        assert "<img" not in html
        assert "<style>" not in html
        assert not re.search(r'(href|src)="\s*javascript:', html)
        assert "\u202e" not in html
        assert "\x00" not in html
        assert "49" not in re.findall(r"\{\{ 7", html)
    for path in tree(out):
        assert re.fullmatch(r"[A-Za-z0-9_./-]+", path), path
        assert ".." not in path
    for script in (out / "js").rglob("*.js"):
        text = script.read_text("ascii")
        assert "<" not in text
        assert text.count("\n") == 1


def test_csv_cells_are_not_formulas_and_json_is_exact(tmp_path: Path) -> None:
    out = check_site(tmp_path, [result(model="=1+1")])
    (line,) = {
        row["model"] for row in csv.DictReader(io.StringIO((out / "data/results.csv").read_text()))
    }
    assert line == "'=1+1"
    entities = next((out / "js").glob("entities.*.js")).read_text()
    assert '"=1+1"' in entities.replace("\\", "")


# -- data files ------------------------------------------------------------------------------------


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
            assert turned == (-difference, -high, -low, p)
            checked += 1
    assert checked == 8  # 2 tasks, 2 models, 2 scores shown


def test_latex_and_markdown_escape_what_they_must() -> None:
    accepted = tabulate(read_results_of(result(model="50 % & a_b | c")))
    assert r"50 \% \& a\_b | c & pearson" in latex(accepted.rows, ("model", "metric"))
    assert r"| 50 % & a_b \| c | pearson |" in markdown(accepted.rows, ("model", "metric"))


def read_results_of(run: dict[str, Any]) -> Any:
    from xbench.site.load import Result

    return [Result("x.json", "0" * 64, run)]


def test_the_changes_stand_by_day_newest_first(tmp_path: Path) -> None:
    days = ("2026-01-05", "2026-03-01", "2026-01-05", "2026-02-11")
    results = [result(f"task-{n}", date=day) for n, day in enumerate(days)]
    text = (check_site(tmp_path, results) / "changes.html").read_text()
    assert re.findall(r"<h2><time>(.*?)</time>|<bdi>(task-\d)</bdi>", text) in [
        [("2026-03-01", ""), ("", "task-1"), ("2026-02-11", ""), ("", "task-3"), *rest]
        for rest in (
            [("2026-01-05", ""), ("", "task-0"), ("", "task-2")],
            [("2026-01-05", ""), ("", "task-2"), ("", "task-0")],
        )
    ]


def test_the_page_for_lost_readers_finds_its_way_from_any_depth(tmp_path: Path) -> None:
    inputs = write(tmp_path / "r", [result()])
    build([inputs], tmp_path / "out", Options(base_url="https://example.org/board"))
    assert problems(tmp_path / "out") == []
    text = (tmp_path / "out/404.html").read_text()
    targets = [t for t in re.findall(r'(?:href|src)="(.*?)"', text) if not t.startswith("#")]
    assert len(targets) > 10
    assert [t for t in targets if not t.startswith("https://example.org/board/")] == []
    build([inputs], tmp_path / "plain")
    assert 'href="index.html"' in (tmp_path / "plain/404.html").read_text()


# -- the check itself, and rules for the source ----------------------------------------------------


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


def test_only_charts_mark_text_as_safe() -> None:
    source = Path(charts.__file__).parent
    for file in source.glob("*.py"):
        if file.name != "charts.py":
            assert "Markup" not in file.read_text(), file.name
    for file in (leaderboard_folder() / "templates").iterdir():
        text = file.read_text()
        assert "|safe" not in text.replace(" ", ""), file.name
        assert "autoescape" not in text, file.name
        assert "style=" not in text, file.name


def test_scripts_touch_no_html() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|fetch\(\s*[\"']http"
    for file in (leaderboard_folder() / "assets").glob("*.js"):
        assert not re.search(forbidden, file.read_text()), file.name


def test_the_stylesheet_has_the_colours_of_the_charts_with_readable_text() -> None:
    css = next((leaderboard_folder() / "assets").glob("site.css")).read_text()
    for step in range(charts.LEVELS):
        rule = re.search(rf"\.q{step}\{{background:(#\w{{6}});color:#(000|fff)\}}", css)
        assert rule
        assert rule[1] == charts.viridis(step)
        light = luminance(rule[1])
        contrast = (light + 0.05) / 0.05 if rule[2] == "000" else 1.05 / (light + 0.05)
        assert contrast >= 4.5


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_and_marks_stand_out_in_both_themes() -> None:
    css = (leaderboard_folder() / "assets" / "site.css").read_text()
    pairs = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\);", css)
    assert len(pairs) == 15
    for theme in (
        {name: light for name, light, _ in pairs},
        {name: dark for name, _, dark in pairs},
    ):
        colours = {name: expand(value) for name, value in theme.items()}
        for ground in ("page", "panel", "rule", "wash"):
            for name in ("ink", "soft", "accent", "warn", "perturbation", "gradient"):
                assert ratio(colours[name], colours[ground]) >= 4.5, (name, ground)
            for name in ("attention", "gradient", "perturbation", "control", "other"):
                assert ratio(colours[name], colours[ground]) >= 3, (name, ground)
        for name in ("attention", "gradient", "perturbation", "control", "ink"):
            assert ratio(colours[name], colours["band"]) >= 3, name


def expand(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])


def ratio(one: str, two: str) -> float:
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
