"""Metrics that are not ours: whatever one of them does, the scores of the others are written, and it is named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

from xbench import registry
from xbench.description import MetricDescription
from xbench.errors import XbenchError, in_one_line
from xbench.metrics import Score
from xbench.surroundings import undisturbed

FAILED = Score(None, "metric-failed")
_ROUNDING = 1e-6  # by which a score may lie outside of the declared range

T = TypeVar("T")


def is_ours(description: MetricDescription) -> bool:
    """Say whether xbench itself registers a metric."""
    return any(
        each.description is description and each.distribution == registry.OURS
        for each in registry.metrics.entries()
    )


def tried(description: MetricDescription, compute: Callable[[], T]) -> T | None:
    """Return what a metric that is not ours says; None, with a warning that names it, where it fails in any way."""
    try:
        with undisturbed() as changed:
            found = compute()
        why = f"it changed {changed[0]}" if changed else None
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # noqa: BLE001  # a stranger's metric may fail in any way
        why = str(problem) if isinstance(problem, XbenchError) else in_one_line(problem)
    if why is None:
        return found
    warnings.warn(
        f"metric '{description.name}' has no value (metric-failed): {why}; try `xbench check metric`",
        stacklevel=2,
    )
    return None


def checked(description: MetricDescription, score: object) -> Score:
    """Return what a metric returned; raise XbenchError where that is no score, or outside of its range."""
    if not isinstance(score, Score):
        raise XbenchError(f"it returned a {type(score).__name__}, not a Score")
    low, high = description.range
    if score.value is not None and not (
        (low is None or score.value >= low - _ROUNDING)
        and (high is None or score.value <= high + _ROUNDING)
    ):
        raise XbenchError(f"it says {score.value:g}, outside of its range {low} to {high}")
    return score
