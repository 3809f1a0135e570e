"""Rows that others cannot make again: how many of a page's rows, and what of them others do not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xbench.site.shared import Shared, shared
from xbench.site.tables.entries import ListedRun


@dataclass(frozen=True)
class Local:
    """count: how many of how many (of) results are local; reasons: why, with how many of them each."""

    count: int
    of: int
    reasons: Shared[str]


def local_of(runs: Sequence[ListedRun]) -> Local:
    """Return which of these results others cannot make again."""
    local = [run.local for run in runs if run.local]
    return Local(len(local), len(runs), shared("; ".join(reasons) for reasons in local))
