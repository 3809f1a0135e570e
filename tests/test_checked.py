"""Who checked a result, and how: lines that the site shows beside its row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from xbench.errors import UsageError
from xbench.results.checked import Check, read_checks, strongest, with_check

SAMPLED = Check("a" * 64, "sampled", 6, 500, "1.0", "2026-05-01")
HEAD = "result,how,part,whole,xbench,on\n"


def test_a_line_is_read_as_it_was_written_and_replaced_by_one_that_says_more(
    tmp_path: Path,
) -> None:
    file = tmp_path / "checked.csv"
    file.write_bytes(with_check(file, SAMPLED))
    assert file.read_text() == f"{HEAD}{'a' * 64},sampled,6,500,1.0,2026-05-01\n"
    other = replace(SAMPLED, how="re-run", part=5, whole=100)
    file.write_bytes(with_check(file, other))
    file.write_bytes(with_check(file, replace(SAMPLED, part=60)))
    assert read_checks(file) == (other, replace(SAMPLED, part=60))


def test_the_label_has_the_share_and_the_strongest_check_counts() -> None:
    recomputed = replace(SAMPLED, how="recomputed", part=100, whole=100)
    rerun = replace(SAMPLED, how="re-run", part=5, whole=100)
    assert [c.label for c in (SAMPLED, recomputed, rerun)] == [
        "sampled, 1.2 %",
        "recomputed",
        "re-run, 5 %",
    ]
    most = replace(rerun, part=499, whole=500)
    few = replace(SAMPLED, part=1, whole=10**9)
    assert [c.label for c in (most, few)] == ["re-run, 99 %", "sampled, 0.01 %"]
    checks = [rerun, replace(rerun, part=9), recomputed, SAMPLED]
    assert strongest(checks) == {SAMPLED.result: replace(rerun, part=9)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "first line"),
        ("result,how\n", "first line"),
        (f"{HEAD}{'a' * 63},sampled,1,2,1.0,2026-05-01\n", "line 2.*'result'"),
        (f"{HEAD}{'a' * 64},believed,1,2,1.0,2026-05-01\n", "line 2.*'how'"),
        (f"{HEAD}{'a' * 64},sampled,-1,2,1.0,2026-05-01\n", "line 2.*'part'"),
        (f"{HEAD}{'a' * 64},sampled,3,2,1.0,2026-05-01\n", "3 of 2"),
        (f"{HEAD}{'a' * 64},sampled,0,0,1.0,2026-05-01\n", "0 of 0"),
        (f"{HEAD}{'a' * 64},sampled,1,2,1.0,yesterday\n", "no day"),
        (f"{HEAD}{'a' * 64},sampled,1,2,1.0,2026-05-01,more\n", "no part"),
        (f'{HEAD}"{"a" * 64},sampled\n', "not CSV"),
    ],
)
def test_a_broken_line_is_told_with_its_number(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "checked.csv").write_text(text)
    with pytest.raises(UsageError, match=why):
        read_checks(tmp_path / "checked.csv")
