"""Strangers' files: what is broken is named and left out, and text stays text."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import METHODS, SCORES, result, write

from of_today import of_today
from xbench import claims
from xbench.claims import Findings, examine, examine_all
from xbench.errors import UsageError
from xbench.inputs import RESULT_BYTES
from xbench.results import RunResult, read_result
from xbench.results.checked import FILE, Check, with_check
from xbench.schemas import problems
from xbench.schemas.quick import accepts
from xbench.site import load
from xbench.site.build import build
from xbench.site.identity import identity
from xbench.site.load import read_results
from xbench.site.pages.forests import _outdated
from xbench.site.tables.tabulate import tabulate
from xbench.site.text import LONGEST, digest, readable, slugs


@pytest.fixture(scope="module", autouse=True)
def taken_as_stated() -> None:
    """Let results be examined: nothing here is taken as stated."""


SUBMISSIONS = Path(__file__).parents[2] / "submissions"


def text_of(**changes: str) -> str:
    """Return a result as JSON, with literal pieces of it replaced."""
    text = json.dumps(result())
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


BROKEN = {
    "nan": (text_of().replace('"seed": 0', '"seed": NaN'), "NaN is not allowed"),
    "infinity": (text_of().replace('"seed": 0', '"seed": -Infinity'), "Infinity"),
    "overflow": (
        text_of().replace('"padding_mass": 0.07', '"padding_mass": 1e999'),
        "1e999 is not finite",
    ),
    "truncated": (text_of()[:1000], "not valid JSON"),
    "empty": ("", "not valid JSON"),
    "list": ("[]", "expected a mapping"),
    "deep": ("[" * 100_000, "nested"),
    "deep-inside": (
        text_of().replace(
            '"scoring": {"pool_time": "max"}', '"scoring": ' + '{"a":' * 60 + "1" + "}" * 60
        ),
        "nested",
    ),
    "unknown-key": (text_of().replace('"status"', '"stauts"'), "stauts"),
    "key-twice": (text_of().replace('"seed": 0', '"seed": 0, "seed": 1'), "twice"),
    "huge-number": (text_of().replace('"seed": 0', f'"seed": {"9" * 5000}'), "not valid JSON"),
    "surrogate": (text_of().replace('"max"', '"\\ud800"'), "half of a surrogate pair"),
    "surrogate-bytes": (text_of().replace("spes-encoder", "\ud800"), "not UTF-8"),
    "blank-name": (
        text_of().replace('"name": "demo-asr-en"', '"name": " \\u00a0"'),
        "task.name: is blank",
    ),
    "long-name": (
        text_of().replace('"name": "xbench-tiny"', f'"name": "{"W" * 201}"'),
        "model.name: has 201 characters",
    ),
    "400-digits": (text_of().replace('"seed": 0', f'"seed": {"9" * 400}'), "beyond 64 bits"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_file_is_named_and_left_out(name: str, tmp_path: Path) -> None:
    text, why = BROKEN[name]
    (tmp_path / f"{name}.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    write(tmp_path / "good", [result()])
    accepted, refused = read_results([tmp_path])
    assert [r.file for r in accepted] == ["good/00000.json"]
    assert [r.file for r in refused] == [f"{name}.json"]
    assert why in str(refused[0])
    assert len(str(refused[0]).splitlines()) == 1


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(RESULT_BYTES + 1)
    _, refused = read_results([tmp_path])
    assert "MB are more than" in refused[0].reason


def test_columns_must_fit_together_and_be_finite(tmp_path: Path) -> None:
    short, infinite, twice = result(), result(), result()
    short["utterances"]["cluster"].pop()
    twice["utterances"]["id"][1] = twice["utterances"]["id"][0]
    paths = write(tmp_path, [short, twice])
    text = json.dumps(infinite).replace(
        '"pearson@spes-encoder": [', '"pearson@spes-encoder": [1e999, '
    )
    (paths / "infinite.json").write_text(text.replace('"clip-0000",', '"clip-0000", "x",'))
    accepted, refused = read_results([tmp_path])
    assert not accepted
    assert len(refused) == 3


def test_of_two_files_of_one_run_with_equal_values_one_is_kept_whatever_their_names(
    tmp_path: Path,
) -> None:
    old, new = result(date="2026-01-01"), result(date="2026-02-01")
    new["utterances"]["map_hash"] = ["0" * 16] * 12
    kept = set()
    for name, order in (("a", [old, new]), ("b", [new, old])):
        accepted, refused = read_results([write(tmp_path / name, order)])
        kept |= {r.sha256 for r in accepted}
        assert (len(accepted), len(refused)) == (1, 1)
        assert "the same run as" in refused[0].reason
    assert len(kept) == 1


def test_of_two_files_of_one_run_with_different_values_neither_is_kept(tmp_path: Path) -> None:
    honest, other = result(date="2026-01-01"), result(date="2026-02-01", scores=[*SCORES[:1]])
    # A hash that the author of the file chose does not make it another run.
    other["provenance"]["spec_hash"] = "0" * 64
    accepted, refused = read_results([write(tmp_path, [honest, other, result(method=METHODS[4])])])
    assert [r.file for r in accepted] == ["00002.json"]
    assert [r.file for r in refused] == ["00000.json", "00001.json"]
    for refusal in refused:
        assert "none is kept" in refusal.reason
        assert "00000.json, 00001.json" in refusal.reason


def test_other_metrics_do_not_make_two_values_of_one_run_two_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, more = result(), result(scores=[*SCORES, ("deletion-auc", None)])
    more["task"]["hash"] = "0" * 64  # covers the metrics that were asked for
    same = {name: honest["utterances"][name] for name in honest["utterances"]}
    more["utterances"] |= same
    accepted, refused = read_results([write(tmp_path / "same", [honest, more])])
    assert (len(accepted), refused) == (2, ())
    ids = {digest("\0".join(identity(r.data)), 10) for r in accepted}
    assert len(ids) == 2

    more["utterances"]["pearson@spes-encoder"] = [0.9] * 12
    # Whoever invents columns also invents scores that follow from them.
    monkeypatch.setattr(
        load, "examine_all", lambda results, _: [Findings((), (), ())] * len(results)
    )
    accepted, refused = read_results([write(tmp_path / "other", [honest, more])])
    assert not accepted
    assert all("none is kept" in refusal.reason for refusal in refused)


def test_results_examined_together_are_found_what_each_is_found_alone(tmp_path: Path) -> None:
    submitted = sorted((SUBMISSIONS / "demo-asr-en" / "xbench-tiny").glob("m*-heads-*.json"))
    files = [of_today(f, tmp_path / f"{i}.json") for i, f in enumerate(submitted[:2])]
    for name, change in (
        ("value", {"value": 0.123}),
        ("other", {"skill": {"value": 0.9, "ci": None, "reason": None, "ci_reason": None}}),
    ):
        data = json.loads(files[0].read_bytes())
        data["scores"][0] |= change
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(data), "utf-8")
    other = json.loads(files[1].read_bytes())  # other clusters
    other["utterances"]["cluster"] = other["utterances"]["id"]
    files.append(tmp_path / "clusters.json")
    files[-1].write_text(json.dumps(other), "utf-8")
    results = [read_result(file) for file in files]
    alone = [examine(each) for each in results]
    assert examine_all(results, [False] * len(results)) == alone
    assert [bool(found.problems) for found in alone] == [False, False, True, True, True]
    # Numbers that were found right before are not computed again, and leave those of the others in their places.
    known = examine_all(results, [False, True, False, True, False])
    assert [found.problems for found in known] == [
        *(alone[0].problems, alone[1].problems, alone[2].problems),
        (),
        alone[4].problems,
    ]


def test_files_of_one_name_in_two_folders_are_both_read(tmp_path: Path) -> None:
    folders = [write(tmp_path / str(i), [result(method=METHODS[i])]) for i in range(2)]
    for folder in folders:
        next(folder.glob("*.json")).rename(folder / "result.json")
    accepted, refused = read_results(folders)
    assert [each.file for each in accepted] == ["result.json"] * 2
    assert len({each.sha256 for each in accepted}) == 2
    assert not refused


def test_a_result_whose_examination_fails_is_refused_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = claims.recomputed.recompute

    def failing(results: Sequence[RunResult]) -> Any:
        if any(each.method.name == "chefer" for each in results):
            raise ZeroDivisionError("made to fail")
        return whole(results)

    monkeypatch.setattr(claims.findings, "recompute", failing)
    given = [result(), result(method=METHODS[5]), result(method=METHODS[4])]
    accepted, refused = read_results([write(tmp_path, given)])
    assert len(accepted) == 2
    assert [each.reason for each in refused] == ["cannot be used: ZeroDivisionError: made to fail"]


def test_a_row_of_another_version_is_marked_and_what_nothing_shows_is_said(tmp_path: Path) -> None:
    build([write(tmp_path / "in", [result()])], tmp_path / "site")
    task = (tmp_path / "site" / "tasks" / "demo-asr-en.html").read_text("utf-8")
    assert "made under another version: " in task
    assert "method mean-heads: was version 0, here it is 1" in task
    (run,) = (tmp_path / "site" / "runs").glob("*.html")
    assert "Not checked, since nothing in the files shows it: " in run.read_text("utf-8")
    submitted = (SUBMISSIONS / "demo-asr-en" / "xbench-tiny").glob("mean-heads-*.json")
    today = [of_today(file, tmp_path / "made" / file.name) for file in submitted]
    build(today, tmp_path / "today")
    assert "another version" not in (tmp_path / "today/tasks/demo-asr-en.html").read_text("utf-8")


def test_what_has_changed_for_all_rows_of_a_table_is_said_once() -> None:
    same, other = ("task asr: was version 1",), ("reference r: was version 2",)
    assert _outdated([same, same]) == same
    assert _outdated([same, other]) == ()
    assert _outdated([same, ()]) == ()
    assert _outdated([same]) == ()  # a line says it itself


def test_more_metrics_of_one_run_make_no_other_board_of_another(tmp_path: Path) -> None:
    few, more = result(scores=SCORES[:1]), result(method=METHODS[4])
    more["task"]["hash"] = "0" * 64  # covers the metrics that were asked for
    accepted, _ = read_results([write(tmp_path, [few, more])])
    (board,) = tabulate(accepted).select(metric="pearson", reference="spes-encoder")
    assert len(board.rows) == 2


def test_a_result_from_the_future_is_refused(tmp_path: Path) -> None:
    _, refused = read_results([write(tmp_path, [result(date="9999-12-31")])])
    assert "has not come yet" in refused[0].reason


def test_what_is_no_plain_file_is_named_and_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "null.json").symlink_to("/dev/zero")
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    (tmp_path / "nothing.json").symlink_to(tmp_path / "nowhere")
    write(tmp_path / "good", [result()])
    accepted, refused = read_results([tmp_path])
    assert [r.file for r in accepted] == ["good/00000.json"]
    told = {r.file: r.reason for r in refused}
    assert told["pipe.json"] == "cannot be read: it is a named pipe, not a plain file"
    assert told["null.json"] == "cannot be read: it is a device, not a plain file"
    assert "symbolic links" in told["loop.json"]
    assert "there is no such file" in told["nothing.json"]


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such"):
        read_results([tmp_path / "nothing"])


def test_invisible_and_reordering_characters_become_escapes() -> None:
    assert readable("a\u202eb\u0000\u200b") == "a\\u202eb\\u0000\\u200b"
    assert readable("e\u0301") == "é"
    assert readable("日本語 العربية") == "日本語 العربية"
    assert readable("<script>alert(1)</script>") == "<script>alert(1)</script>"  # escaped later
    assert len(readable("x" * 10_000)) == LONGEST


@given(st.lists(st.text(max_size=30), max_size=12))
def test_slugs_are_distinct_safe_and_do_not_depend_on_order(names: list[str]) -> None:
    made = slugs(names)
    assert made == slugs(reversed(names))
    assert len(set(made.values())) == len(set(names))
    for slug in made.values():
        assert slug
        assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_slugs_of_hostile_names() -> None:
    made = slugs(["../../etc/passwd", "con", "", "Name", "name", "日本", "index"])
    assert made["name"] == "name"
    assert made["Name"].startswith("name-")
    assert made["con"] != "con"
    assert made["index"] != "index"
    assert "/" not in "".join(made.values())


def mutate(data: Any, choose: Any) -> Any:
    """Change one thing somewhere in a copy of a result."""
    copied = copy.deepcopy(data)
    place, key = copied, None
    for _ in range(choose(st.integers(1, 5))):
        if isinstance(place, dict) and place:
            key = choose(st.sampled_from(sorted(place)))
        elif isinstance(place, list) and place:
            key = choose(st.integers(0, len(place) - 1))
        else:
            break
        parent, place = place, place[key]
    values = st.sampled_from(
        [None, True, -1, 0.5, 5, "x", [], {}, [1, 2, 3], float("inf"), {"x": 1}]
    )
    how = choose(st.sampled_from(["replace", "delete", "add"]))
    if how == "delete":
        del parent[key]
    elif how == "add" and isinstance(parent, dict):
        parent["new"] = choose(values)
    else:
        parent[key] = choose(values)
    return copied


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_quick_check_says_what_the_schema_says(data: st.DataObject) -> None:
    changed = mutate(result(method=METHODS[5]), data.draw)
    assert accepts("result")(changed) == (not problems("result", changed))


def test_the_quick_check_understands_the_whole_schema() -> None:
    assert accepts("result")(result())
    for folder in sorted({file.parent for file in SUBMISSIONS.rglob("*.json")}):
        file = next(folder.glob("mean-heads-heads-all-layers-all-*.json"))
        assert accepts("result")(json.loads(file.read_text("utf-8"))), file


def test_rows_say_how_others_checked_them(tmp_path: Path) -> None:
    folder = write(tmp_path / "results", [result(), result(method=METHODS[2])])
    first = hashlib.sha256((folder / "00000.json").read_bytes()).hexdigest()
    check = Check(first, "sampled", 3, 400, "1.0", "2026-05-01")
    (folder / FILE).write_bytes(with_check(folder / FILE, check))
    accepted, refused = read_results([folder])
    assert not refused
    assert {r.file: r.checked for r in accepted} == {
        "00000.json": "sampled, 0.75 %",
        "00001.json": "self-reported",
    }
    build([folder], tmp_path / "site")
    run_pages = "".join(p.read_text() for p in (tmp_path / "site/runs").glob("*.html"))
    assert "<td>sampled, 0.75 %</td>" in run_pages
    assert "<td>self-reported</td>" in run_pages
    # The run once per board, and once per score.
    for page, times in (("tasks/demo-asr-en.html", 1), ("results.html", 2)):
        shown = (tmp_path / "site" / page).read_text()
        assert shown.count(">sampled, 0.75 %</small>") == times, page
        assert "self-reported" not in shown, page

    (folder / FILE).write_text("nonsense")
    accepted, refused = read_results([folder])
    assert [r.checked for r in accepted] == ["self-reported"] * 2
    assert [r.file for r in refused] == [FILE]
