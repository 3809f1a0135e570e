"""Agreement with the times at which words were spoken, and word times on the grid of a map.

Spans hold the start and end of the word of each generated token in seconds, None for a token
without one; None altogether where the manifest has no word times, or for a translation.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool

from xbench.maps import GridMap, Layout
from xbench.metrics import Score
from xbench.metrics.batch import Judged, Maps, Spans, judge_one, mean_over_tokens
from xbench.spec import Scoring


def onset_error(
    method: GridMap,
    reference: GridMap,
    layout: Layout,
    scoring: Scoring,
    *,
    point: str,
    spans: Spans | None = None,
) -> Score:
    """Return the mean distance in seconds between where a map points and where the word starts.

    |t_i - start of the word of token i| over the tokens that begin a word; t_i is the centre of the
    highest frame (`point=peak`; the mean of equal ones) or the centroid of the row's mass
    (`point=centroid`). The reference does not enter. Shapes: E [token, frame], all generated rows.
    Null per token: `no-word-time`, `continues-word`. Source: ours; timestamps from attention are
    their use (Radford et al. 2023).
    """
    return judge_one(
        onset_error_of_many, method, reference, layout, scoring, point=point, spans=spans
    )


def onset_error_of_many(
    maps: Maps, reference: Maps, scoring: Scoring, *, point: str, spans: Spans | None
) -> Judged:
    """Return `onset-error` of every map."""
    centres = (np.arange(maps.frames) + 0.5) * maps.frame_seconds
    if point == "peak":
        highest = maps.rows == maps.ascending[:, :, -1:]
        times = (highest @ centres) / highest.sum(2)
    else:
        times = np.vecdot(maps.mass, centres)
    own = [spans[row] if spans is not None else None for row in maps.content]
    starts = [span[0] if span is not None else None for span in own]
    continues = [start is not None and start in starts[:i] for i, start in enumerate(starts)]
    errors = np.abs(times - np.array([start or 0.0 for start in starts]))
    return mean_over_tokens(
        errors,
        {
            "no-word-time": np.array([[start is None for start in starts]]),
            "continues-word": np.array([continues]),
            "constant-map": maps.constant,
        },
    )


def word_frames(maps: Maps, spans: Spans | None) -> Bool[np.ndarray, "token frame"]:
    """Say which frames the word of each content token overlaps; none for a token without a word.

    Frame j covers the time from j d to (j + 1) d; a word without length lies in one frame.
    """
    covered = np.zeros((len(maps.content), maps.frames), dtype=bool)
    for row, token in enumerate(maps.content):
        span = spans[token] if spans is not None else None
        if span is not None:
            # Times are decimal: 0.06 / 0.02 must be 3, not 2.9999999999999996.
            first = math.floor(round(span[0] / maps.frame_seconds, 6))
            stop = math.ceil(round(span[1] / maps.frame_seconds, 6))
            covered[row, first : max(stop, first + 1)] = True
    return covered
