"""Who is distinguished from whom: the one door between the site and `xbench.stats.compare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xbench import stats

SEED = 0

Values = Mapping[str, tuple[float | None, str]]


@dataclass(frozen=True)
class RankedPlace:
    """Position by mean score, its interval, and whether it is not distinguished from the best."""

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
    """Places by name and all pairs, or the reason why there are none."""

    places: Mapping[str, RankedPlace]
    pairs: tuple[RankedPair, ...]
    n: int
    n_clusters: int
    reason: str | None


def rank(values: Mapping[str, Values], higher: bool) -> Ranking:
    """Compare contenders (name to utterance to value and cluster) on their common utterances."""
    names = sorted(values)
    clusters = {u: cluster for name in names for u, (_, cluster) in values[name].items()}
    utterances = sorted(clusters)
    missing = (None, "")
    compared = stats.compare(
        names,
        [[values[name].get(u, missing)[0] for u in utterances] for name in names],
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
    places = {
        name: RankedPlace(
            position, compared.rank_low[name], compared.rank_high[name], name in compared.best_group
        )
        for position, name in enumerate(compared.order, 1)
    }
    return Ranking(places, pairs, compared.n, compared.n_clusters, None)
