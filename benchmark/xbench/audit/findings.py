"""What follows from the scores of a ladder: recovered order, sensitivity, blind spots.

    order        Kendall's tau-b between the steps and the metric's means, with an interval over clusters
    sensitivity  the smallest step from which on every step is told apart from the map as it was
    blind spots  steps that raise the score, and ladders no step of which changes any score

A step is told apart where the 95 % interval of the mean paired change lies on the worse side of 0. It raises the score
where the interval lies on the better side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from xbench import registry, stats
from xbench.audit.judged import Judgement, Steps

# Changes below this are rounding.
_NONE = 1e-9
# A test at 5 % finds a change in this share of samples, given the number of clips that `clips_needed` returns.
POWER = 0.8


@dataclass(frozen=True)
class Step:
    """One step of a ladder: the mean change for the worse, in the unit of the metric (positive: judged worse).

    clips_needed: with how many clips, clustered as these are, the change would be found four times out of five;
    None where the mean change is not for the worse.
    """

    size: float
    worse_by: stats.Estimate
    clips_needed: int | None

    @property
    def told_apart(self) -> bool:
        """Whether the map is judged worse than it was before."""
        return _beyond(self.worse_by, 1)

    @property
    def raises(self) -> bool:
        """Whether the worse map gets the better score."""
        return _beyond(self.worse_by, -1)


@dataclass(frozen=True)
class Finding:
    """What one metric says of one ladder, from one start and against one reference.

    intact: the mean score of the map as it was. blind: no step changes the score of any clip.
    sensitivity: the smallest size from which on all steps are told apart; None if the largest is not.
    raised: the sizes that raise the score.
    """

    start: str
    metric: str
    reference: str
    ladder: str
    unit: str
    intact: float | None
    order: stats.Estimate
    steps: tuple[Step, ...]
    blind: bool
    sensitivity: float | None
    raised: tuple[float, ...]


def findings(judgement: Judgement) -> list[Finding]:
    """Return what follows for every start, metric, reference and ladder."""
    return [finding(steps, judgement.clusters, judgement.seed) for steps in judgement.steps]


def finding(steps: Steps, clusters: Sequence[str], seed: int) -> Finding:
    """Return what one metric says of one ladder."""
    sign = 1 if registry.metrics.get(steps.metric.name).higher_is_better else -1
    upward = [[None if v is None else sign * v for v in row] for row in steps.values]
    known = [[float(-step)] * len(clusters) for step in range(len(upward))]
    intact = stats.mean_estimate(steps.values[0], clusters, seed=seed).value
    changes = [_difference(upward[0], row) for row in upward[1:]]
    every = tuple(
        Step(size, stats.mean_estimate(change, clusters, seed=seed), clips_needed(change, clusters))
        for size, change in zip(steps.ladder.sizes, changes, strict=True)
    )
    moved = [abs(value) for change in changes for value in change if value is not None]
    return Finding(
        start=steps.start,
        metric=str(steps.metric),
        reference=steps.reference,
        ladder=steps.ladder.name,
        unit=steps.ladder.unit,
        intact=intact,
        order=stats.rank_agreement(known, upward, clusters, seed=seed),
        steps=every,
        blind=bool(moved) and max(moved) <= _NONE,
        sensitivity=_sensitivity(every),
        raised=tuple(step.size for step in every if step.raises),
    )


def _difference(
    intact: Sequence[float | None], worse: Sequence[float | None]
) -> list[float | None]:
    return [None if a is None or b is None else a - b for a, b in zip(intact, worse, strict=True)]


def _beyond(change: stats.Estimate, side: int) -> bool:
    """Say whether a change is surely on one side of 0: its interval is, or all clusters have the same change."""
    if change.value is None or side * change.value <= _NONE:
        return False
    if change.low is None or change.high is None:
        return change.ci_reason == "no-variation-between-clusters"
    return change.low > 0 if side > 0 else change.high < 0


def _sensitivity(steps: Sequence[Step]) -> float | None:
    smallest = None
    for step in reversed(steps):
        if not step.told_apart:
            break
        smallest = step.size
    return smallest


def clips_needed(change: Sequence[float | None], clusters: Sequence[str]) -> int | None:
    """Return with how many clips a two-sided test at 5 % would find the mean change with a power of 0.8.

    n ((z_0.975 + z_0.8) se / mean)^2, se from the sums of the clusters; at least as many clips as make the fewest
    clusters that have an interval. None where the mean is not positive, or fewer than two clusters have a value.
    """
    kept = [
        (value, name) for value, name in zip(change, clusters, strict=True) if value is not None
    ]
    names, index = np.unique([name for _, name in kept], return_inverse=True)
    if len(names) < 2:
        return None
    values = np.array([value for value, _ in kept])
    n, mean = len(values), float(values.mean())
    if mean <= _NONE:
        return None
    residuals = np.bincount(index, weights=values - mean)
    error = math.sqrt(len(names) / (len(names) - 1) * float(residuals @ residuals)) / n
    needed = n * ((float(ndtri(0.975)) + float(ndtri(POWER))) * error / mean) ** 2
    return max(math.ceil(needed), math.ceil(stats.FEWEST_CLUSTERS * n / len(names)))
