"""What a result says of one reference: how it was made, how reliable it is, what its rivals score, and its columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import median
from typing import Any

from xbench import registry, stats
from xbench.metrics import Score
from xbench.references.reliability import Ceiling
from xbench.results import (
    RELIABLE_ROW,
    AudioTokens,
    CeilingRecord,
    Interval,
    MaskCounts,
    ReferenceRecord,
    RivalRecord,
    UnreliableRows,
    rival_column,
)
from xbench.runner.assemble_interventions import computation
from xbench.runner.compare import ReferenceFacts, columns
from xbench.runner.outcome import Outcome, TaskOutcome
from xbench.spec import Call

# A token with less than this share of the largest effect in its clip counts as not depending on the audio.
AUDIO_TOKEN = 0.05


def reference_record(
    task: TaskOutcome, outcomes: Sequence[Outcome], call: Call, seed: int
) -> ReferenceRecord:
    """Return what a result says of one reference over all utterances."""
    description = registry.references.get(call.name)
    of_all = _facts(outcomes, call.name)
    facts = [own for own in of_all if own is not None]
    clusters = [o.utterance.cluster for o in outcomes]
    reliabilities = [None if own is None else own.reliability.value for own in of_all]
    ceilings = {
        metric.name: ceiling_record(
            [o.scored.ceilings[metric.name, call.name] for o in outcomes], clusters, seed
        )
        for metric in task.plan.task.metrics
        if (metric.name, call.name) in columns(task.plan.task)
    }
    masks = max((f.masks for f in facts), key=sum, default=(0, 0))
    reached = [f.converged for f in facts if f.converged is not None]
    return ReferenceRecord(
        name=call.name,
        version=description.version,
        params=call.given,
        estimator=str(call.given.get("estimator", description.estimator)),
        masks=list(masks),
        neutral_value=facts[0].neutral if facts else None,
        reliability=Interval.of(stats.mean_estimate(reliabilities, clusters, seed=seed)),
        ceiling=ceilings,
        converged=all(reached) if reached else None,
        kept=mean(f.kept for f in facts),
        forward_passes=sum(f.forward_passes for f in facts),
        seconds=round(sum(f.seconds for f in facts), 3),
        masks_per_utterance=_mask_counts([sum(f.masks) for f in facts if any(f.masks)]),
        converged_share=mean(float(r) for r in reached),
        unreliable_rows=_unreliable_rows([r for f in facts for r in f.reliability.rows]),
        audio_tokens=_audio_tokens([f.effect for f in facts]),
        rivals=[
            _rival_record(outcomes, call.name, other.name, seed)
            for other in task.plan.task.references
            if any(other.name in f.rivals for f in facts)
        ],
        computation=computation([f.computation for f in facts]),
    )


def reference_columns(outcomes: Sequence[Outcome], call: Call) -> dict[str, list[Any]]:
    """Return the columns with a value per utterance of one reference; null where an utterance lacks it."""
    name, facts = call.name, _facts(outcomes, call.name)
    rivals = dict.fromkeys(rival for own in facts if own for rival in own.rivals)
    found: dict[str, Callable[[ReferenceFacts], Any]] = {
        f"reliability@{name}": lambda own: own.reliability.value,
        f"masks@{name}": lambda own: sum(own.masks),
        f"effect@{name}": lambda own: list(own.effect),
        f"row_reliability@{name}": lambda own: list(own.reliability.rows),
        **{rival_column(name, rival): partial(_score_of, rival) for rival in rivals},
    }
    return {
        column: [None if own is None else cell(own) for own in facts]
        for column, cell in found.items()
    }


def _score_of(rival: str, judge: ReferenceFacts) -> float | None:
    return judge.rivals.get(rival)


def _facts(outcomes: Sequence[Outcome], name: str) -> list[ReferenceFacts | None]:
    return [o.scored.references.get(name) for o in outcomes]


def _rival_record(outcomes: Sequence[Outcome], judge: str, rival: str, seed: int) -> RivalRecord:
    clusters = [o.utterance.cluster for o in outcomes]
    scores = [None if own is None else own.rivals.get(rival) for own in _facts(outcomes, judge)]
    noise_free = [
        None if own is None else stats.noise_free(own.reliability.rows)
        for own in _facts(outcomes, rival)
    ]
    return RivalRecord(
        reference=rival,
        score=Interval.of(stats.mean_estimate(scores, clusters, seed=seed)),
        ceiling=Interval.of(stats.disattenuated(scores, noise_free, clusters, seed=seed)),
    )


def _mask_counts(masks: Sequence[int]) -> MaskCounts | None:
    return MaskCounts(min(masks), float(median(masks)), max(masks)) if masks else None


def _unreliable_rows(rows: Sequence[float | None]) -> UnreliableRows | None:
    if not rows:
        return None
    below = sum(r < RELIABLE_ROW for r in rows if r is not None)
    return UnreliableRows(RELIABLE_ROW, below, list(rows).count(None), len(rows))


def _audio_tokens(effects: Sequence[Sequence[float]]) -> AudioTokens | None:
    if not effects:
        return None
    depend = sum(
        effect >= AUDIO_TOKEN * max(own) for own in effects for effect in own if max(own) > 0
    )
    return AudioTokens(AUDIO_TOKEN, depend, sum(map(len, effects)))


def why_no_value(reason: str | None, found: Sequence[Score | Ceiling]) -> str | None:
    """Prefer the one reason all utterances share over the general one."""
    reasons = {s.reason for s in found}
    return next(iter(reasons)) if reason and len(reasons) == 1 else reason


def ceiling_record(
    ceilings: Sequence[Ceiling], clusters: Sequence[str], seed: int
) -> CeilingRecord:
    """Return the ceiling of one metric against one reference over all utterances."""
    estimate = stats.mean_estimate([c.upper for c in ceilings], clusters, seed=seed)
    return CeilingRecord(
        value=estimate.value,
        ci=Interval.of(estimate).ci,
        reason=why_no_value(estimate.reason, ceilings),
        ci_reason=estimate.ci_reason,
        lower=mean(c.lower for c in ceilings),
        structural=mean(c.structural for c in ceilings),
    )


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that exist; None where there is none."""
    defined = [v for v in values if v is not None]
    # fsum: an exact sum, in which the order of the utterances does not show.
    return math.fsum(defined) / len(defined) if defined else None
