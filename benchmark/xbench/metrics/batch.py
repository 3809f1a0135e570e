"""Many maps of one utterance judged at once, and what metrics share of a map or a reference.

`Maps` holds the maps of several methods, or one reference (a batch of one), on one grid. What several
metrics need of its content rows (constancy, z-scores, order, ranks, mass) is computed once, on first use.
A batched metric is a function (maps, reference, scoring, **params) to `Judged`. The score of a map must not
depend on which other maps are in the batch.

Refusals of a whole map, in the order they are looked for:

    empty-hypothesis     no content token
    too-few-frames       fewer than 3 encoder frames
    non-finite           a NaN or an infinity in a content row of the map or of the reference
    constant-reference   every content row of the reference is constant
    constant-map         every content row of the map is constant
    no-token-defined     no token has a value, for different reasons

A token whose row is constant (up to 1e-6 of its mean magnitude) in the reference or in the map says
nothing about where, so it has no value; it is left out of the mean and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from xbench.description import MetricDescription, load_object
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout, standardise
from xbench.metrics import Score
from xbench.metrics.agreement import FEWEST_FRAMES
from xbench.metrics.strangers import FAILED, checked, is_ours, tried
from xbench.spec import Scalar, Scoring

CELLS_AT_ONCE = 1 << 20
Spans = tuple[tuple[float, float] | None, ...]


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps of one utterance on one grid: generated [map, token, frame], all generated rows.

    standardised: as in `GridMap`, one per map. A reference is a batch of one.
    """

    generated: Float64[np.ndarray, "map token frame"]
    standardised: Bool[np.ndarray, " map"]
    layout: Layout
    _top: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, grids: Sequence[GridMap], layout: Layout) -> Maps:
        """Stack maps of one shape; raises UsageError where a shape does not fit the layout."""
        shapes = {grid.values.shape for grid in grids}
        for shape in shapes:
            if len(shapes) > 1 or shape[0] != len(layout.tokens):
                raise UsageError(
                    f"maps of shape {sorted(map(list, shapes))} cannot be judged together over "
                    f"{len(layout.tokens)} tokens"
                )
        return cls(
            np.stack([grid.values for grid in grids]).astype(np.float64),
            np.array([grid.standardised for grid in grids]),
            layout,
        )

    @property
    def size(self) -> int:
        """The number of maps."""
        return len(self.generated)

    @property
    def frames(self) -> int:
        """The number of encoder frames that are judged."""
        return int(self.generated.shape[2])

    @property
    def frame_seconds(self) -> float:
        """The duration of an encoder frame in seconds."""
        return self.layout.stride * self.layout.melframe_seconds

    @cached_property
    def content(self) -> Int[np.ndarray, " token"]:
        """The indices of the rows that are judged."""
        return np.asarray(self.layout.content, dtype=np.intp)

    @cached_property
    def finite(self) -> Bool[np.ndarray, " map"]:
        """Which maps hold only finite numbers in their content rows."""
        return np.asarray(np.isfinite(self.generated[:, self.content]).all((1, 2)))

    @cached_property
    def rows(self) -> Float64[np.ndarray, "map token frame"]:
        """The content rows; zeros for a map that is not finite, which is refused as a whole."""
        rows: Float64[np.ndarray, "map token frame"] = self.generated.take(self.content, axis=1)
        rows[~self.finite] = 0.0
        return rows

    @cached_property
    def _standardised(self) -> tuple[np.ndarray, np.ndarray]:
        return standardise(self.rows, axis=2)

    @property
    def z(self) -> Float64[np.ndarray, "map token frame"]:
        """The content rows z-scored per row (population), zeros where constant."""
        return self._standardised[0]

    @property
    def constant(self) -> Bool[np.ndarray, "map token"]:
        """Which content rows are constant up to rounding."""
        return self._standardised[1]

    # -- order ------------------------------------------------------------------------------------

    @cached_property
    def ascending(self) -> Float64[np.ndarray, "map token frame"]:
        """The values of each content row in rising order."""
        return np.sort(self.rows, axis=2)

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        first, last = runs(self.ascending)
        order = np.argsort(self.rows, axis=2)
        found = []
        for places in (first, last) if last is not first else (first,):
            of_frame = np.empty(order.shape, dtype=np.int32)
            np.put_along_axis(of_frame, order, np.broadcast_to(places, order.shape), axis=2)
            found.append(of_frame)
        return found[0], found[-1]

    @property
    def first(self) -> Int[np.ndarray, "map token frame"]:
        """How many frames of the row are lower: the first place, from 0, among equal values."""
        return self._places[0]

    @property
    def last(self) -> Int[np.ndarray, "map token frame"]:
        """The last place among equal values, from 0."""
        return self._places[1]

    @cached_property
    def ranks(self) -> Float64[np.ndarray, "map token frame"]:
        """Ranks from 1, the mean rank among equal values (as scipy.stats.rankdata)."""
        ranks: Float64[np.ndarray, "map token frame"] = (self.first + self.last) * 0.5 + 1.0
        return ranks

    def top(self, count: Int[np.ndarray, "#map token"]) -> Float64[np.ndarray, "out token frame"]:
        """Return how far each frame belongs to the `count` highest ones of its row; sums to `count`.

        1 above the threshold, 0 below; frames that are equal at the threshold share what is left:
        the expectation under a random order of ties, so that no order of the frames is preferred.
        """
        key = f"{count.shape}{count.tobytes().hex()}"
        if key not in self._top:
            place = np.broadcast_to(self.frames - count, self.rows.shape[:2])[..., None]
            threshold = np.take_along_axis(self.ascending, place, axis=2)
            member = (self.rows > threshold).astype(np.float64)
            at = self.rows == threshold
            free = count - member.sum(2)
            member += at * (free / at.sum(2))[..., None]
            self._top[key] = member
        return self._top[key]

    # -- mass -------------------------------------------------------------------------------------

    @cached_property
    def mass(self) -> Float64[np.ndarray, "map token frame"]:
        """The content rows as distributions over frames; zeros for a constant row.

        The minimum of each row is subtracted, of maps and references alike: masked means contain an unknown
        baseline per token (the divergence under an average mask). Source: protocol section 3.1.
        """
        low = self.rows.min(2, keepdims=True)
        raised = np.where(self.constant[..., None], 0.0, self.rows - low)
        total = raised.sum(2, keepdims=True)
        return raised / np.where(total > 0, total, 1.0)

    @cached_property
    def cumulative(self) -> Float64[np.ndarray, "map token frame"]:
        """The mass up to and including each frame."""
        return np.cumsum(self.mass, axis=2)


