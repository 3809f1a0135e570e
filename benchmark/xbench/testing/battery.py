"""What a contract battery tells: one result per check, and what keeps a plugin from passing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["passed", "failed", "expected", "skipped"]


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


def problems(results: Sequence[CheckResult]) -> list[str]:
    """Return what keeps a plugin from passing, a sentence each: `check: what was found`.

    Every failed check is one. A battery in which every check was skipped has tried nothing and is no pass
    either: then the one sentence says so, with the reason.
    """
    if results and all(result.status == "skipped" for result in results):
        return [f"every check was skipped: {results[0].detail}"]
    return [f"{result.check}: {result.detail}" for result in results if not result.ok]
