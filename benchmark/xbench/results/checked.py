"""What was found when a result was checked by others: `checked.csv` in the folder of the results.

A line says of one result file, by its SHA-256, how it was checked and how much of it:

    recomputed   its scores were computed again from stored maps and references, without the model
    sampled      blocks of masks of its references were measured again, `part` of `whole` blocks
    re-run       utterances were run again from nothing, `part` of `whole` utterances

`xbench verify --record` adds a line when everything agreed. A result without a line is self-reported: its scores
follow from its columns (`xbench.claims`), and the columns are as whoever made them says.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Literal, get_args

from xbench.errors import UsageError
from xbench.inputs import read_plain

FILE = "checked.csv"
How = Literal["recomputed", "sampled", "re-run"]  # in the order of what they show
SELF_REPORTED = "self-reported"
_FILE_BYTES = 16 * 1024 * 1024
_HASH = re.compile(r"[0-9a-f]{64}")
_COUNT = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class Check:
    """One check in which everything agreed.

    result: SHA-256 of the file. part, whole: blocks of masks (`sampled`), otherwise utterances. xbench: version that
    checked. on: the day.
    """

    result: str
    how: How
    part: int
    whole: int
    xbench: str
    on: str

    @property
    def label(self) -> str:
        """How it was checked, and the share where that is not all: `sampled, 1.2 %`."""
        if self.part == self.whole:
            return self.how
        share = 100 * self.part / self.whole
        # Never more than it was: what is not all is at most 99 %.
        said = f"{min(int(share), 99)}" if share >= 10 else f"{max(share, 0.01):.2g}"
        return f"{self.how}, {said} %"


_NAMES = [field.name for field in fields(Check)]


def read_checks(path: Path) -> tuple[Check, ...]:
    """Read the lines of a file; raises UsageError with the line that is wrong."""
    try:
        text = read_plain(path, _FILE_BYTES).decode("utf-8")
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise UsageError(f"{path}: not CSV in UTF-8: {problem}") from None
    if not rows or rows[0] != _NAMES:
        raise UsageError(f"{path}: the first line is not {','.join(_NAMES)}")
    return tuple(_check(path, number, row) for number, row in enumerate(rows[1:], 2))


def _check(path: Path, line: int, row: list[str]) -> Check:
    given = dict(zip(_NAMES, row, strict=False))
    wrong = {
        "result": not _HASH.fullmatch(given.get("result", "")),
        "how": given.get("how") not in get_args(How),
        "part": not _COUNT.fullmatch(given.get("part", "")),
        "whole": not _COUNT.fullmatch(given.get("whole", "")),
    }
    for name in (name for name, is_wrong in wrong.items() if is_wrong):
        raise UsageError(f"{path}: line {line}: {given.get(name, '')[:80]!r} is no '{name}'")
    try:
        date.fromisoformat(given.get("on", ""))
    except ValueError:
        raise UsageError(f"{path}: line {line}: 'on' is no day (YYYY-MM-DD)") from None
    part, whole = int(given["part"]), int(given["whole"])
    if len(row) != len(_NAMES) or not 1 <= part <= whole:
        raise UsageError(f"{path}: line {line}: {part} of {whole} is no part of a whole")
    how: How = given["how"]  # type: ignore[assignment]  # one of them
    return Check(given["result"], how, part, whole, given["xbench"], given["on"])


def with_check(path: Path, check: Check) -> bytes:
    """Return the content of the file with one more line; it replaces one of the same kind that says no more."""
    known = read_checks(path) if path.exists() else ()
    same = (check.result, check.how)
    kept = [old for old in known if (old.result, old.how) != same or old.part > check.part]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_NAMES)
    writer.writerows(astuple(each) for each in sorted((*kept, check), key=astuple))
    return out.getvalue().encode()


def strongest(checks: Iterable[Check]) -> Mapping[str, Check]:
    """Return by result the check that shows the most: a run from nothing before a sample before a recomputation."""
    order = get_args(How)
    found: dict[str, Check] = {}
    for check in sorted(checks, key=lambda c: (order.index(c.how), c.part / c.whole)):
        found[check.result] = check
    return found
