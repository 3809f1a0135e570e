"""The documentation site: what it lists is there, and it builds strictly where mkdocs is installed (`make docs`)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
MADE_OF_CODE = {"python-api.md", "result-schema.md"}


def listed(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    else:
        for item in part.values() if isinstance(part, dict) else part:
            yield from listed(item)


def test_every_page_of_the_menu_is_there() -> None:
    for page in listed(CONFIG["nav"]):
        if page not in MADE_OF_CODE:
            project = page.removeprefix("project/")
            file = ROOT / project if project != page else ROOT / "docs" / page
            assert file.is_file(), page


def test_every_page_of_docs_is_in_the_menu_or_in_an_index() -> None:
    menu = set(listed(CONFIG["nav"]))
    for file in sorted((ROOT / "docs").glob("*.md")):
        assert file.name in menu, file.name


def test_it_asks_no_other_server_for_anything() -> None:
    assert CONFIG["strict"] is True
    assert CONFIG["theme"]["font"] is False
    assert "extra_javascript" not in CONFIG
    assert "extra_css" not in CONFIG


@pytest.mark.slow
def test_it_builds(tmp_path: Path) -> None:
    pytest.importorskip(
        "mkdocs", reason="`pip install '.[docs]'` brings mkdocs; CI runs `make docs`"
    )
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "python-api" / "index.html").read_text()
    assert "score_maps" in api
    assert "provenance.plugins" in (tmp_path / "result-schema" / "index.html").read_text()
