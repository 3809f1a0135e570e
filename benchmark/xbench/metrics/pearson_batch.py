"""`pearson` and `pearson-paper` of many maps at once: the numbers of `xbench.metrics.agreement`, shared work."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from xbench.maps import CONSTANT, GridMap, standardise
from xbench.metrics import Score
from xbench.metrics.agreement import as_reference, statistics_rows
from xbench.metrics.batch import Judged, Maps, constant_rows, mean_over_tokens
from xbench.spec import Scoring


def pearson_of_many(maps: Maps, reference: Maps, scoring: Scoring) -> Judged:
    """Return `pearson` of every map, and Pearson's correlation of every token."""
    target = _target(reference, scoring)
    ours = np.where(maps.standardised[:, None, None], maps.rows, maps.z)
    scores = _correlations(ours, target, maps, reference)
    per_token = np.clip(np.vecdot(maps.z, reference.z) / maps.frames, -1.0, 1.0)
    tokens = mean_over_tokens(per_token, constant_rows(maps, reference)).tokens
    return Judged(scores, tokens)


def pearson_paper_of_many(maps: Maps, reference: Maps, scoring: Scoring) -> Judged:
    """Return `pearson-paper` of every map; it has no per-token values."""
    counted = statistics_rows(maps.layout, scoring)
    if len(counted) < 2:
        return Judged(
            tuple(Score(None, reason or "single-token") for reason in _refusals(maps, reference))
        )
    values = maps.generated[:, counted]
    usable = np.isfinite(values).all((1, 2))
    values[~usable] = 0.0
    ours = _column_wise(values, maps)[:, np.isin(counted, maps.content)]
    same = np.asarray(standardise(ours, axis=(1, 2))[1])
    scores = _correlations(ours, _target(reference, scoring), maps, reference)
    return Judged(
        tuple(
            Score(None, "non-finite")
            if not finite
            else Score(None, "token-constant")
            if constant and score.value is not None
            else score
            for score, constant, finite in zip(scores, same, usable, strict=True)
        )
    )


def _target(reference: Maps, scoring: Scoring) -> Float[np.ndarray, "token frame"]:
    grid = GridMap(reference.generated[0], standardised=bool(reference.standardised[0]))
    return as_reference(grid, reference.content, scoring)


def _column_wise(
    values: Float[np.ndarray, "map token frame"], maps: Maps
) -> Float[np.ndarray, "map token frame"]:
    """Z-score per column; rows first, with the resolution that leaves, where not a distribution."""
    rows, constant = standardise(values, axis=2)
    magnitude, deviation = np.abs(values).mean(2), values.std(2)
    ratio = CONSTANT * magnitude / np.where(constant, 1.0, deviation)
    varying = (~constant).sum(1)
    resolution = np.where(constant, 0.0, ratio).sum(1) / np.maximum(varying, 1)
    first = ~maps.distribution & ~maps.standardised
    resolution[maps.distribution] = 0.0
    prepared = np.where(first[:, None, None], rows, values)
    return standardise(prepared, axis=1, resolution=resolution[:, None, None])[0]


def _correlations(
    ours: Float[np.ndarray, "map token frame"],
    target: Float[np.ndarray, "token frame"],
    maps: Maps,
    reference: Maps,
) -> tuple[Score, ...]:
    centred = ours - ours.mean((1, 2), keepdims=True)
    other = target - target.mean()
    product = np.vecdot(centred, other).sum(1)
    norm = np.sqrt(np.vecdot(centred, centred).sum(1) * np.vecdot(other, other).sum())
    values = np.clip(product / np.where(norm > 0, norm, 1.0), -1.0, 1.0)
    return tuple(
        Score(None, reason) if reason else Score(value)
        for reason, value in zip(_refusals(maps, reference), values.tolist(), strict=True)
    )


def _refusals(maps: Maps, reference: Maps) -> list[str | None]:
    if reference.constant.all():
        return ["constant-reference"] * maps.size
    return ["constant-map" if constant else None for constant in maps.constant.all(1)]
