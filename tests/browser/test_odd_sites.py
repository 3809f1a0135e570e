"""Sites of nothing, of one result, of missing values, of odd names: silent and readable all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import made, page_types
from synthetic import METHODS, head, result

LONG = "long-" * 40
ODD = {
    "nothing": [],
    "one": [result()],
    "all missing": [result(method=m, missing=True) for m in METHODS[:4]],
    "one head": [result(method=head(0, 0))],
    "names": [
        result(task, model, method)
        for task in (LONG[:200], "Größe 測試 עברית")
        for model in ("Model", "model", "W" * 200, "‮evil")
        for method in METHODS[:3]
    ],
}


@pytest.mark.parametrize(
    "kind", [k if k == "nothing" else pytest.param(k, marks=pytest.mark.slow) for k in ODD]
)
def test_an_odd_site_is_silent(kind: str, tmp_path: Path, open_page: Callable[..., Any]) -> None:
    site = made(tmp_path, "odd", ODD[kind])
    found = []
    for path in page_types(site):
        if path.startswith(("about", "changes", "404", "downloads", "examples")):
            continue
        page, watch = open_page((site / path).as_uri(), width=320)
        found += [f"{path}: {problem}" for problem in watch.problems]
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > 320:
            found.append(f"{path} scrolls sideways: {wide}")
        if path == "results.html":
            page.locator("html.ready").wait_for()
            for label in ("value", "config", "rank"):
                page.locator(f"[data-sort={label}]").click()
            page.locator("#results tbody[aria-busy=false]").wait_for()
            rows = page.locator("#results tbody tr[data-row]").count()
            assert rows == min(100, sum(len(r["scores"]) for r in ODD[kind]))
        open_page.close()
    assert found == []
