"""How checks run and how their outcomes are told, whatever is tried."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xbench.errors import Unsupported, UsageError, XbenchError
from xbench.testing import CheckResult, problems
from xbench.testing.battery import Battery, Broken, NotApplicable


def passing(subject: object) -> None:
    """Keep the contract."""


def raising(problem: Exception) -> Callable[[object], None]:
    def check(subject: object) -> None:
        raise problem

    return check


def only(problem: Exception, declared: dict[str, str] | None = None) -> CheckResult:
    (result,) = Battery({"one": raising(problem)}).run(None, declared)
    return result


@pytest.mark.parametrize(
    ("problem", "detail"),
    [
        (Broken("row 2 sums to 3"), "row 2 sums to 3"),
        (XbenchError("no such thing\nand more"), "no such thing"),
        (Unsupported("not this model"), "not this model"),
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError(), "ValueError"),
        (XbenchError(""), "XbenchError"),
        (Broken(" \n"), "Broken"),
        (Broken("x" * 1000), "x" * 300),
    ],
)
def test_a_failure_is_told_in_one_line(problem: Exception, detail: str) -> None:
    assert only(problem) == CheckResult("one", "failed", detail)


def test_a_check_with_nothing_to_look_at_is_skipped_with_the_reason() -> None:
    assert only(NotApplicable("no seed")) == CheckResult("one", "skipped", "no seed")


def test_declared_failures() -> None:
    expected = only(Broken("1 value is NaN"), {"one": "divides by silence"})
    assert expected == CheckResult("one", "expected", "divides by silence (1 value is NaN)")
    assert expected.ok
    assert only(NotApplicable("no seed"), {"one": "never"}).status == "skipped"
    with pytest.raises(
        UsageError, match="no check 'on' to declare a failure of, did you mean 'one'"
    ):
        only(Broken(""), {"on": "why"})


def test_a_declaration_that_outlived_its_reason_is_a_failure_unless_it_may_pass() -> None:
    battery = Battery({"one": passing})
    (stale,) = battery.run(None, {"one": "old"})
    assert stale == CheckResult("one", "failed", "it passes, but was declared to fail: old")
    assert battery.run(None, {"one": "old"}, may_pass={"one"}) == [CheckResult("one", "passed")]


def test_what_a_decisive_check_decides() -> None:
    def run(first: Callable[[object], None]) -> list[CheckResult]:
        checks = {"map": first, "finite": passing, "seed": raising(Unsupported("no layer 9"))}
        battery = Battery(checks, {"map": "there is no map"})
        return battery.run(None, refusal="unsupported by model 'm'")

    no_map = CheckResult("finite", "skipped", "there is no map")
    assert run(raising(Broken("no")))[1:] == [no_map, CheckResult("seed", "skipped", no_map.detail)]
    assert {r.detail for r in run(raising(Unsupported("no heads")))} == {
        "unsupported by model 'm': no heads"
    }
    kept = run(passing)
    assert [r.status for r in kept] == ["passed", "passed", "failed"]
    assert kept[2].detail == "it refuses what it took before: no layer 9"


def test_problems_are_failures_or_that_nothing_was_tried() -> None:
    passed, skipped = CheckResult("a", "passed"), CheckResult("b", "skipped", "no seed")
    assert problems([passed, skipped, CheckResult("c", "expected", "known")]) == []
    assert problems([passed, CheckResult("c", "failed", "broken")]) == ["c: broken"]
    assert problems([skipped, skipped]) == ["every check was skipped: no seed"]
