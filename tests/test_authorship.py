"""Who made a method: from its description, its package, its source; in results and on the site."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from installed_plugin import DESCRIPTION, Install
from of_today import of_today
from xbench import registry
from xbench.authorship import Authorship, of_package, papers
from xbench.errors import UsageError
from xbench.results import read_result
from xbench.site.build import build
from xbench.site.text import linked

SUBMISSIONS = Path(__file__).parents[1] / "submissions"


def test_a_package_says_who_made_its_methods(install: Install, tmp_path: Path) -> None:
    code = DESCRIPTION.format(name="METHOD", method="theirs", module="theirs")
    install("their-package", "theirs", {"theirs": "theirs:METHOD"}, code)
    (metadata,) = tmp_path.glob("their_package-*/METADATA")
    said = (
        "Author-email: Ada <ada@example.org>, Emmy <emmy@example.org>",
        "License-Expression: MIT",
        "Project-URL: Documentation, https://example.org/docs",
        "Project-URL: Source, https://example.org/code",
    )
    metadata.write_text(metadata.read_text() + "\n".join(said) + "\n")
    known = Authorship("Ada, Emmy", "https://example.org/code", None, "MIT")
    assert of_package("their-package") == known
    description = replace(
        registry.methods.get("theirs"), authors="Grace", source="A 2020, arXiv 2005.00928"
    )
    assert registry.authorship(description, "their-package") == replace(
        known, authors="Grace", paper="https://arxiv.org/abs/2005.00928"
    )
    own = replace(description, paper="https://example.org/paper")
    assert registry.authorship(own, "local") == Authorship(
        "Grace", None, "https://example.org/paper", None
    )


@pytest.mark.parametrize("name", ["", "no-such-package"])
def test_nobody_is_known_where_there_is_no_package(name: str) -> None:
    assert of_package(name) == Authorship()


def test_a_link_of_a_description_must_lead_to_the_web() -> None:
    description = replace(registry.methods.get("alti"), code="javascript:alert(1)")
    assert description.problems() == ["code is 'javascript:alert(1)', expected a link: https://..."]
    assert replace(description, code="https://example.org").problems() == []


def test_papers_in_a_text_are_found_and_linked() -> None:
    text = "Mohebbi et al. 2023, arXiv 2301.12971 and arXiv:2310.09925"
    first, second = "https://arxiv.org/abs/2301.12971", "https://arxiv.org/abs/2310.09925"
    assert papers(text) == [("arXiv 2301.12971", first), ("arXiv:2310.09925", second)]
    assert linked(text) == [
        ("Mohebbi et al. 2023, ", None),
        ("arXiv 2301.12971", first),
        (" and ", None),
        ("arXiv:2310.09925", second),
    ]
    assert linked("control") == [("control", None)]
    assert linked("") == []


def test_the_site_links_what_a_result_states_of_a_method_nobody_registers(tmp_path: Path) -> None:
    (committed,) = SUBMISSIONS.glob("demo-asr-en/xbench-tiny/alti-layers-all-*.json")
    known = of_today(committed, tmp_path / "in" / "known.json")
    data = json.loads(known.read_text())
    data["method"] |= {
        "name": "theirs",
        "authorship": {
            "authors": "Ada <b>",
            "code": "https://example.org/code",
            "paper": None,
            "licence": "MIT",
        },
    }
    (package,) = (p for p in data["provenance"]["plugins"] if p["kind"] == "method")
    package |= {"name": "theirs", "distribution": "their-package", "version": "1"}
    theirs = tmp_path / "in" / "theirs.json"
    theirs.write_text(json.dumps(data))
    assert read_result(theirs).method.authorship == Authorship(
        "Ada <b>", "https://example.org/code", None, "MIT"
    )
    build([tmp_path / "in"], tmp_path / "site")
    page = (tmp_path / "site/methods/theirs.html").read_text()
    assert '<a href="https://example.org/code" rel="external nofollow">' in page
    assert "Ada &lt;b&gt;" in page
    ours = (tmp_path / "site/methods/alti.html").read_text()
    assert 'href="https://arxiv.org/abs/2203.04212"' in ours
    assert "The xbench authors" in ours
    data["method"]["authorship"]["code"] = "javascript:alert(1)"
    theirs.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="is not an https link to the code of the method"):
        read_result(theirs)
