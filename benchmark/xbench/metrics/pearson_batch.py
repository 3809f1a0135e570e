"""`pearson` and `pearson-paper` of many maps at once: the values of `xbench.metrics.agreement`, with shared work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from xbench.maps import CONSTANT, GridMap, standardise
from xbench.metrics import Score
from xbench.metrics.agreement import ROW_SUM, as_reference, of_sum_one, statistics_rows
from xbench.metrics.batch import Judged, Maps, mean_over_tokens
from xbench.spec import Scoring


def pearson_of_many(maps: Maps, reference: Maps, scoring: Scoring) -> Judged:
    """Return `pearson` of every map, and Pearson's correlation of every token."""
    ours = _unless(maps.standardised, maps.rows, maps.z)
    values, _ = _correlations(ours, _target(reference, scoring))
    per_token = np.clip(np.vecdot(maps.z, reference.z) / maps.frames, -1.0, 1.0)
    # A constant row of the map is 0 here as in the correlation, so that nobody gains by leaving out hard tokens.
    tokens = mean_over_tokens(per_token, {"constant-reference": reference.constant}).tokens
    return Judged(_scores(values, _refusals(maps, reference)), tokens)


def pearson_paper_of_many(
    maps: Maps, reference: Maps, scoring: Scoring, *, rows: str = ROW_SUM
) -> Judged:
    """Return `pearson-paper` of every map; it has no per-token values."""
    counted = statistics_rows(maps.layout, scoring)
    reasons = _refusals(maps, reference)
    if len(counted) < 2:
        return Judged(tuple(Score(None, reason or "single-token") for reason in reasons))
    if np.array_equal(counted, maps.content):
        ours = _column_wise(maps.rows, maps, rows)
        usable = maps.finite
    else:
        generated = maps.generated.take(counted, axis=1)
        usable = np.isfinite(generated).all((1, 2))
        generated[~usable] = 0.0
        columns = _column_wise(generated, maps, rows)
        ours = columns.compress(np.isin(counted, maps.content), axis=1)
    values, same = _correlations(ours, _target(reference, scoring))
    for index in range(maps.size):
        if not usable[index]:
            reasons[index] = "non-finite"
        elif same[index]:
            reasons[index] = reasons[index] or "token-constant"
    return Judged(_scores(values, reasons))


def _target(reference: Maps, scoring: Scoring) -> Float[np.ndarray, "token frame"]:
    grid = GridMap(reference.generated[0], standardised=bool(reference.standardised[0]))
    return as_reference(grid, reference.content, scoring)


def _unless(
    which: Bool[np.ndarray, " map"],
    first: Float[np.ndarray, "map token frame"],
    second: Float[np.ndarray, "map token frame"],
) -> Float[np.ndarray, "map token frame"]:
    """Return the first values for the maps `which`, the second ones for the others."""
    if which.all() or not which.any():
        return first if which.all() else second
    return np.where(which[:, None, None], first, second)


def _column_wise(
    rows: Float[np.ndarray, "map token frame"], maps: Maps, scale: str
) -> Float[np.ndarray, "map token frame"]:
    """Bring rows to one scale and z-score per column; z-scored rows have a limited resolution."""
    if scale == ROW_SUM:
        return standardise(_unless(maps.standardised, rows, of_sum_one(rows)), axis=1)[0]
    content = rows is maps.rows
    z, constant = (maps.z, maps.constant) if content else standardise(rows, axis=2)
    ratio = CONSTANT * np.abs(rows).mean(2) / np.where(constant, 1.0, rows.std(2))
    varying = np.maximum((~constant).sum(1), 1)
    resolution = np.where(constant, 0.0, ratio).sum(1) / varying
    prepared = _unless(maps.standardised, rows, z)
    return standardise(prepared, axis=1, resolution=resolution[:, None, None])[0]


def _correlations(
    ours: Float[np.ndarray, "map token frame"], target: Float[np.ndarray, "token frame"]
) -> tuple[Float[np.ndarray, " map"], Bool[np.ndarray, " map"]]:
    """Return Pearson's correlation of flattened maps with the target, and which maps are constant."""
    # One axis at a time: over two at once, numpy adds in an order that depends on the batch.
    centred = ours - ours.mean(2).mean(1)[:, None, None]
    other = target - target.mean()
    squares = np.vecdot(centred, centred).sum(1)
    norm = np.sqrt(squares * np.vecdot(other, other).sum())
    values = np.vecdot(centred, other).sum(1) / np.where(norm > 0, norm, 1.0)
    constant = np.sqrt(squares / target.size) <= CONSTANT * np.abs(ours).mean(2).mean(1)
    return np.clip(values, -1.0, 1.0), constant


def _refusals(maps: Maps, reference: Maps) -> list[str | None]:
    if reference.constant.all():
        return ["constant-reference"] * maps.size
    return ["constant-map" if constant else None for constant in np.asarray(maps.constant.all(1))]


def _scores(values: Float[np.ndarray, " map"], reasons: Sequence[str | None]) -> tuple[Score, ...]:
    return tuple(
        Score(None, reason) if reason else Score(value)
        for value, reason in zip(values.tolist(), reasons, strict=True)
    )
