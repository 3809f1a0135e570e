"""A streaming policy that reads the maps of a run: how late it writes, and how much it has not heard by then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from xbench import stats
from xbench.audit.stored_maps import explained, map_of, one_run, references_of
from xbench.decisions.policies import Policy, delay, delay_at, regret, written
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
    the end the lag is None.
    """

    kind: Kind
    name: str
    regret: stats.Estimate
    delay: stats.Estimate
    delay_at: stats.Estimate
    area: stats.Estimate
    curve: tuple[tuple[float | None, float, float], ...]


@dataclass(frozen=True)
class Streaming:
    """The advice of every map of a run for one policy against one reference."""

    policy: Policy
    accepted: float
    reference: str
    rows: tuple[Advice, ...]


def streaming(
    results: Sequence[RunResult], policy: Policy, *, accepted: float, store: Store
) -> Streaming:
    """Return what a policy would do with each map of a run, best advice first; loads no model.

    The reference is its headline's. As a row of its own, one half of its masks advises and the other judges. accepted:
    the regret at which delays are compared. Tokens whose reference is constant are left out, and for all maps of a clip
    alike.

    Raises:
        UsageError: results of several runs, a reference without halves, or `accepted` is not from 0 to 1.
    """
    if not 0 <= accepted <= 1:
        raise UsageError(f"a regret is a share from 0 to 1, not {accepted:g}")
    stored = one_run(results, store)
    name = stored.record.task.headline.reference
    found: dict[tuple[Kind, str], list[_OfClip]] = {}
    clusters = []
    for spoken in explained(stored):
        clip = _clip(stored, spoken, policy, name)
        if clip is not None:
            clusters.append(spoken.job.utterance.cluster)
            for key, values in clip.items():
                found.setdefault(key, []).append(values)
    if not clusters:
        raise UsageError(f"no clip has a token whose '{name}' says where")
    seed = stored.record.spec.seed

    def mean(values: Sequence[float | None]) -> stats.Estimate:
        return stats.mean_estimate(values, clusters, seed=seed)

    rows = []
    for (kind, label), clips in found.items():
        at = [
            [delay_at(clip.curve[0], clip.curve[1], each) for each in (accepted, *AREA)]
            for clip in clips
        ]
        points = np.mean([clip.curve for clip in clips], axis=0).T.tolist()
        rows.append(
            Advice(
                kind,
                label,
                mean([clip.regret for clip in clips]),
                mean([clip.delay for clip in clips]),
                mean([values[0] for values in at]),
                mean([_mean_of_all(values[1:]) for values in at]),
                tuple((lag, x, y) for lag, (x, y) in zip((*LAGS[:-1], None), points, strict=True)),
            )
        )
    # A mean over fewer clips cannot be held against one over all.
    rows.sort(key=lambda row: (-row.area.n, row.area.value or 0.0))
    return Streaming(policy, accepted, name, tuple(rows))


@dataclass(frozen=True)
class _OfClip:
    """One map of one clip: means over tokens. curve: [regret or delay, lag]."""

    regret: float
    delay: float
    curve: Float[np.ndarray, "2 lag"]


def _clip(
    stored: Stored, spoken: Spoken, policy: Policy, name: str
) -> dict[tuple[Kind, str], _OfClip] | None:
    """Return what every map of one clip advises; None where the reference says nothing."""
    layout = spoken.decoded.layout
    truth = next((r for r in references_of(stored, spoken) if r.call.name == name), None)
    if truth is None or truth.halves is None:
        raise UsageError(f"'{name}' has no halves to judge by; give results against another one")
    grids: dict[tuple[Kind, str], GridMap] = {
        ("method", str(method.call)): map_of(stored, spoken, method)
        for method in stored.methods.values()
    }
    half = _advise(Maps.of([truth.halves[0]], layout), Maps.of([truth.halves[1]], layout), policy)
    by_mean = _advise(Maps.of(list(grids.values()), layout), Maps.of([truth.mean], layout), policy)
    if half is None or by_mean is None:
        return None
    return {("reference", name): half[0], **dict(zip(grids, by_mean, strict=True))}


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    """Return the mean, or None where one of them is missing: of the others alone it would flatter."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _advise(maps: Maps, reference: Maps, policy: Policy) -> list[_OfClip] | None:
    """Return what each map advises, means over the tokens whose reference is not constant."""
    tokens = ~reference.constant[0]
    if not tokens.any() or not reference.finite.all():
        return None
    points = []
    for lag in (policy.lag, *LAGS):
        when = written(maps, replace(policy, lag=lag))
        points.append(
            [
                part[:, tokens].mean(axis=1)
                for part in (regret(reference, when), delay(reference, when))
            ]
        )
    table = np.array(points)  # [lag, regret or delay, map]
    return [
        _OfClip(float(own[0]), float(own[1]), curve.T)
        for own, curve in zip(table[0].T, np.moveaxis(table[1:], 2, 0), strict=True)
    ]
