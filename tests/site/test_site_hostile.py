"""Strangers' text stays text on every page and in every file."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

from sites import check_site, tree
from synthetic import result

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
        assert "<img src=x" not in html
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
