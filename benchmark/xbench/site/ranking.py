"""Who is distinguished from whom: the one door between the site and `xbench.stats.compare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xbench import stats

SEED = 0

Values = Mapping[str, tuple[float | None, str]]


@dataclass(frozen=True)
class Place:
    """Position by mean score, its interval, and whether it is not distinguished from the best."""

    rank: int
    low: int
    high: int
    best: bool


@dataclass(frozen=True)
class Pair:
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

    places: Mapping[str, Place]
    pairs: tuple[Pair, ...]
    n: int
    n_clusters: int
    reason: str | None


def rank(values: Mapping[str, Values], higher: bool) -> Ranking:
    """Compare contenders (name to utterance to value and cluster) on their common utterances."""
    if len(values) < 2:
        return Ranking({}, (), 0, 0, "nothing-to-compare-with")
    names = sorted(values)
    utterances = sorted(set.union(*(set(values[name]) for name in names)))
    clusters = {u: cluster for name in names for u, (_, cluster) in values[name].items()}
    missing = (None, "")
    compared = stats.compare(
        names,
        [[values[name].get(u, missing)[0] for u in utterances] for name in names],
        [clusters[u] for u in utterances],
        higher_is_better=higher,
        seed=SEED,
    )
    if compared.reason is not None:
        return Ranking({}, (), compared.n, compared.n_clusters, compared.reason)
    means = {name: _mean(values[name]) for name in names}
    best_first = sorted(names, key=lambda name: (-means[name] if higher else means[name], name))
    places = {
        name: Place(
            position, compared.rank_low[name], compared.rank_high[name], name in compared.best_group
        )
        for position, name in enumerate(best_first, 1)
    }
    pairs = tuple(
        Pair(p.a, p.b, p.difference, p.low, p.high, p.p, compared.n) for p in compared.pairs
    )
    return Ranking(places, pairs, compared.n, compared.n_clusters, None)


def _mean(values: Values) -> float:
    defined = [value for value, _ in values.values() if value is not None]
    return sum(defined) / len(defined) if defined else 0.0
