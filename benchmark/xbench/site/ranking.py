"""Who is distinguished from whom: the one door between the site and `xbench.stats.compare`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from xbench import stats

SEED = 0


@dataclass(frozen=True)
class Values:
    """A number per utterance, NaN where there is none, with the names of the utterances and of their clusters."""

    names: tuple[str, ...]
    clusters: tuple[str, ...]
    numbers: Float[np.ndarray, " utterance"]

    @property
    def column(self) -> list[float | None]:
        """The numbers as `xbench.stats` takes them: None where there is none."""
        return [None if number != number else number for number in self.numbers.tolist()]

    def of(self, names: tuple[str, ...]) -> list[float | None]:
        """Return the column of these utterances, in their order; None for one that is not there."""
        if names == self.names:
            return self.column
        known = dict(zip(self.names, self.column, strict=True))
        return [known.get(name) for name in names]


@dataclass(frozen=True)
class RankedPlace:
    """A rank, the ranks that the comparisons leave open, and whether it is not distinguished from the best.

    All that are not distinguished from the best share rank 1, also one that was found worse than another of them; any
    other stands after all that were found better.
    """

    rank: int
    low: int
    high: int
    best: bool


@dataclass(frozen=True)
class RankedPair:
    """Mean paired difference a - b in score, its interval, and the adjusted p of `a = b`."""

    a: str
    b: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    n: int


@dataclass(frozen=True)
class Ranking:
    """Places by name and all pairs, or the reason why there are none.

    resolution: how far from the best a method must lie to be told apart from it (`stats.Comparison`).
    """

    places: Mapping[str, RankedPlace]
    pairs: tuple[RankedPair, ...]
    n: int
    n_clusters: int
    reason: str | None
    resolution: float | None = None


def beaten(pairs: Iterable[RankedPair], higher: bool, among: Collection[str]) -> frozenset[str]:
    """Return those than which another of `among` was found better, also of those that share rank 1."""
    return frozenset(
        pair.b if (pair.difference > 0) == higher else pair.a
        for pair in pairs
        if pair.p is not None and pair.p <= stats.ALPHA and {pair.a, pair.b} <= set(among)
    )


def rank(values: Mapping[str, Values], higher: bool, unplaced: Collection[str] = ()) -> Ranking:
    """Compare contenders, by name, on their common utterances.

    unplaced: those that are compared like the others but take no place, such as controls.
    """
    names = sorted(values)
    clusters: dict[str, str] = {}
    for name in names:
        clusters.update(zip(values[name].names, values[name].clusters, strict=True))
    utterances = tuple(sorted(clusters))
    compared = stats.compare(
        names,
        [values[name].of(utterances) for name in names],
        [clusters[u] for u in utterances],
        higher_is_better=higher,
        seed=SEED,
    )
    pairs = tuple(
        RankedPair(p.first, p.second, p.difference, p.low, p.high, p.p, p.n)
        for p in compared.pairs
        if p.difference is not None
    )
    if compared.reason is not None:
        return Ranking({}, pairs, compared.n, compared.n_clusters, compared.reason)
    placed = [name for name in compared.order if name not in unplaced]
    places = _places(placed, [p for p in compared.pairs if p.distinguished], higher)
    return Ranking(places, pairs, compared.n, compared.n_clusters, None, compared.resolution)


def _places(
    placed: Sequence[str], apart: Sequence[stats.Pair], higher: bool
) -> dict[str, RankedPlace]:
    """Return the places of methods, best mean first; apart: the pairs that are distinguished."""
    better = dict.fromkeys(placed, 0)
    worse = dict.fromkeys(placed, 0)
    below: set[str] = set()  # found worse than the one with the best mean
    for pair in apart:
        if pair.first not in better or pair.second not in better or pair.difference is None:
            continue
        first_wins = (pair.difference > 0) == higher
        winner, loser = (pair.first, pair.second) if first_wins else (pair.second, pair.first)
        better[loser] += 1
        worse[winner] += 1
        below |= {loser} if winner == placed[0] else set()
    places = {}
    for name in placed:
        best = name not in below
        low = 1 if best else 1 + better[name]
        places[name] = RankedPlace(low, low, len(placed) - worse[name], best)
    return places
