"""Badges, the feed, changes in who leads, frozen copies and the page to search."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from synthetic import METHODS, result, write

from xbench.site.badges import badge, badge_text
from xbench.site.build import Options, build
from xbench.site.check import problems
from xbench.site.history import turns
from xbench.site.load import Result
from xbench.site.overall import overall
from xbench.site.tables.tabulate import Tables, tabulate

KEY = ("pearson", "spes-encoder")
ATOM = "{http://www.w3.org/2005/Atom}"


def planted(method: Any, value: float, date: str) -> dict[str, Any]:
    run = result(method=method, utterances=20, clusters=10, date=date)
    for score in run["scores"]:
        column = f"{score['metric']}@{score['reference']}"
        run["utterances"][column] = [round(value + 0.001 * (i % 5 - 2), 6) for i in range(20)]
        score["value"] = value
    return run


def tables(*results: dict[str, Any]) -> Tables:
    return tabulate([Result(f"{i}.json", "0" * 64, run) for i, run in enumerate(results)])


RUNS = (
    planted(METHODS[0], 0.4, "2026-05-01"),
    planted(METHODS[2], 0.3, "2026-05-01"),
    planted(METHODS[4], 0.6, "2026-05-02"),  # takes the lead
    planted(METHODS[3], 0.2, "2026-05-03"),  # changes nothing
)


def test_a_change_is_told_on_the_day_on_which_another_came_to_lead() -> None:
    (turn,) = turns(tables(*RUNS))
    assert turn.date == "2026-05-02"
    assert [c.method for c in turn.before] == ["mean-heads"]
    assert [c.method for c in turn.after] == ["alignment-heads"]
    assert turns(tables(*RUNS[:2])) == ()


def test_feed_and_changes_tell_the_same(tmp_path: Path) -> None:
    out = tmp_path / "site"
    options = Options(base_url="https://example.org/board")
    build([write(tmp_path / "results", RUNS)], out, options)
    assert problems(out) == []
    root = ElementTree.parse(out / "feed.xml").getroot()
    entries = root.findall(f"{ATOM}entry")
    assert [e.findtext(f"{ATOM}updated") for e in entries] == [
        f"2026-05-0{day}T00:00:00Z" for day in (3, 2, 1)
    ]
    said = "now alignment-heads, before mean-heads"
    assert [said in (e.findtext(f"{ATOM}content") or "") for e in entries] == [False, True, False]
    link = entries[1].find(f"{ATOM}link")
    assert link is not None
    assert link.get("href") == "https://example.org/board/changes.html#day-2026-05-02"
    changes = (out / "changes.html").read_text()
    assert said in changes
    assert 'id="day-2026-05-02"' in changes
    assert 'property="og:image" content="https://example.org/board/assets/card.' in changes


def test_a_badge_says_where_a_method_stands(tmp_path: Path) -> None:
    made = tables(*RUNS)
    table = overall(made, *KEY)
    said = {m.name: badge_text(m, table) for m in made.methods}
    assert said["alignment-heads"] == "rank 1, pearson 0.60"
    assert said["value-norm"] == "rank 4, pearson 0.20"
    assert badge_text(made.methods[0], None) == "not ranked"
    picture = ElementTree.fromstring(badge("<&> 1"))
    assert picture.findtext("{http://www.w3.org/2000/svg}title") == "xbench: <&> 1"


def test_frozen_copies_are_listed_and_everything_can_be_searched(tmp_path: Path) -> None:
    results, out = write(tmp_path / "results", RUNS), tmp_path / "site"
    build([results], out, Options(snapshot="2026.05"))
    build([results], out)
    assert problems(out) == []
    assert 'href="s/2026.05/index.html"' in (out / "changes.html").read_text()
    assert "Frozen copies" not in (out / "s/2026.05/changes.html").read_text()
    search = (out / "search.html").read_text()
    for path in ("methods/mean-heads.html", "models/xbench-tiny.html", "tasks/demo-asr-en.html"):
        assert f'href="{path}"' in search
