"""A contract battery: named checks, how they run on one plugin, and how their outcomes are told.

A check is a function of what is tried (the subject) that returns where the contract is kept and raises
where it is not. Its outcome is one of

    passed     it returned
    failed     it raised; the detail is one sentence that says what was found
    expected   it raised, and the failure was declared with a reason; the detail is that reason and what was found
    skipped    it had nothing to look at (`NotApplicable`); the detail says why

A declared failure that passes is a failure too, so that declarations do not outlive their reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from xbench.errors import Unsupported, UsageError, XbenchError, nearest

Status = Literal["passed", "failed", "expected", "skipped"]
S = TypeVar("S")

_LONGEST = 300  # characters of what was found


class Broken(Exception):
    """A check found the contract broken; the message says how."""


class NotApplicable(Exception):
    """A check has nothing to look at; the message says why."""


@dataclass(frozen=True)
class CheckResult:
    """One check of one plugin. detail: the reason, empty where it passed."""

    check: str
    status: Status
    detail: str = ""

    @property
    def ok(self) -> bool:
        """False only for a failure that nobody declared."""
        return self.status != "failed"


@dataclass(frozen=True)
class Battery(Generic[S]):
    """Named checks of one kind of subject, in the order in which they run.

    decisive: the checks without which the later ones have nothing to look at, each with the reason for which
    these are then skipped. Where a decisive check raises Unsupported, the subject cannot be tried here at all
    and every check is skipped.
    """

    checks: Mapping[str, Callable[[S], None]]
    decisive: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        subject: S,
        declared: Mapping[str, str] | None = None,
        *,
        may_pass: Collection[str] = (),
        refusal: str = "unsupported",
    ) -> list[CheckResult]:
        """Run every check; never raises for what the subject does.

        declared: check to the reason why it is expected to fail. may_pass: the declared ones that are no failure
        where they pass. refusal: how the detail begins where the subject is unsupported.
        Raises UsageError for a declared check that does not exist.
        """
        expected = dict(declared or {})
        for name in expected.keys() - self.checks.keys():
            raise UsageError(
                f"there is no check '{name}' to declare a failure of{nearest(name, self.checks)}"
            )
        results: list[CheckResult] = []
        for name, check in self.checks.items():
            try:
                found = self._outcome(name, check, subject)
            except Unsupported as reason:
                return self.skipped(f"{refusal}: {reason}")
            if name in expected:
                found = _declared(found, expected[name], may_pass=name in may_pass)
            results.append(found)
            if name in self.decisive and found.status in ("failed", "expected"):
                rest = list(self.checks)[len(results) :]
                return results + [CheckResult(r, "skipped", self.decisive[name]) for r in rest]
        return results

    def skipped(self, reason: str) -> list[CheckResult]:
        """Return every check as skipped for one reason."""
        return [CheckResult(name, "skipped", reason) for name in self.checks]

    def _outcome(self, name: str, check: Callable[[S], None], subject: S) -> CheckResult:
        try:
            check(subject)
        except NotApplicable as reason:
            return CheckResult(name, "skipped", str(reason))
        except Unsupported as reason:
            if name in self.decisive:
                raise
            before = "it refuses what it took before: " if self.decisive else ""
            return CheckResult(name, "failed", before + _sentence(reason))
        except Exception as problem:  # noqa: BLE001  # a plugin may fail in any way
            return CheckResult(name, "failed", _sentence(problem))
        return CheckResult(name, "passed")


def _declared(found: CheckResult, reason: str, *, may_pass: bool) -> CheckResult:
    if found.status == "failed":
        return CheckResult(found.check, "expected", f"{reason} ({found.detail})")
    if found.status == "passed" and not may_pass:
        detail = f"it passes, but was declared to fail: {reason}"
        return CheckResult(found.check, "failed", detail)
    return found


def _sentence(problem: Exception) -> str:
    """Return one line: the message of an error that explains itself, else its kind and message."""
    text = str(problem).strip()
    explained = isinstance(problem, Broken | XbenchError) and text
    whole = text if explained else f"{type(problem).__name__}: {text}".removesuffix(": ")
    return whole.splitlines()[0][:_LONGEST]


def problems(results: Sequence[CheckResult]) -> list[str]:
    """Return what keeps a plugin from passing, a sentence each: `check: what was found`.

    Every failed check is one. A battery in which every check was skipped has tried nothing and is no pass
    either: then the one sentence says so, with the reason.
    """
    if results and all(result.status == "skipped" for result in results):
        return [f"every check was skipped: {results[0].detail}"]
    return [f"{result.check}: {result.detail}" for result in results if not result.ok]
