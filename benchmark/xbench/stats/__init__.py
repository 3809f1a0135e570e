"""Every interval, test and rank in one place; utterances come in clusters (speaker or talk).

`intervals`: means, skill, disattenuated scores. `attenuation`: what noise leaves of a correlation. `comparison`: which
methods differ, and which ranks remain possible for each. `pareto`: the points that no other beats in both cost and
score. `ranking`: whether two scores order the methods alike.
"""

from __future__ import annotations

from xbench.stats.attenuation import noise_free, signed_root
from xbench.stats.comparison import ALPHA, Comparison, Pair, compare
from xbench.stats.intervals import (
    FEWEST_CLUSTERS,
    Column,
    Estimate,
    disattenuated,
    estimates,
    mean_estimate,
    skill,
)
from xbench.stats.pareto import pareto_front
from xbench.stats.ranking import rank_agreement

__all__ = [
    "ALPHA",
    "FEWEST_CLUSTERS",
    "Column",
    "Comparison",
    "Estimate",
    "Pair",
    "compare",
    "disattenuated",
    "estimates",
    "mean_estimate",
    "noise_free",
    "pareto_front",
    "rank_agreement",
    "signed_root",
    "skill",
]
