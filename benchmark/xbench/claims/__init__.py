"""Does what a result claims follow from what it holds?

One examination of a file serves `xbench validate`, `submit` and `leaderboard build`, so that they never disagree. It
recomputes what the columns of the file determine, bounds every number by what its metric allows, and holds names,
hashes, dates and counts against each other and against what is registered on this machine. What no column shows (costs,
the numbers of gates, the quality of the hypotheses where the clips are elsewhere) is named as unchecked, never passed
over. All three also hold files of one run against each other (`together`).

A new metric needs nothing here: its value, direction and range come from its description. A new field of a score needs
its computation in `recomputed`, one of a reference in `references`; a new column stands in `results.columns`.
"""

from xbench.claims.findings import Findings, edition, examine, examine_all

__all__ = ["Findings", "edition", "examine", "examine_all"]
