"""A streaming policy that reads the maps of a run: how late it writes, and how much it has not heard by then."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from xbench import stats
from xbench.audit.stored_maps import explained, map_of, one_run, references_of
from xbench.decisions.policies import Policy, delay, delay_at, regret, written, written_by
from xbench.errors import UsageError
from xbench.maps import GridMap
from xbench.metrics.batch import Maps
from xbench.results import RunResult
from xbench.runner.keys import Spoken
from xbench.runner.rescore import Stored
from xbench.store import Store

# Lags of the curve of delay over regret, in seconds; with the last, all tokens wait for the end of the clip.
LAGS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, math.inf)
AREA = tuple(np.linspace(0.05, 0.5, 10).tolist())
Kind = Literal["reference", "method"]


@dataclass(frozen=True)
class Advice:
    """What follows for a policy that reads one map; each a mean over clips of the mean over tokens, with its interval.

    regret, delay: with the policy's own lag; delay in seconds after the moment that a token depends on. delay_at: the
    delay where the lag is chosen for the accepted regret. area: the mean delay over accepted regrets from 0.05 to 0.5.
    Both are means over the clips in which some lag meets the regret, or all regrets: `n` says how many.
    curve: per lag (lag, mean regret, mean delay) over the clips; of waiting for
    the end the lag is None. written, regret_by: with the time `by`, the share of tokens that are written by then, and
    the mean regret of these alone, over the clips in which one is; None without a time.
    """

    kind: Kind
    name: str
    regret: stats.Estimate
    delay: stats.Estimate
    delay_at: stats.Estimate
    area: stats.Estimate
    curve: tuple[tuple[float | None, float, float], ...]
    written: stats.Estimate | None = None
    regret_by: stats.Estimate | None = None


@dataclass(frozen=True)
class Streaming:
    """The advice of every map of a run for one policy against one reference; by: a time in seconds, or None."""

    policy: Policy
    accepted: float
    reference: str
    rows: tuple[Advice, ...]
    by: float | None = None


def streaming(
    results: Sequence[RunResult],
    policy: Policy,
    *,
    accepted: float,
    store: Store,
    by: float | None = None,
) -> Streaming:
    """Return what a policy would do with each map of a run, best advice first; loads no model.

    The reference is its headline's. As a row of its own, one half of its masks advises and the other judges. accepted:
    the regret at which delays are compared. by: also say what is written when so many seconds have been heard. Tokens
    whose reference is constant are left out, and for all maps of a clip alike.

    Raises:
        UsageError: results of several runs, a reference without halves, `accepted` is not from 0 to 1, `by` is below 0.
    """
    if not 0 <= accepted <= 1:
        raise UsageError(f"a regret is a share from 0 to 1, not {accepted:g}")
    stored = one_run(results, store)
    clips = advised_clips(stored, policy, by)
    seed = stored.record.spec.seed

    def mean(values: Sequence[float | None]) -> stats.Estimate:
        return stats.mean_estimate(values, clips.clusters, seed=seed)

    rows = [
        _row(kind, label, of_map, accepted, by, mean)
        for (kind, label), of_map in clips.of_map.items()
    ]
    # A mean over fewer clips cannot be held against one over all.
    rows.sort(key=lambda row: (-row.area.n, row.area.value or 0.0))
    return Streaming(policy, accepted, stored.record.task.headline.reference, tuple(rows), by)


@dataclass(frozen=True)
class AdvisedClip:
    """One map of one clip: means over tokens. curve: [regret or delay, lag].

    written, regret_by: the share of tokens written by a time, and their mean regret; None where none is, or no time was
    given.
    """

    regret: float
    delay: float
    curve: Float[np.ndarray, "2 lag"]
    written: float
    regret_by: float | None

    def delay_at(self, accepted: float) -> float | None:
        """Return the lowest delay at a regret that is accepted; None where no lag meets it."""
        return delay_at(self.curve[0], self.curve[1], accepted)

    @property
    def area(self) -> float | None:
        """The mean delay over accepted regrets from 0.05 to 0.5; None where no lag meets one of them."""
        delays = [self.delay_at(each) for each in AREA]
        known = [each for each in delays if each is not None]
        # A mean of the others alone would flatter.
        return float(np.mean(known)) if len(known) == len(delays) else None


@dataclass(frozen=True)
class AdvisedClips:
    """The clips of a run whose reference says something, with the advice of every map on them."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    of_map: Mapping[tuple[Kind, str], Sequence[AdvisedClip]]


