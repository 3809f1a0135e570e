"""How a map and a reference are brought onto one grid: generated tokens by encoder frames.

Rows keep every generated token (end of text included) so that column statistics may be taken over
all of them; metrics select the content rows themselves, with `Layout.content`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from xbench.errors import UsageError
from xbench.notebook import map_html
from xbench.spec import Scoring

# A row or column varies only if its standard deviation exceeds this share of its mean magnitude:
# float32 rounding stays below 1e-7 of it, real attention above 1e-5 (scoring section 1).
CONSTANT = 1e-6


@dataclass(frozen=True)
class Layout:
    """The grid of one utterance: which rows and columns its maps have and what they stand for.

    tokens: ids of the generated tokens, end of text included: the rows of every stored map.
    texts: their written form. content: indices of the rows that are not special tokens.
    frames: valid encoder frames. melframes: valid spectrogram frames.
    stride: spectrogram frames per encoder frame, a fraction where these are not evenly spaced (windows then begin at
    the nearest whole frame). melframe_seconds: their distance in seconds.
    """

    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    content: tuple[int, ...]
    frames: int
    melframes: int
    stride: float
    melframe_seconds: float

    def __post_init__(self) -> None:
        """Refuse texts or content rows that do not fit the tokens."""
        rows = len(self.tokens)
        if len(self.texts) != rows:
            raise UsageError(
                f"layout: {rows} tokens but {len(self.texts)} texts; give one text per token"
            )
        if list(self.content) != sorted(set(self.content) & set(range(rows))):
            raise UsageError(
                f"layout: content rows {self.content} must rise and lie in 0..{rows - 1}"
            )


@dataclass(frozen=True, eq=False)
class GridMap:
    """A map on the encoder grid, all generated rows: values [token, frame].

    Nobody writes into its values once it is made. Two are equal if they are the same object, so what was computed of
    one can be kept.

    It holds nothing that a method declares of itself, so no declaration can move a score.

    standardised: every row was z-scored at full resolution, before pooling; metrics then take the
        rows as they are, since a second z-score would undo the difference between the two orders.
    """

    values: Float[np.ndarray, "token frame"]
    standardised: bool = False

    def _repr_html_(self) -> str:
        rows, frames = self.values.shape
        return map_html(self.values, f"map of {rows} tokens by {frames} encoder frames")


def on_encoder_grid(
    values: Float[np.ndarray, "token frame"] | Float[np.ndarray, "token melframe mel"],
    layout: Layout,
    scoring: Scoring,
    *,
    signed: bool = False,
) -> GridMap:
    """Bring an encoder-space or input-space map onto the encoder grid, as the scoring options say.

    |values| if signed; z-score per token over all (melframe, mel) cells if `normalise-first`; pool.
    Shapes: [token, frame] or [token, melframe, mel] to [token, frame], or one frame fewer where
    `last_frame` is `drop`. A row that is constant at full resolution becomes zeros.
    Source: scoring section 1; protocol sections 4.1, 4.4 and 7.3.
    """
    _check_shape(values, layout)
    if signed:
        values = np.abs(values)
    input_space = values.ndim == 3
    standardised = input_space and scoring.order == "normalise-first"
    if standardised:
        values, _ = standardise(values, axis=(1, 2), ddof=scoring.ddof)
    if input_space:
        values = pool(values, layout, scoring)
    kept = layout.frames - (scoring.last_frame == "drop")
    return GridMap(values[:, :kept].astype(np.float64), standardised)


def _check_shape(values: Float[np.ndarray, "..."], layout: Layout) -> None:
    rows = len(layout.tokens)
    if values.ndim == 2 and values.shape == (rows, layout.frames):
        return
    if values.ndim == 3 and values.shape[:2] == (rows, layout.melframes) and values.shape[2] > 0:
        return
    raise UsageError(
        f"a map of shape {list(values.shape)} does not fit: expected [{rows}, {layout.frames}] "
        f"(token, frame) or [{rows}, {layout.melframes}, mel] (token, spectrogram frame, mel)"
    )


def pool(
    values: Float[np.ndarray, "token melframe mel"], layout: Layout, scoring: Scoring
) -> Float[np.ndarray, "token frame"]:
    """Reduce an input-space map to encoder frames: over the mel channels first, then over time.

    Encoder frame j takes the melframes [s*j - o, s*j - o + s), cut to the valid ones, where s is
    the stride and o the offset: 0 for `block`, s // 2 for `centred` (for odd s symmetric about
    melframe s*j; for even s, s/2 melframes before it and s/2 - 1 after). Windows tile the time
    axis; the first and last may be short, a mean then divides by what is left. Melframes after the
    last window (at most s // 2 of them when centred) belong to no encoder frame. Signed maps come
    here as absolute values: `on_encoder_grid` sees to it.
    Shapes: [token, melframe, mel] to [token, frame]. Source: protocol sections 4.1 and 7.3.
    """
    per_melframe = (
        values.max(axis=2)
        if scoring.pool_frequency == "max"
        else values.mean(axis=2, dtype=np.float64)
    )
    starts, stops = _windows(layout, scoring)
    covered = per_melframe[:, : stops[-1]].astype(np.float64)
    if scoring.pool_time == "max":
        pooled: Float[np.ndarray, "token frame"] = np.maximum.reduceat(covered, starts, axis=1)
    else:
        pooled = np.add.reduceat(covered, starts, axis=1) / (stops - starts)
    return pooled


def _windows(
    layout: Layout, scoring: Scoring
) -> tuple[Int[np.ndarray, " frame"], Int[np.ndarray, " frame"]]:
    offset = layout.stride // 2 if scoring.window == "centred" else 0
    edges = np.rint(layout.stride * np.arange(layout.frames + 1) - offset).astype(int)
    edges = np.clip(edges, 0, layout.melframes)
    starts, stops = edges[:-1], edges[1:]
    if layout.frames < 1 or not (starts < stops).all():
        raise UsageError(
            f"layout: {layout.melframes} spectrogram frames are too few for {layout.frames} "
            f"encoder frames of {layout.stride:g} each"
        )
    return starts, stops


def expand(
    values: Float[np.ndarray, "token frame"], layout: Layout
) -> Float[np.ndarray, "token melframe"]:
    """Repeat every encoder frame over its block of melframes, the inverse of block pooling.

    x[i, t] = values[i, j] for round(s j) <= t < round(s (j + 1)); melframes after the last block repeat the last frame.
    With a whole stride s that is j = min(t // s, frames - 1).
    Shapes: [token, frame] to [token, melframe]. Source: protocol section 7.6.
    """
    edges = np.rint(layout.stride * np.arange(layout.frames + 1)).astype(int)
    edges = np.minimum(edges, layout.melframes)
    edges[-1] = layout.melframes
    return np.repeat(values.astype(np.float64), np.diff(edges), axis=1)


def _mean(
    values: Float[np.ndarray, "*shape"], axis: int | tuple[int, ...]
) -> Float[np.ndarray, "..."]:
    """Return what `values.mean` does, with the axis kept, in less time: it is called a dozen times per clip."""
    sums = np.add.reduce(values, axis=axis, keepdims=True)
    count = values.size // max(sums.size, 1)
    means: Float[np.ndarray, "..."] = sums / count if count else np.full_like(sums, np.nan)
    return means


def standardise(
    values: Float[np.ndarray, "*shape"],
    axis: int | tuple[int, ...],
    ddof: int = 0,
    *,
    resolution: float | Float[np.ndarray, "..."] = 0.0,
) -> tuple[Float[np.ndarray, "*shape"], Bool[np.ndarray, "..."]]:
    """Subtract the mean and divide by the standard deviation along `axis`; say what was constant.

    z = (x - mean) / sd, and z = 0 where sd <= max(1e-6 * mean |x|, resolution): constant up to
    rounding. `resolution` is for values whose rounding is coarser than their own magnitude shows.
    Shapes: z like `values`; the mask of constants has the axes that remain. The rule uses the
    population standard deviation whatever `ddof` says. Source: scoring section 1.
    """
    values = values.astype(np.float64)
    centred = values - _mean(values, axis)
    sd = np.sqrt(_mean(centred**2, axis))
    magnitude = _mean(np.abs(values), axis)
    constant = sd <= np.maximum(CONSTANT * magnitude, resolution)
    count = values.size // sd.size
    scale = sd * np.sqrt(count / max(count - ddof, 1))
    z = np.where(constant, 0.0, centred / np.where(constant, 1.0, scale))
    return z, np.squeeze(constant, axis=axis)
