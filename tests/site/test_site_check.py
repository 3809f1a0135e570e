"""What `xbench leaderboard check` finds in a site that somebody changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from xbench.errors import UsageError
from xbench.site.check import problems


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
