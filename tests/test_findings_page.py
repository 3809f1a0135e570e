"""docs/findings.md is what scripts/findings.py writes from the result files of today."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_page_is_made_from_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    found = importlib.util.spec_from_file_location("findings", ROOT / "scripts" / "findings.py")
    assert found is not None
    assert found.loader is not None
    findings = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "findings", findings)
    found.loader.exec_module(findings)
    out = tmp_path / "findings.md"
    monkeypatch.setattr("sys.argv", ["findings.py", "--out", str(out)])
    findings.main()
    assert out.read_text("utf-8") == (ROOT / "docs" / "findings.md").read_text("utf-8"), (
        "run `python scripts/findings.py` and commit the page"
    )
