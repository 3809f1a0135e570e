"""Paired differences to mean-heads, the method that others have to beat: the pairs that ranks come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from xbench.site.ranking import RankedPair
from xbench.site.tables.boards import Number, rounded
from xbench.site.tables.entries import Config
from xbench.site.tables.tabulate import Tables

BASE = "mean-heads"
LEVEL = 0.05  # as on the page that compares two


@dataclass(frozen=True)
class Difference:
    """Mean of score - score of mean-heads over common utterances, its interval, the adjusted p of 0."""

    value: float
    low: Number
    high: Number
    p: Number
    outcome: Literal["better", "worse", "tied", "undecided"]


def base_of(tables: Tables) -> Config | None:
    """Return mean-heads with its default parameters, if there are results of it."""
    return next((c for c in tables.configs if c.method == BASE and c.label == BASE), None)


def differences(pairs: Iterable[RankedPair], base: str, higher: bool) -> Mapping[str, Difference]:
    """Return the difference of every configured method that was paired with `base`, by slug."""
    found = {}
    for pair in pairs:
        if pair.b == base:
            found[pair.a] = _difference(pair.difference, pair.low, pair.high, pair.p, higher)
        elif pair.a == base:
            low = None if pair.high is None else -pair.high
            high = None if pair.low is None else -pair.low
            found[pair.b] = _difference(-pair.difference, low, high, pair.p, higher)
    return found


def _difference(value: float, low: Number, high: Number, p: Number, higher: bool) -> Difference:
    p = rounded(p)
    ahead = (value > 0) == higher
    outcome: Literal["better", "worse", "tied", "undecided"]
    if p is None:
        outcome = "undecided"
    elif p >= LEVEL:
        outcome = "tied"
    else:
        outcome = "better" if ahead else "worse"
    return Difference(round(value, 4) + 0.0, rounded(low), rounded(high), p, outcome)