def advised_clips(stored: Stored, policy: Policy, by: float | None = None) -> AdvisedClips:
    """Return what a policy would do with every map of every clip; raises UsageError where no clip can be judged."""
    name = stored.record.task.headline.reference
    found: dict[tuple[Kind, str], list[AdvisedClip]] = {}
    used = []
    for spoken in explained(stored):
        clip = _clip(stored, spoken, policy, name, by)
        if clip is not None:
            used.append(spoken.job.utterance)
            for key, values in clip.items():
                found.setdefault(key, []).append(values)
    if not used:
        raise UsageError(f"no clip has a token whose '{name}' says where")
    return AdvisedClips(tuple(u.id for u in used), tuple(u.cluster for u in used), found)


def _row(
    kind: Kind,
    label: str,
    clips: Sequence[AdvisedClip],
    accepted: float,
    by: float | None,
    mean: Callable[[Sequence[float | None]], stats.Estimate],
) -> Advice:
    points = np.mean([clip.curve for clip in clips], axis=0).T.tolist()
    return Advice(
        kind,
        label,
        mean([clip.regret for clip in clips]).cut_to(0, 1),
        mean([clip.delay for clip in clips]),
        mean([clip.delay_at(accepted) for clip in clips]),
        mean([clip.area for clip in clips]),
        tuple((lag, x, y) for lag, (x, y) in zip((*LAGS[:-1], None), points, strict=True)),
        None if by is None else mean([clip.written for clip in clips]).cut_to(0, 1),
        None if by is None else mean([clip.regret_by for clip in clips]).cut_to(0, 1),
    )


def _clip(
    stored: Stored, spoken: Spoken, policy: Policy, name: str, by: float | None
) -> dict[tuple[Kind, str], AdvisedClip] | None:
    """Return what every map of one clip advises; None where the reference says nothing."""
    layout = spoken.decoded.layout
    truth = next((r for r in references_of(stored, spoken) if r.call.name == name), None)
    if truth is None or truth.halves is None:
        raise UsageError(f"'{name}' has no halves to judge by; give results against another one")
    grids: dict[tuple[Kind, str], GridMap] = {
        ("method", str(method.call)): map_of(stored, spoken, method)
        for method in stored.methods.values()
    }
    first, second = (Maps.of([half], layout) for half in truth.halves)
    half = _advise(first, second, policy, by)
    maps = Maps.of(list(grids.values()), layout)
    by_mean = _advise(maps, Maps.of([truth.mean], layout), policy, by)
    if half is None or by_mean is None:
        return None
    return {("reference", name): half[0], **dict(zip(grids, by_mean, strict=True))}


def _advise(
    maps: Maps, reference: Maps, policy: Policy, by: float | None = None
) -> list[AdvisedClip] | None:
    """Return what each map advises, means over the tokens whose reference is not constant; None where all are."""
    tokens = ~reference.constant[0]
    if not tokens.any() or not reference.finite.all():
        return None
    when = written(maps, policy)
    own = [part(reference, when)[:, tokens] for part in (regret, delay)]
    done = written_by(maps, when, math.inf if by is None else by)[:, tokens]
    points = []
    for lag in LAGS:
        at = written(maps, replace(policy, lag=lag))
        points.append([part(reference, at)[:, tokens].mean(axis=1) for part in (regret, delay)])
    curves = np.moveaxis(np.array(points), 2, 0)  # [map, lag, regret or delay]
    return [
        AdvisedClip(
            regret=float(regrets.mean()),
            delay=float(delays.mean()),
            curve=curve.T,
            written=float(now.mean()),
            regret_by=float(regrets[now].mean()) if now.any() else None,
        )
        for regrets, delays, now, curve in zip(*own, done, curves, strict=True)
    ]
