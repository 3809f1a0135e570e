"""BibTeX of CITATION.cff, and the addresses that every page links to."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import result, write

from xbench.errors import UsageError
from xbench.site.build import Options, build
from xbench.site.citation import bibtex


def test_xbench_and_its_paper_as_bibtex() -> None:
    own, paper = bibtex().split("\n\n")
    assert own.startswith("@software{xbench,\n  title = {xbench: how faithful")
    assert "  author = {{The xbench authors}},\n" in own
    assert paper.startswith("@article{papi2025,\n")
    assert "author = {Papi, Sara and Fucci, Dennis and " in paper
    assert "url = {https://arxiv.org/abs/2509.18010},\n}" in paper


def test_pages_link_to_source_code_and_documentation_where_they_are_given(tmp_path: Path) -> None:
    results = write(tmp_path / "results", [result()])
    home = "https://example.org/xbench"
    build([results], tmp_path / "plain")
    build([results], tmp_path / "both", Options(repository=home, documentation="https://d.org"))
    build([results], tmp_path / "one", Options(repository=home))
    plain, both, one = (
        (tmp_path / name / "cost.html").read_text() for name in ("plain", "both", "one")
    )
    assert "Documentation" not in plain
    assert "Source code" not in plain
    assert f'href="{home}/issues"' in both
    assert 'href="https://d.org/"' in both
    assert f'href="{home}/blob/HEAD/docs/index.md"' in one
    assert "@software{xbench," in (tmp_path / "plain" / "about.html").read_text()
    with pytest.raises(UsageError, match="--repository 'javascript:x' is not an http"):
        build([results], tmp_path / "bad", Options(repository="javascript:x"))
