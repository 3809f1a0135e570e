"""Which head is best for what: heads ordered by explanation, by word times and by streaming advice.

explanation   agreement with the reference: the score of the results, higher is better
timing        mean distance of word onsets from the known ones, lower is better (`decisions.words`)
streaming     area of the delay over regret of `alignatt`, lower is better (`decisions.streaming`)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from xbench import stats
from xbench.data.manifest import Manifest
from xbench.decisions.tables import RunTables, Table, mean_known, run_tables
from xbench.errors import UsageError, nearest
from xbench.results import RunResult
from xbench.store import Store

PURPOSES = ("explanation", "timing", "streaming")
_USES = {"timing": "word-times", "streaming": "delay"}


@dataclass(frozen=True)
class HeadFor:
    """One head: its place by every purpose, from 1, and its mean there (higher is better; None: not known)."""

    layer: int
    head: int
    places: Mapping[str, int]
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Purposes:
    """All heads by one purpose, best first, and whether the purposes agree.

    best: the (layer, head) that leads by each purpose. tau: Kendall's tau-b between the orders of each pair of
    purposes, with its interval over clusters. agree: all purposes have one best head. absent: what the clips do not
    tell, and why.
    """

    by: str
    heads: tuple[HeadFor, ...]
    best: Mapping[str, tuple[int, int]]
    tau: Mapping[str, stats.Estimate]
    agree: bool
    absent: tuple[str, ...]


def check_purpose(by: str, manifest: Manifest) -> None:
    """Refuse an unknown purpose, and `timing` where no clip has word times, before anything is computed."""
    if by not in PURPOSES:
        raise UsageError(f"--for '{by}' is none of {', '.join(PURPOSES)}{nearest(by, PURPOSES)}")
    if by == "timing" and not any(utterance.words for utterance in manifest.utterances):
        raise UsageError(
            "--for timing: no clip has word times; give a manifest with `words` (`xbench data words` makes one)"
        )


def heads_for(results: Sequence[RunResult], by: str, *, store: Store) -> Purposes:
    """Order single heads of one run by a purpose, and compare the purposes; loads no model.

    results: of `raw-attention`, scored by one metric. Raises UsageError for a purpose that the clips do not tell.
    """
    tables, absent = run_tables(results, store, tuple(_USES.values()))
    judge = next(iter(tables.judges), None)
    columns: dict[str, Table] = {"explanation": tables.judges[judge]} if judge else {}
    for purpose, use in _USES.items():
        if use in tables.uses:
            columns[purpose] = tables.uses[use]
    if by not in columns:
        raise UsageError(f"heads cannot be ordered for {by}: {'; '.join(absent) or 'no score'}")
    named = tables.heads
    means = {p: {k: mean_known(column[k]) for k in named} for p, column in columns.items()}
    orders = {purpose: _best_first(own) for purpose, own in means.items()}
    heads = tuple(
        HeadFor(
            *named[label],
            {purpose: order.index(label) + 1 for purpose, order in orders.items()},
            {purpose: own[label] for purpose, own in means.items()},
        )
        for label in orders[by]
    )
    best = {purpose: named[order[0]] for purpose, order in orders.items()}
    return Purposes(
        by,
        heads,
        best,
        {
            f"{one} and {other}": _tau(tables, columns[one], columns[other])
            for one, other in combinations(columns, 2)
        },
        len(set(best.values())) == 1,
        tuple(absent),
    )


def _best_first(means: Mapping[str, float | None]) -> list[str]:
    """Order by the mean, the highest first; what is not known comes last."""
    known = {label: -math.inf if mean is None else mean for label, mean in means.items()}
    return sorted(known, key=lambda label: -known[label])


def _tau(tables: RunTables, first: Table, second: Table) -> stats.Estimate:
    labels = list(tables.heads)
    return stats.rank_agreement(
        [first[label] for label in labels],
        [second[label] for label in labels],
        tables.clusters,
        seed=tables.seed,
    )
