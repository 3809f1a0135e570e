"""docs/findings.md and the tables of README.md are what their scripts write from the result files of today."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from xbench.results import load_results

ROOT = Path(__file__).parents[1]


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import one of scripts/, which may import its neighbours."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    found = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, name, module)
    found.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_page_is_made_from_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = script("findings", monkeypatch)
    out = tmp_path / "findings.md"
    monkeypatch.setattr("sys.argv", ["findings.py", "--out", str(out)])
    findings.main()
    assert out.read_text("utf-8") == (ROOT / "docs" / "findings.md").read_text("utf-8"), (
        "run `python scripts/findings.py` and commit the page"
    )


def test_the_tables_of_the_readme_are_made_from_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    tables = script("readme_tables", monkeypatch)
    assert tables.filled(readme, tables.tables(ROOT / "submissions")) == readme, (
        "run `python scripts/readme_tables.py` and commit the README"
    )
    # A score that moves is seen, and so is a mark that is gone.
    folder = tmp_path / "demo"
    folder.mkdir()
    for method in (
        "mean-heads-",
        "raw-attention-head-3-layer-1",
        "mean-layers-head-0",
        "diagonal-width-0.2",
        "random-",
    ):
        (file,) = (ROOT / "submissions" / tables.DEMO).glob(f"{method}*.json")
        result = json.loads(file.read_text("utf-8"))
        next(s for s in result["scores"] if s["metric"] == "pearson")["weighted"]["value"] = 0.125
        (folder / file.name).write_text(json.dumps(result), "utf-8")
    moved = {"demo": [" | ".join(row) for row in tables.of_demo(load_results(folder))]}
    assert tables.filled(readme, moved).count("| 0.12 [") == 5
    with pytest.raises(SystemExit, match="no marks"):
        tables.filled(readme.replace("end of demo", "end"), moved)
