"""How well a method's map agrees with a reference: Pearson under two normalisation pairs.

| metric         | method map                 | reference           |
|----------------|----------------------------|---------------------|
| pearson        | z-score per row (token)    | z-score per row     |
| pearson-paper  | z-score per column (frame) | z-score per row     |

`pearson-paper` first brings the rows of the map to one scale, of every map in the same way (`rows`).

Both take all generated rows and judge the content rows. A row or column that is constant (up to
1e-6 of its mean magnitude) enters as zeros, as in the paper's protocol: it adds nothing to the
covariance but stays in the count, so the correlation shrinks by the square root of the share that
varies. The score is null only when nothing varies. Reasons, in the order they are looked for:

    empty-hypothesis    no content token
    too-few-frames      fewer than 3 encoder frames
    non-finite          a NaN or an infinity in a row that is used
    single-token        columns with a single row have no spread (pearson-paper)
    constant-reference  every row of the reference is constant
    constant-map        every row of the method map is constant
    token-constant      every column of it is constant: the same for each token (pearson-paper)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from xbench.errors import UsageError
from xbench.maps import CONSTANT, GridMap, Layout, standardise
from xbench.metrics import Score
from xbench.spec import Scoring

FEWEST_FRAMES = 3
# How `pearson-paper` brings the rows of a map to one scale.
ROW_SUM, ROW_Z_SCORE = "sum", "z-score"


def pearson(method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring) -> Score:
    """Return the Pearson correlation of row-wise z-scored maps, flattened over the content rows.

    r = corr(vec rowz(E), vec rowz(S)); with no constant row, no min-max and `pool-first` this
    equals the mean over tokens of Pearson(E_i, S_i). Shapes: E, S [token, frame], all generated
    rows. Null: see the table of the module. Source: scoring section 1.
    """
    content = content_rows(layout)
    reason = why_undefined(method, reference, layout, content)
    if reason:
        return Score(None, reason)
    return Score(
        correlation(row_wise(method, content, scoring), as_reference(reference, content, scoring))
    )


def pearson_paper(
    method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring, *, rows: str = ROW_SUM
) -> Score:
    """Return the correlation of a column-wise z-scored map with a row-wise z-scored reference.

    r = corr(vec colz(rows(E)), vec rowz(S)). rows(E) gives every token the same scale, which would
    otherwise rule the columns: `sum` divides row i by sum_j |E_ij|, which leaves attention as the
    softmax made it; `z-score` standardises it. Column statistics are those of the content rows,
    or of all generated rows (`statistics: generated`), of which the special ones are then dropped.
    Shapes: E, S [token, frame], all generated rows. Null: see the table of the module.
    Source: scoring section 1; protocol sections 4 and 5.
    """
    content = content_rows(layout)
    counted = statistics_rows(layout, scoring)
    reason = why_undefined(method, reference, layout, counted)
    if reason is None and len(counted) < 2:
        reason = "single-token"
    if reason:
        return Score(None, reason)
    explained = column_wise(method, counted, scoring, rows)[np.isin(counted, content)]
    if _is_constant(explained):
        return Score(None, "token-constant")
    return Score(correlation(explained, as_reference(reference, content, scoring)))


def content_rows(layout: Layout) -> Int[np.ndarray, " token"]:
    """Return the indices of the rows that are judged."""
    return np.asarray(layout.content, dtype=np.intp)


def statistics_rows(layout: Layout, scoring: Scoring) -> Int[np.ndarray, " token"]:
    """Return the indices of the rows that column statistics are taken over."""
    return (
        content_rows(layout) if scoring.statistics == "content" else np.arange(len(layout.tokens))
    )


def why_undefined(
    method: GridMap, reference: GridMap, layout: Layout, used: Int[np.ndarray, " token"]
) -> str | None:
    """Return the reason why no correlation of this pair exists, or None where it does.

    `used`: the rows of the method map that enter, content rows or all generated ones.
    """
    if method.values.shape != reference.values.shape or len(method.values) != len(layout.tokens):
        raise UsageError(
            f"a map of shape {list(method.values.shape)} cannot be compared with a reference of "
            f"shape {list(reference.values.shape)} over {len(layout.tokens)} tokens"
        )
    content = content_rows(layout)
    if len(content) == 0:
        return "empty-hypothesis"
    if method.values.shape[1] < FEWEST_FRAMES:
        return "too-few-frames"
    if not (
        np.isfinite(method.values[used]).all() and np.isfinite(reference.values[content]).all()
    ):
        return "non-finite"
    if standardise(reference.values[content], axis=1)[1].all():
        return "constant-reference"
    if standardise(method.values[content], axis=1)[1].all():
        return "constant-map"
    return None


def row_wise(
    grid: GridMap, rows: Int[np.ndarray, " token"], scoring: Scoring
) -> Float[np.ndarray, "token frame"]:
    """Return the chosen rows, z-scored unless that was done before pooling (`normalise-first`)."""
    values = grid.values[rows].astype(np.float64)
    return values if grid.standardised else standardise(values, axis=1, ddof=scoring.ddof)[0]


def as_reference(
    reference: GridMap, rows: Int[np.ndarray, " token"], scoring: Scoring
) -> Float[np.ndarray, "token frame"]:
    """Return the chosen rows of a reference as metrics use them: z-scored, then min-max if asked.

    min-max: (x - min) / (max - min) per row, 0 for a constant row. Source: protocol section 4.4.
    """
    values = row_wise(reference, rows, scoring)
    if not scoring.min_max:
        return values
    low = values.min(axis=1, keepdims=True)
    spread = values.max(axis=1, keepdims=True) - low
    scaled: Float[np.ndarray, "token frame"] = (values - low) / np.where(spread > 0, spread, 1.0)
    return scaled


def column_wise(
    grid: GridMap, rows: Int[np.ndarray, " token"], scoring: Scoring, scale: str = ROW_SUM
) -> Float[np.ndarray, "token frame"]:
    """Return the chosen rows, brought to one scale and then z-scored per column over these rows.

    scale: `sum` or `z-score`, see `pearson_paper`. A row's values are known to 1e-6 of its mean magnitude;
    z-scoring the row divides that by its standard deviation. Columns that vary by less than this are constant
    even where they lie near zero and their own magnitude would make rounding look like variation.
    Source: scoring section 1.
    """
    values = grid.values[rows].astype(np.float64)
    if scale == ROW_SUM:
        scaled = values if grid.standardised else of_sum_one(values)
        return standardise(scaled, axis=0, ddof=scoring.ddof)[0]
    deviation, magnitude = values.std(axis=1), np.abs(values).mean(axis=1)
    varies = deviation > CONSTANT * magnitude
    resolution = (
        float(np.mean(CONSTANT * magnitude[varies] / deviation[varies])) if varies.any() else 0.0
    )
    return standardise(
        row_wise(grid, rows, scoring), axis=0, ddof=scoring.ddof, resolution=resolution
    )[0]


def of_sum_one(values: Float[np.ndarray, "*shape frame"]) -> Float[np.ndarray, "*shape frame"]:
    """Return the rows divided by the sum of their magnitudes; a row of zeros stays as it is."""
    total = np.abs(values).sum(axis=-1, keepdims=True)
    scaled: Float[np.ndarray, "*shape frame"] = values / np.where(total > 0, total, 1.0)
    return scaled


def correlation(
    first: Float[np.ndarray, "token frame"], second: Float[np.ndarray, "token frame"]
) -> float:
    """Return the Pearson correlation of two flattened maps, neither of which may be constant."""
    x, y = first.ravel() - first.mean(), second.ravel() - second.mean()
    r = float(x @ y / np.sqrt((x @ x) * (y @ y)))
    return min(1.0, max(-1.0, r))  # rounding can pass 1 by a few 1e-16


def _is_constant(values: Float[np.ndarray, "token frame"]) -> bool:
    return bool(standardise(values, axis=(0, 1))[1])
