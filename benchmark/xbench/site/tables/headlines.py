"""Which scores stand first: of each family of metrics the one that tasks rank by, or most results carry."""

from __future__ import annotations

from collections import Counter

from xbench.results import column_name
from xbench.site.tables.entries import ScoreKey
from xbench.site.tables.tabulate import Tables


def shown_scores(tables: Tables) -> list[ScoreKey]:
    """Return the headline of each family that has one, agreement first."""
    found = [headline(tables, family) for family in ("agreement", "intervention", "other")]
    shown = [key for key in found if key is not None]
    return shown[:2] if len(shown) > 1 else shown


def headline(tables: Tables, family: str) -> ScoreKey | None:
    """Return the metric and reference of a family that most results carry.

    What tasks name as their headline comes first.
    """
    named = Counter(run.task.headline for run in tables.runs)
    carried = Counter((row.metric, row.reference) for row in tables.rows if row.value is not None)
    found = {
        key
        for key in (*named, *carried)
        if tables.metrics.get(key[0]) is not None and tables.metrics[key[0]].family == family
    }
    return max(
        found, key=lambda k: (named[k], carried[k], _backwards(column_name(*k))), default=None
    )


def _backwards(text: str) -> tuple[int, ...]:
    """Turn alphabetical order around, for a maximum that should take the first name."""
    return tuple(-ord(c) for c in text)
