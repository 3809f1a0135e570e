"""Every interval, test and rank in one place; utterances come in clusters (speaker or talk).

`intervals`: means, skill, disattenuated scores. `comparison`: which methods differ, and the ranks
this leaves open. `rank_agreement`: whether two scores order the methods alike.
"""

from __future__ import annotations

from xbench.stats.comparison import Comparison, Pair, compare
from xbench.stats.intervals import Estimate, disattenuated, mean_estimate, skill
from xbench.stats.ranking import rank_agreement

__all__ = [
    "Comparison",
    "Estimate",
    "Pair",
    "compare",
    "disattenuated",
    "mean_estimate",
    "rank_agreement",
    "skill",
]
