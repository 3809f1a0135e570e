"""Bring the scores of all utterances together into one RunResult per method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from xbench import registry, stats
from xbench.fitting import Fitted
from xbench.metrics.quality import corpus_quality, is_poor, utterance_quality
from xbench.models.protocol import ModelInfo
from xbench.references.reliability import Ceiling
from xbench.results import (
    Cost,
    DatasetRecord,
    FittedRecord,
    Interval,
    MethodRecord,
    ModelRecord,
    QualityRecord,
    RunResult,
    ScoreRecord,
    SinksRecord,
    TaskRecord,
    column_name,
    undefined_counts,
)
from xbench.runner.assemble_interventions import (
    detail_columns,
    left_out_counts,
    metric_params,
    own_columns,
    without_reference,
)
from xbench.runner.assemble_references import (
    ceiling_record,
    mean,
    reference_columns,
    reference_record,
    why_no_value,
)
from xbench.runner.compare import Column, columns
from xbench.runner.outcome import Outcome, TaskOutcome
from xbench.runner.plan import Method
from xbench.runner.provenance import provenance
from xbench.spec import RunSpec
from xbench.trace import SINK_FRAMES


def assemble(task: TaskOutcome, method: Method, info: ModelInfo, spec: RunSpec) -> RunResult:
    """Return the result of one method on one task."""
    unsupported = task.unsupported.get(method.call)
    outcomes = [] if unsupported else task.outcomes
    status, reason = _status(task, unsupported, spec)
    traced = [o.scored.maps[method.call] for o in outcomes if o.scored.maps]
    return RunResult(
        status=status,
        reason=reason,
        task=_task_record(task, spec),
        model=_model_record(info),
        method=_method_record(method, task.fitted.get(method.call)),
        references=[
            reference_record(task, outcomes, call, spec.seed) for call in task.plan.task.references
        ],
        quality=_quality(task, outcomes),
        scores=[
            _score_record(task, outcomes, method, column, spec.seed) for column in _columns(task)
        ],
        utterances=_utterance_columns(task, outcomes, method),
        failures=list(task.failures),
        cost=_cost(outcomes, method, info, task.peak_memory_bytes),
        provenance=provenance(task.plan, method, info, spec, task.started),
        padding_mass=mean(facts.get("padding_mass") for facts in traced),
        sinks=SinksRecord.over([facts.get("sinks") for facts in traced], SINK_FRAMES),
    )


def _columns(task: TaskOutcome) -> list[Column]:
    return columns(task.plan.task)


def _status(
    task: TaskOutcome, unsupported: str | None, spec: RunSpec
) -> tuple[Literal["complete", "partial", "unsupported", "failed"], str | None]:
    if unsupported:
        return "unsupported", unsupported
    if not task.outcomes:
        return "failed", f"all {len(task.failures)} utterances failed"
    reasons = []
    if spec.selection.partial:
        reasons.append("a selection of utterances (--ids or --limit)")
    if task.failures:
        reasons.append(f"{len(task.failures)} utterance(s) failed or were refused")
    return ("partial", "; ".join(reasons)) if reasons else ("complete", None)


def _task_record(outcome: TaskOutcome, spec: RunSpec) -> TaskRecord:
    task, manifest = outcome.plan.task, outcome.plan.manifest
    return TaskRecord(
        name=task.name,
        version=task.version,
        hash=task.hash,
        kind=task.kind,
        source_language=sorted({u.language for u in manifest.utterances}),
        target_language=task.target_language,
        preset=task.preset,
        split=task.dataset.split,
        selection={"ids": list(spec.selection.ids), "limit": spec.selection.limit},
        scoring=asdict(task.scoring),
        decoding=asdict(task.decoding),
        headline=asdict(task.headline),
        floor=str(outcome.floor.call),
        dataset=DatasetRecord(
            name=manifest.name,
            revision=task.dataset.revision,
            fingerprint=manifest.fingerprint,
            n=len(manifest.utterances),
        ),
    )


def _model_record(info: ModelInfo) -> ModelRecord:
    return ModelRecord(
        name=info.name,
        source=info.source,
        revision=info.revision,
        architecture=info.architecture,
        n_parameters=info.n_parameters,
        precision=info.precision,
        remote_code=info.remote_code,
        format=info.format or None,
        base=info.base or None,
    )


def _method_record(method: Method, fitted: Fitted | None) -> MethodRecord:
    description = method.description
    return MethodRecord(
        name=description.name,
        version=description.version,
        params=method.call.given,
        kind=description.kind,
        space=description.space,
        signed=description.signed,
        uses_gradients=description.uses_gradients,
        distribution=description.distribution,
        fitted=None if fitted is None else _fitted_record(fitted),
        authorship=registry.authorship(description, method.distribution),
    )


def _fitted_record(fitted: Fitted) -> FittedRecord:
    return FittedRecord(split=fitted.split, n=fitted.n, choice=dict(fitted.learned.facts))


def _quality(task: TaskOutcome, outcomes: Sequence[Outcome]) -> QualityRecord:
    spec = task.plan.task
    judged = [(o, o.utterance.target_text(spec.target_language)) for o in outcomes]
    pairs = [(o, text) for o, text in judged if text is not None]
    languages = [spec.target_language or o.utterance.language for o, _ in pairs]
    texts = [o.decoded.hypothesis.text for o, _ in pairs]
    targets = [text for _, text in pairs]
    value = corpus_quality(spec.quality, texts, targets, languages) if pairs else None
    poor = sum(
        is_poor(spec.quality, utterance_quality(spec.quality, text, target, language))
        for text, target, language in zip(texts, targets, languages, strict=True)
    )
    return QualityRecord(
        metric=spec.quality.metric,
        value=value,
        n=len(pairs),
        poor=poor,
        poor_threshold=spec.quality.poor,
        reason=None if value is not None else "no-target-text",
    )


def _score_record(
    task: TaskOutcome, outcomes: Sequence[Outcome], method: Method, column: Column, seed: int
) -> ScoreRecord:
    metric = registry.metrics.get(column[0])
    if column[1] is None:
        return without_reference(task, outcomes, method, metric, seed)
    clusters = [o.utterance.cluster for o in outcomes]
    found = [o.scored.scores[method.call][column] for o in outcomes]
    scores = [s.value for s in found]
    floors = [o.scored.scores[task.floor.call][column].value for o in outcomes]
    weighted = _weighted(outcomes, method, column)
    weighted_floors = _weighted(outcomes, task.floor, column)
    weighted_ceilings = _weighted_ceilings(outcomes, column)
    weighted_uppers = [c.upper for c in weighted_ceilings]
    ceilings = [o.scored.ceilings[column] for o in outcomes]
    uppers = [c.upper for c in ceilings]
    estimate = stats.mean_estimate(scores, clusters, seed=seed)
    return ScoreRecord(
        metric=column[0],
        reference=column[1],
        value=estimate.value,
        reason=why_no_value(estimate.reason, found),
        ci=Interval.of(estimate).ci,
        ci_reason=estimate.ci_reason,
        n=estimate.n,
        n_clusters=estimate.n_clusters,
        clusters_assumed=any(o.utterance.cluster_assumed for o in outcomes),
        undefined=undefined_counts(s.reason for s in found),
        floor=Interval.of(stats.mean_estimate(floors, clusters, seed=seed)),
        ceiling=ceiling_record(ceilings, clusters, seed),
        skill=Interval.of(stats.skill(scores, floors, uppers, clusters, seed=seed)),
        disattenuated=Interval.of(stats.disattenuated(scores, uppers, clusters, seed=seed)),
        direction="higher" if metric.higher_is_better else "lower",
        metric_params=metric_params(task.plan.task, metric.name),
        metric_version=metric.version,
        weighted=Interval.of(stats.mean_estimate(weighted, clusters, seed=seed)),
        weighted_floor=Interval.of(stats.mean_estimate(weighted_floors, clusters, seed=seed)),
        weighted_ceiling=_interval_of(weighted_ceilings, clusters, seed),
        weighted_skill=Interval.of(
            stats.skill(weighted, weighted_floors, weighted_uppers, clusters, seed=seed)
        ),
        weighted_disattenuated=Interval.of(
            stats.disattenuated(weighted, weighted_uppers, clusters, seed=seed)
        ),
        tokens_left_out=left_out_counts(found),
    )


def _weighted(outcomes: Sequence[Outcome], method: Method, column: Column) -> list[float | None]:
    of_method = [o.scored.weighted.get(method.call, {}) for o in outcomes]
    return [found[column].value if column in found else None for found in of_method]


def _weighted_ceilings(outcomes: Sequence[Outcome], column: Column) -> list[Ceiling]:
    # An utterance without scores has no other reason by effect than the ceiling of its score.
    return [
        o.scored.weighted_ceilings.get(column) or replace(o.scored.ceilings[column], upper=None)
        for o in outcomes
    ]


def _interval_of(ceilings: Sequence[Ceiling], clusters: Sequence[str], seed: int) -> Interval:
    found = Interval.of(stats.mean_estimate([c.upper for c in ceilings], clusters, seed=seed))
    return replace(found, reason=why_no_value(found.reason, ceilings))


def _utterance_columns(
    task: TaskOutcome, outcomes: Sequence[Outcome], method: Method
) -> dict[str, list[Any]]:
    spec = task.plan.task
    table: dict[str, list[Any]] = {
        "id": [o.utterance.id for o in outcomes],
        "cluster": [o.utterance.cluster for o in outcomes],
        "hypothesis": [o.decoded.hypothesis.text for o in outcomes],
        "truncated": [o.decoded.hypothesis.truncated for o in outcomes],
        "tokens": [len(o.decoded.hypothesis.content) for o in outcomes],
        "frames": [o.decoded.layout.frames for o in outcomes],
        spec.quality.metric: [_own_quality(task, o) for o in outcomes],
        "map_hash": [o.scored.map_hashes.get(method.call) for o in outcomes],
    }
    for call in spec.references:
        table |= reference_columns(outcomes, call)
    for column in _columns(task):
        name = column_name(*column)
        table[name] = [o.scored.scores[method.call][column].value for o in outcomes]
        table[f"floor:{name}"] = [o.scored.scores[task.floor.call][column].value for o in outcomes]
        if column[1] is None:
            table |= detail_columns(outcomes, method, column)
        else:
            table[f"ceiling:{name}"] = [o.scored.ceilings[column].upper for o in outcomes]
            table[f"weighted:{name}"] = _weighted(outcomes, method, column)
            table[f"weighted-floor:{name}"] = _weighted(outcomes, task.floor, column)
            table[f"weighted-ceiling:{name}"] = [
                c.upper for c in _weighted_ceilings(outcomes, column)
            ]
            table |= own_columns(outcomes, method, column)
    return table


def _own_quality(task: TaskOutcome, outcome: Outcome) -> float | None:
    spec, utterance = task.plan.task, outcome.utterance
    target = utterance.target_text(spec.target_language)
    if target is None:
        return None
    language = spec.target_language or utterance.language
    return utterance_quality(spec.quality, outcome.decoded.hypothesis.text, target, language)


def _cost(
    outcomes: Sequence[Outcome], method: Method, info: ModelInfo, peak_memory_bytes: int | None
) -> Cost:
    facts = [o.scored.maps[method.call] for o in outcomes if method.call in o.scored.maps]
    heard = sum(o.decoded.seconds_of_audio for o in outcomes if method.call in o.scored.maps)
    seconds = sum(f["seconds"] for f in facts)
    return Cost(
        forward_passes=sum(f["forward_passes"] for f in facts),
        backward_passes=sum(f["backward_passes"] for f in facts),
        seconds=round(seconds, 6),
        seconds_per_audio_second=round(seconds / heard, 6) if heard else None,
        peak_memory_bytes=peak_memory_bytes,
        device=info.device,
    )
