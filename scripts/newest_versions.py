"""How the tests do with the newest allowed versions of other packages, in two lines: a pytest plugin.

`make test-newest` loads it with `-p newest_versions`. It begins the run with the packages that are newer than those in
constraints.txt, ends it at once when there is none, and closes it with the outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
NAMED = 8  # of the newer packages, so that the line stays a line


def newer(constraints: Iterable[str]) -> Iterator[str]:
    """Yield the installed packages that differ from what constraints pin for this Python."""
    for line in constraints:
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is not None and not pin.marker.evaluate():
            continue
        try:
            installed = version(pin.name)
        except PackageNotFoundError:  # of another extra or another platform
            continue
        if not pin.specifier.contains(installed, prereleases=True):
            yield f"{pin.name} {installed} (tested {str(pin.specifier).removeprefix('==')})"


def outcome(reports: dict[str, list[Any]], exit_status: int) -> str:
    """Return what pytest's reports amount to, with the deprecations that lines of xbench meet."""
    broken = [report.nodeid for kind in ("error", "failed") for report in reports.get(kind, ())]
    said = "green"
    if broken:
        said = f"RED (not blocking), failing tests: {len(set(broken))}, first: {broken[0]}"
    elif exit_status:
        said = f"RED (not blocking), pytest stopped with {exit_status}"
    met = [
        warning.message.splitlines()[0]
        for warning in reports.get("warnings", ())
        if warning.fslocation and Path(warning.fslocation[0]).is_relative_to(ROOT / "benchmark")
    ]
    if met:
        said += f"; deprecations that our calls meet: {len(set(met))}, first: {met[0]}"
    return said


def pytest_cmdline_main() -> int | None:
    """Name what is newer than tested; return 0, which ends the run, when nothing is (a hook of pytest)."""
    found = list(newer((ROOT / "constraints.txt").read_text("utf-8").splitlines()))
    if not found:
        print("newest versions: those of constraints.txt, so `make test` shows how the tests do")
        return int(pytest.ExitCode.OK)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    print(f"newest versions: {', '.join(found[:NAMED])}{more}")
    return None


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int) -> None:
    """Close the run with the outcome (a hook of pytest)."""
    said = outcome(terminalreporter.stats, int(exitstatus))
    terminalreporter.write_line(f"newest versions: {said}")
