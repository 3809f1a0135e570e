"""What is stated held against what the columns give, in words."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from xbench import stats
from xbench.results import CeilingRecord, Interval, RunResult, ScoreRecord

# A mean is the same on every machine but for rounding; an interval also goes through quantiles.
VALUE_TOLERANCE = 1e-9
INTERVAL_TOLERANCE = 1e-6


Stated = Interval | CeilingRecord | ScoreRecord


def mean_of(column: Sequence[float | None], clusters: Sequence[str], seed: int) -> stats.Estimate:
    """Return the mean of a column with its interval; floors and ceilings are the same in every file of a run."""
    return _mean_of(tuple(column), tuple(clusters), seed)


@functools.lru_cache(maxsize=512)
def _mean_of(
    column: tuple[float | None, ...], clusters: tuple[str, ...], seed: int
) -> stats.Estimate:
    return stats.mean_estimate(column, clusters, seed=seed)


def differing(
    place: str, stated: float | None, computed: float | None, tolerance: float = VALUE_TOLERANCE
) -> Iterator[str]:
    """Yield what is wrong with a number that the columns determine."""
    if stated is None and computed is None:
        return
    if (
        stated is None
        or computed is None
        or not abs(stated - computed) <= tolerance * max(1.0, abs(computed))  # true of NaN as well
    ):
        yield f"{place}: {said(stated)}, but the utterance columns give {said(computed)}"


def as_now(result: RunResult) -> bool:
    """Say whether the intervals of a file are those of today.

    Files whose scores do not state the version of their metric are older than the intervals for skewed clusters.
    """
    return any(score.metric_version is not None for score in result.scores)


def differing_estimate(
    place: str,
    stated: Stated,
    computed: stats.Estimate,
    reasons: Sequence[str] = (),
    *,
    now: bool = True,
) -> Iterator[str]:
    """Yield what is wrong with a value, its interval and why one of them is null.

    place: empty, or with a dot at its end. reasons: what a null value may say in the place of the general reason. now:
    whether the interval is computed as today (`as_now`); an older one must hold its value.
    """
    yield from differing(f"{place}value", stated.value, computed.value)
    if now:
        ends = (computed.low, computed.high)
        found = list(_differing_interval(f"{place}ci", stated.ci, ends))
        # Before skewness moved the ends out, the interval from 40 clusters on was that of the bootstrap.
        earlier = computed.bootstrap
        if earlier is None or any(_differing_interval("", stated.ci, earlier)):
            yield from found
    else:
        yield from unordered(f"{place}ci", stated.ci, stated.value)
    allowed = {computed.reason, *(reasons if computed.reason else ())}
    if stated.reason not in allowed:
        yield f"{place}reason: {_quoted(stated.reason)}, but the utterance columns give {_quoted(computed.reason)}"
    if now and stated.ci_reason != computed.ci_reason:
        yield (
            f"{place}ci_reason: {_quoted(stated.ci_reason)}, but the utterance columns give "
            f"{_quoted(computed.ci_reason)}"
        )


def _differing_interval(
    place: str, stated: list[float] | None, computed: tuple[float | None, float | None]
) -> Iterator[str]:
    if stated is None or None in computed:
        if (stated is None) != (None in computed):
            yield f"{place}: {_interval(stated)}, but the utterance columns give {_interval(computed)}"
        return
    if any(
        any(differing("", s, c, INTERVAL_TOLERANCE)) for s, c in zip(stated, computed, strict=True)
    ):
        yield f"{place}: {_interval(stated)}, but the utterance columns give {_interval(computed)}"


def nothing_stated(place: str, stated: Stated) -> Iterator[str]:
    """Yield what is wrong with a number that no column can give: it must be null, with a reason."""
    if stated.value is not None or stated.ci is not None:
        yield f"{place}value: {said(stated.value)}, but there is no column to compute it from"
    elif not stated.reason:
        yield f"{place}reason: null; a missing value has one"


def outside(
    place: str, value: float | None, bounds: tuple[float | None, float | None]
) -> Iterator[str]:
    """Yield a number that lies beyond what it can be (bounds: lowest and highest, None for none)."""
    if value is None:
        return
    low, high = bounds
    slack = INTERVAL_TOLERANCE
    if (low is not None and value < low - slack) or (high is not None and value > high + slack):
        yield f"{place}: {said(value)} is not between {said(low)} and {said(high)}".replace(
            "null", "anything"
        )


def unordered(place: str, interval: Sequence[float] | None, value: float | None) -> Iterator[str]:
    """Yield an interval whose ends are the wrong way round, or that does not hold its value."""
    if interval is None:
        return
    low, high = interval
    if low > high or (
        value is not None and not low - INTERVAL_TOLERANCE <= value <= high + INTERVAL_TOLERANCE
    ):
        yield f"{place}: {_interval(interval)} does not hold {said(value)}"


def _interval(ends: Sequence[float | None] | None) -> str:
    return "null" if ends is None or None in ends else f"[{', '.join(map(said, ends))}]"


def said(value: float | None, digits: int = 12) -> str:
    """Write a number as a message states it: null where there is none."""
    return "null" if value is None else f"{value:.{digits}g}"


def _quoted(text: str | None) -> str:
    return "null" if text is None else f"'{text}'"
