"""When a streaming policy would write each token, and how much the token depends on that was not heard by then.

A simultaneous system hears audio in chunks and must decide after each which tokens to write. Policies read this from
attention. Here they read it from any map of the whole clip, cut to the frames that have been heard; nothing is decoded
again, so what is judged is the map as an adviser, not a system. At time t, the end of a chunk or of the clip, a token
is ready by

    alignatt    its highest heard frame lies before t - lag (Papi, Turchi and Negri 2023, arXiv 2305.11408)
    edatt       less than `share` of its heard mass lies in the last `lag` seconds (Papi, Negri and Turchi 2023,
                arXiv 2212.07850)
    streamatt   as alignatt; audio before the highest frames of the `kept` tokens before it is forgotten (Papi, Gaido,
                Negri and Bentivogli 2024, arXiv 2406.06097)
    doa         as alignatt, on the map z-scored per frame over the tokens (arXiv 2605.31432)

Tokens are written in order: one that is not ready holds back all after it. At the end of the clip all are written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from xbench.errors import UsageError, nearest
from xbench.maps import standardise
from xbench.metrics.batch import Maps

POLICIES = ("alignatt", "edatt", "streamatt", "doa")
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Policy:
    """A policy and its options.

    lag: seconds before the end of what was heard. chunk: seconds between two decisions. share: of `edatt`. kept: tokens
    of `streamatt` whose audio is not forgotten. Raises UsageError for what makes no policy.
    """

    name: str = "alignatt"
    lag: float = 0.3
    chunk: float = 0.5
    share: float = 0.2
    kept: int = 20

    def __post_init__(self) -> None:
        """Refuse unknown names and options out of range."""
        if self.name not in POLICIES:
            known = nearest(self.name, POLICIES)
            raise UsageError(f"'{self.name}' is no policy; use {', '.join(POLICIES)}{known}")
        for option, holds, what in (
            ("lag", self.lag >= 0, "seconds from 0"),
            ("chunk", 0 < self.chunk < math.inf, "seconds above 0"),
            ("share", 0 <= self.share <= 1, "from 0 to 1"),
            ("kept", self.kept >= 1, "tokens from 1"),
        ):
            if not holds:
                raise UsageError(f"policy: {option} is {getattr(self, option):g}; give {what}")


@dataclass(frozen=True)
class Written:
    """When every token of every map is written.

    heard: [map, token], frames heard by then. forgotten: [map, token], frames from the start that are no longer kept.
    """

    heard: Int[np.ndarray, "map token"]
    forgotten: Int[np.ndarray, "map token"]


def written(maps: Maps, policy: Policy) -> Written:
    """Return when a policy that reads these maps writes each content token."""
    times = decision_times(maps, policy.chunk)
    rows = standardise(maps.rows, axis=1)[0] if policy.name == "doa" else maps.rows
    highest = _highest(rows)[:, :, times - 1]
    lag = policy.lag / maps.frame_seconds
    # Times are decimal: 0.3 / 0.02 must be 15, not 14.999999999999998.
    old_enough = highest < np.round(times - lag, 6)
    ready = _late_mass(maps, times, lag) < policy.share if policy.name == "edatt" else old_enough
    ready[:, :, -1] = True
    step = np.zeros(ready.shape[:2], dtype=np.intp)
    for token in range(len(maps.content)):
        # A token that waited for others is looked at again when their turn has come; it may not be ready any more.
        start = step[:, max(token - 1, 0)]
        step[:, token] = _first_from(ready[:, token], start)
    forgotten = np.zeros_like(step)
    if policy.name == "streamatt":
        own = np.take_along_axis(highest, step[:, :, None], axis=2)
        for token in range(policy.kept, len(maps.content)):
            forgotten[:, token] = own[:, token - policy.kept : token, 0].min(axis=1)
    return Written(times[step], forgotten)


def decision_times(maps: Maps, chunk: float) -> Int[np.ndarray, " step"]:
    """Return how many frames have been heard at each decision: at the end of every chunk, and of the clip."""
    per_chunk = max(1, round(chunk / maps.frame_seconds))
    return np.append(np.arange(per_chunk, maps.frames, per_chunk), maps.frames)


def regret(reference: Maps, when: Written) -> Float[np.ndarray, "map token"]:
    """Return the share of what each token depends on that is not heard, or forgotten, when it is written.

    regret_i = sum_{j not heard} S+_ij / sum_j S+_ij, S+ the reference above its row minimum. 1 for a constant row.
    """
    total = np.pad(reference.cumulative[0], ((0, 0), (1, 0)))
    rows = np.arange(when.heard.shape[1])
    known: Float[np.ndarray, "map token"] = total[rows, when.heard] - total[rows, when.forgotten]
    return np.clip(1.0 - known, 0.0, 1.0)


def written_by(maps: Maps, when: Written, seconds: float) -> Bool[np.ndarray, "map token"]:
    """Say which tokens are written when so many seconds of the clip have been heard.

    None at 0; all from the end of the clip on. Raises UsageError for what is no time from 0.
    """
    if not seconds >= 0:
        raise UsageError(f"a time is seconds from 0, not {seconds:g}")
    heard = min(round(seconds / maps.frame_seconds, 6), maps.frames)
    found: Bool[np.ndarray, "map token"] = when.heard <= heard
    return found


def delay(reference: Maps, when: Written) -> Float[np.ndarray, "map token"]:
    """Return how long after the moment it depends on each token is written, in seconds.

    That moment is the centroid of S+, the reference above its row minimum, frames taken at their centres.
    """
    centre = np.vecdot(reference.mass[0], np.arange(reference.frames) + 0.5)
    late: Float[np.ndarray, "map token"] = (when.heard - centre) * reference.frame_seconds
    return late


def delay_at(
    regrets: Float[np.ndarray, " lag"], delays: Float[np.ndarray, " lag"], accepted: float
) -> float | None:
    """Return the lowest delay at a regret that is accepted, on straight lines between neighbouring points.

    A point of less regret is as good as one at it: whoever accepts more may take it. None where every point has more
    regret: a policy that forgets audio regrets some even at the end of the clip.
    """
    found = [float(delays[regrets <= accepted + _ROUNDING].min(initial=math.inf))]
    points = list(zip(regrets.tolist(), delays.tolist(), strict=True))
    for (x0, y0), (x1, y1) in pairwise(points):
        if min(x0, x1) <= accepted <= max(x0, x1) and x0 != x1:
            found.append(y0 + (y1 - y0) * (accepted - x0) / (x1 - x0))
    lowest = min(found)
    return lowest if math.isfinite(lowest) else None


def _first_from(
    ready: Bool[np.ndarray, "map step"], start: Int[np.ndarray, " map"]
) -> Int[np.ndarray, " map"]:
    """Return the first step from `start` on at which a token is ready; at the last every token is."""
    steps = np.arange(ready.shape[1])
    found: Int[np.ndarray, " map"] = np.argmax(ready & (steps >= start[:, None]), axis=1)
    return found


def _highest(rows: Float[np.ndarray, "map token frame"]) -> Int[np.ndarray, "map token frame"]:
    """Return the first of the highest frames among those up to and including each frame."""
    best = np.maximum.accumulate(rows, axis=2)
    first = np.ones_like(best[..., :1], dtype=bool)
    new = np.concatenate([first, rows[..., 1:] > best[..., :-1]], axis=2)
    place: Int[np.ndarray, "map token frame"] = np.maximum.accumulate(
        np.where(new, np.arange(rows.shape[2]), 0), axis=2
    )
    return place


def _late_mass(
    maps: Maps, times: Int[np.ndarray, " step"], frames: float
) -> Float[np.ndarray, "map token step"]:
    """Return the share of the heard mass that lies in the last `frames` heard frames; 1 where none is heard."""
    total = np.pad(maps.cumulative, ((0, 0), (0, 0), (1, 0)))
    before = np.maximum(times - (maps.frames if math.isinf(frames) else round(frames)), 0)
    now = total[:, :, times]
    share: Float[np.ndarray, "map token step"] = np.where(
        now > 0, (now - total[:, :, before]) / np.where(now > 0, now, 1.0), 1.0
    )
    return share
