"""The built site: the same bytes every time, only its own files, whole for any size of the input."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sites import check_site, some_results, tree
from synthetic import METHODS, many, result, write

from xbench.errors import UsageError
from xbench.site.build import Options, build
from xbench.site.check import problems

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
    plain = (tmp_path / "plain/404.html").read_text()
    assert 'href="index.html"' in plain
    assert "<script>" not in text
    # Without an address it looks for its top folder, by the one inline script that its policy allows.
    (script,) = re.findall(r"<script>(.*?)</script>", plain, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"&#39;sha256-{digest}&#39;" in plain
    assert problems(tmp_path / "plain") == []


def test_a_build_that_was_killed_between_its_renames_loses_nothing(tmp_path: Path) -> None:
    inputs, out = write(tmp_path / "in", [result()]), tmp_path / "site"
    build([inputs], out)
    (out / "CNAME").write_text("example.org")
    out.rename(
        tmp_path / ".site-abc-old"
    )  # what a kill leaves: the old site aside, the new one half written
    (tmp_path / ".site-abc").mkdir()
    os.utime(tmp_path / ".site-abc", (0, 0))
    build([inputs], out)
    assert (out / "CNAME").read_text() == "example.org"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "site"]


def test_an_interruption_between_the_renames_puts_the_old_site_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = write(tmp_path / "in", [result()]), tmp_path / "site"
    build([inputs], out)
    before = (out / "build.json").read_bytes()
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if target == out:
            monkeypatch.setattr(Path, "rename", rename)
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build([inputs], out)
    assert (out / "build.json").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "site"]