def runs(ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each place of sorted rows the first and the last place with the same value.

    Both are the same array where no row holds a value twice. Shapes: [..., place], broadcastable.
    """
    places = np.arange(ascending.shape[-1], dtype=np.int32)
    new = ascending[..., 1:] != ascending[..., :-1]
    if new.all():
        return places, places
    edge = np.ones((*ascending.shape[:-1], 1), dtype=bool)
    starts = np.concatenate([edge, new], axis=-1)
    stops = np.concatenate([new, edge], axis=-1)
    first = np.maximum.accumulate(np.where(starts, places, 0), axis=-1)
    high = np.where(stops, places, len(places))
    last = np.minimum.accumulate(high[..., ::-1], axis=-1)[..., ::-1]
    return first, last


@dataclass(frozen=True)
class Tokens:
    """Per-token values of many maps: values [map, token] over the content tokens.

    why: [map, token], 0 where there is a value, else 1 + the index of the reason in `reasons`.
    """

    values: Float[np.ndarray, "map token"]
    why: Int[np.ndarray, "map token"]
    reasons: tuple[str, ...]

    def of(self, index: int) -> list[Score]:
        """Return the value or the reason of every content token of one map."""
        return [
            Score(None, self.reasons[code - 1]) if code else Score(float(value))
            for value, code in zip(self.values[index], self.why[index], strict=True)
        ]


@dataclass(frozen=True)
class Judged:
    """The scores of many maps against one reference, and the per-token values where there are any."""

    scores: tuple[Score, ...]
    tokens: Tokens | None = None


Batched = Callable[..., Judged]
NO_TOKEN_VALUES = "no-token-values"
"""Why a metric that is no mean over tokens has nothing by effect."""


def weighted_means(judged: Judged, weights: Float[np.ndarray, " token"]) -> tuple[Score, ...]:
    """Return per map the mean of the per-token values, weighted: sum_i w_i x_i / sum_i w_i over defined tokens.

    weights: one per content token, not negative. Null: the score's own reason where it has none;
    `no-token-values` for a metric that is no mean over tokens; `no-weight` where no defined token has any.
    """
    tokens = judged.tokens
    if tokens is None:
        return tuple(Score(None, score.reason or NO_TOKEN_VALUES) for score in judged.scores)
    counted = np.where(tokens.why == 0, weights, 0.0)
    total = counted.sum(axis=1)
    means = (counted * tokens.values).sum(axis=1) / np.where(total > 0, total, 1.0)
    return tuple(
        Score(None, score.reason or "no-weight")
        if score.value is None or weight <= 0
        else Score(float(mean))
        for score, mean, weight in zip(judged.scores, means, total, strict=True)
    )


def mean_over_tokens(
    values: Float[np.ndarray, "map token"], undefined: Mapping[str, Bool[np.ndarray, "#map #token"]]
) -> Judged:
    """Return per map the mean of its defined per-token values, and count the tokens left out.

    undefined: reason to the tokens it holds for; the first reason of a token counts. Where no token
    has a value, the score is null with the first reason that holds for all, else
    `no-token-defined`.
    """
    reasons = tuple(undefined)
    masks = [np.broadcast_to(mask, values.shape) for mask in undefined.values()]
    why = np.zeros(values.shape, dtype=np.int8)
    for code in range(len(masks), 0, -1):
        why[masks[code - 1]] = code
    defined = why == 0
    kept = defined.sum(1)
    means = np.where(defined, values, 0.0).sum(1) / np.maximum(kept, 1)
    counts = np.stack([(why == code).sum(1) for code in range(1, len(reasons) + 1)], axis=1)
    scores = []
    for index, (mean, row) in enumerate(zip(means.tolist(), counts.tolist(), strict=True)):
        left_out = tuple((slug, n) for slug, n in zip(reasons, row, strict=True) if n)
        if kept[index]:
            scores.append(Score(mean, None, left_out))
        else:
            shared = (s for s, mask in zip(reasons, masks, strict=True) if mask[index].all())
            scores.append(Score(None, next(shared, "no-token-defined"), left_out))
    return Judged(tuple(scores), Tokens(np.where(defined, values, 0.0), why, reasons))


def constant_rows(maps: Maps, reference: Maps) -> dict[str, Bool[np.ndarray, "_ token"]]:
    """Return the two reasons that every comparison of rows shares."""
    return {"constant-reference": reference.constant, "constant-map": maps.constant}


def judge(batched: Batched, maps: Maps, reference: Maps, scoring: Scoring, **params: Any) -> Judged:
    """Judge all maps by one batched metric; maps for which no metric can be computed get the reason.

    Raises UsageError where the grids of maps and reference differ.
    """
    if maps.generated.shape[1:] != reference.generated.shape[1:]:
        raise UsageError(
            f"a map of shape {list(maps.generated.shape[1:])} cannot be compared with a reference "
            f"of shape {list(reference.generated.shape[1:])} over {len(maps.layout.tokens)} tokens"
        )
    reason = None
    if len(maps.content) == 0:
        reason = "empty-hypothesis"
    elif maps.frames < FEWEST_FRAMES:
        reason = "too-few-frames"
    elif not reference.finite.all():
        reason = "non-finite"
    if reason:
        return Judged((Score(None, reason),) * maps.size)
    judged = batched(maps, reference, scoring, **params)
    scores = tuple(
        score if finite else Score(None, "non-finite")
        for score, finite in zip(judged.scores, maps.finite, strict=True)
    )
    return Judged(scores, judged.tokens)


def judge_one(
    batched: Batched,
    method: GridMap,
    reference: GridMap,
    layout: Layout,
    scoring: Scoring,
    **params: Any,
) -> Score:
    """Judge a single map by a batched metric."""
    maps, against = Maps.of([method], layout), Maps.of([reference], layout)
    return judge(batched, maps, against, scoring, **params).scores[0]


def score_all(
    description: MetricDescription,
    params: Mapping[str, Scalar],
    maps: Maps,
    reference: Maps,
    scoring: Scoring,
    spans: Spans | None,
) -> Judged:
    """Score every map by a metric: at once where it has a batched form, else one by one, without per-token values."""
    given: dict[str, Any] = dict(params)
    if "words" in description.needs:
        given["spans"] = spans
    if is_ours(description):
        return _judged(description, maps, reference, scoring, given)
    found = tried(
        description, lambda: _judged(description, maps, reference, scoring, given, strange=True)
    )
    return found or Judged((FAILED,) * maps.size)


def _judged(
    description: MetricDescription,
    maps: Maps,
    reference: Maps,
    scoring: Scoring,
    given: Mapping[str, Any],
    *,
    strange: bool = False,
) -> Judged:
    """Return what a metric says of every map; one that is strange gets maps of its own, and its scores are checked."""
    if description.batched:
        judged = judge(load_object(description.batched), maps, reference, scoring, **given)
        for score in judged.scores if strange else ():
            checked(description, score)
        return judged
    compute = description.load()
    target = _grid(reference, 0, strange)
    found = (
        compute(
            _grid(maps, index, strange),
            _grid(reference, 0, strange) if strange else target,
            maps.layout,
            scoring,
            **given,
        )
        for index in range(maps.size)
    )
    return Judged(tuple(checked(description, each) for each in found) if strange else tuple(found))


def _grid(maps: Maps, index: int, copied: bool) -> GridMap:
    values = maps.generated[index]
    return GridMap(values.copy() if copied else values, bool(maps.standardised[index]))


def batches(grids: Sequence[GridMap], layout: Layout) -> list[range]:
    """Return index ranges of maps that fit in memory together with what metrics keep of them."""
    cells = max(1, len(layout.tokens) * layout.frames)
    step = max(1, CELLS_AT_ONCE // cells)
    return [range(i, min(i + step, len(grids))) for i in range(0, len(grids), step)]
