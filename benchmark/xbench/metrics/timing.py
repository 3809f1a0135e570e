"""Agreement with the times at which words were spoken, and word times on the grid of a map.

Spans hold the start and end of the word of each generated token in seconds, None for a token
without one; None altogether where the manifest has no word times, or for a translation.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

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

    |t_i - start of the word of token i| over the tokens that begin a word; the mean of t_i - start, positive where
    the map points too late, is kept beside it (`offset`). t_i by `point`: `start` and `peak` as `starts` and `peaks`
    say, `centroid` that of the row's mass. The reference does not enter. Shapes: E [token, frame], all generated rows.
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
    times = {"start": starts, "peak": peaks, "centroid": centroids}[point](maps)
    own = [spans[row] if spans is not None else None for row in maps.content]
    spoken = [span[0] if span is not None else None for span in own]
    continues = [start is not None and start in spoken[:i] for i, start in enumerate(spoken)]
    offsets = times - np.array([start or 0.0 for start in spoken])
    left_out = {
        "no-word-time": np.array([[start is None for start in spoken]]),
        "continues-word": np.array([continues]),
        "constant-map": maps.constant,
    }
    judged = mean_over_tokens(np.abs(offsets), left_out)
    signed = mean_over_tokens(offsets, left_out)
    scores = tuple(
        replace(error, columns={"offset": offset.value})
        for error, offset in zip(judged.scores, signed.scores, strict=True)
    )
    return Judged(scores, judged.tokens)


def starts(maps: Maps) -> Float[np.ndarray, "map token"]:
    """Return where the highest run of frames begins, in seconds: j d for its first frame j.

    The run holds the first of the highest frames and goes back from there as long as frames reach half of the
    height above the row's lowest. On a path of zeros and ones it begins in the path's first frame of the token,
    which is the word's start as Whisper reads it.
    """
    low, high = maps.ascending[:, :, :1], maps.ascending[:, :, -1:]
    below = maps.rows < low + (high - low) / 2
    frames = np.arange(maps.frames)
    highest = np.argmax(maps.rows == high, axis=2)
    before = np.where(below & (frames < highest[..., None]), frames, -1).max(axis=2)
    begins: Float[np.ndarray, "map token"] = (before + 1) * maps.frame_seconds
    return begins


def peaks(maps: Maps) -> Float[np.ndarray, "map token"]:
    """Return the centre of the highest frame in seconds, the mean of equal ones."""
    highest = maps.rows == maps.ascending[:, :, -1:]
    middle: Float[np.ndarray, "map token"] = (highest @ _centres(maps)) / highest.sum(2)
    return middle


def centroids(maps: Maps) -> Float[np.ndarray, "map token"]:
    """Return the centroid of the mass in seconds, frames taken at their centres."""
    centre: Float[np.ndarray, "map token"] = np.vecdot(maps.mass, _centres(maps))
    return centre


def _centres(maps: Maps) -> Float[np.ndarray, " frame"]:
    return (np.arange(maps.frames) + 0.5) * maps.frame_seconds


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
