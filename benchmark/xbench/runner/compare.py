"""Compare the maps that the store holds with the references that it holds: scores of one utterance; needs no model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from xbench import registry
from xbench.description import load_object
from xbench.maps import GridMap, Layout, on_encoder_grid
from xbench.methods.word_window import words_of_tokens
from xbench.metrics import Score
from xbench.metrics.batch import (
    NO_TOKEN_VALUES,
    Maps,
    Spans,
    batches,
    score_all,
    weighted_means,
)
from xbench.models.protocol import (
    NO_SPECTROGRAM,
    ModelInfo,
)
from xbench.references.reference import Reference, Relevance
from xbench.references.reliability import (
    NO_RELIABILITY,
    Ceiling,
    Reliability,
    utterance_reliability,
)
from xbench.runner.bench import Shelf
from xbench.runner.keys import Job, Spoken, map_key, reference_key
from xbench.runner.plan import Method
from xbench.spec import Call, Scoring, TaskSpec
from xbench.store import Artefact

Column = tuple[str, str | None]  # metric name, reference name where the metric takes one


def columns(task: TaskSpec) -> list[Column]:
    """Return the columns of a task: agreement metrics by every reference, the others once."""
    metrics = [registry.metrics.get(call.name) for call in task.metrics]
    compared: list[Column] = [
        (metric.name, reference.name)
        for reference in task.references
        for metric in metrics
        if metric.takes == "reference"
    ]
    return compared + [(metric.name, None) for metric in metrics if metric.takes != "reference"]


@dataclass(frozen=True)
class ReferenceFacts:
    """What one utterance says about one of its references.

    effect: per content token, what hiding does to it on average: the mean of its row of the reference over all cells,
    before any pooling. rivals: what each other reference with cells of the same kind, taken as a method, scores by
    `pearson` against this one.
    """

    reliability: Reliability
    effect: tuple[float, ...]
    kept: float | None
    masks: tuple[int, int]
    converged: bool | None
    neutral: str | None
    forward_passes: int
    seconds: float
    computation: Mapping[str, str | float | None] = field(default_factory=dict)
    rivals: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """All scores of one utterance: per method and (metric, reference), and their ceilings.

    weighted, weighted_ceilings: the same with each token weighted by its effect, where a metric is a mean over tokens.
    computations: how the passes of interventions were run, per method and metric (`hiding.passes`).
    """

    scores: Mapping[Call, Mapping[Column, Score]]
    ceilings: Mapping[Column, Ceiling]
    weighted: Mapping[Call, Mapping[Column, Score]] = field(default_factory=dict)
    weighted_ceilings: Mapping[Column, Ceiling] = field(default_factory=dict)
    references: Mapping[str, ReferenceFacts] = field(default_factory=dict)
    maps: Mapping[Call, Mapping[str, Any]] = field(default_factory=dict)
    map_hashes: Mapping[Call, str] = field(default_factory=dict)
    computations: Mapping[Call, Mapping[Column, Mapping[str, Any]]] = field(default_factory=dict)


def unscored(job: Job, methods: Iterable[Method], reason: str) -> Scored:
    """Return null scores with one reason for every method, metric and reference."""
    named = columns(job.task)
    return Scored(
        scores={m.call: {c: Score(None, reason) for c in named} for m in methods},
        ceilings={c: Ceiling(None, reason=reason) for c in named},
    )


def score(shelf: Shelf, spoken: Spoken, methods: Sequence[Method]) -> Scored:
    """Compare stored maps with stored references; needs no model."""
    job, decoded = spoken.job, spoken.decoded
    if reason := decoded.unexplained:
        return unscored(job, methods, reason)
    axes, scoring = decoded.layout, job.task.scoring
    maps, map_facts, map_hashes = {}, {}, {}
    for method in methods:
        stored = shelf.artefact(map_key(shelf.info, spoken, method))
        values = stored.arrays["values"]
        maps[method.call] = method.on_grid(values, axes, scoring)
        map_facts[method.call] = stored.facts
        map_hashes[method.call] = hashlib.sha256(values.tobytes()).hexdigest()[:16]

    scores: dict[Call, dict[Column, Score]] = {m.call: {} for m in methods}
    weighted: dict[Call, dict[Column, Score]] = {m.call: {} for m in methods}
    ceilings: dict[Column, Ceiling] = {}
    weighted_ceilings: dict[Column, Ceiling] = {}
    references: dict[str, ReferenceFacts] = {}
    targets: dict[str, Maps] = {}
    metrics = [
        (metric, call.given)
        for call in job.task.metrics
        if (metric := registry.metrics.get(call.name)).takes == "reference"
    ]
    for call in job.task.references:
        if unsupported_reference(shelf.info, call.name):
            for column in ((m.name, call.name) for m in job.task.metrics):
                for row in scores.values():
                    row[column] = Score(None, "unsupported-reference")
                ceilings[column] = Ceiling(None, reason="unsupported-reference")
            continue
        stored = shelf.artefact(reference_key(shelf.info, spoken, call))
        reference = read_reference(call, stored)
        whole = reference.mean()
        mean = on_encoder_grid(whole, axes, scoring)
        halves = on_grid(reference.halves(), axes, scoring)
        facts = reference.facts()
        references[call.name] = ReferenceFacts(
            reliability=utterance_reliability(*halves, axes) if halves else NO_RELIABILITY,
            effect=token_effects(whole, axes),
            kept=None if facts.kept is None else float(facts.kept[list(axes.content)].mean()),
            masks=facts.masks,
            converged=facts.converged,
            neutral=facts.neutral,
            forward_passes=stored.facts["forward_passes"],
            seconds=stored.facts["seconds"],
            computation=facts.computation,
        )
        targets[call.name] = Maps.of([mean], axes)
        for metric, _ in metrics:
            ceilings[metric.name, call.name] = ceiling_of(
                metric.ceiling, metric.no_ceiling, mean, halves, axes, job
            )
            weighted_ceilings[metric.name, call.name] = ceiling_of(
                metric.weighted_ceiling,
                metric.no_ceiling or NO_TOKEN_VALUES,
                mean,
                halves,
                axes,
                job,
                weights=weights_of(references[call.name].effect),
            )
    for name, rivals in rival_scores(targets, scoring).items():
        references[name] = replace(references[name], rivals=rivals)
    timed = any("words" in metric.needs for metric, _ in metrics)
    spans = word_spans(spoken) if timed else None
    calls, grids = list(maps), list(maps.values())
    for batch in batches(grids, axes):
        together = Maps.of([grids[index] for index in batch], axes)
        for metric, params in metrics:
            for name, target in targets.items():
                judged = score_all(metric, params, together, target, scoring, spans)
                by_effect = weighted_means(judged, weights_of(references[name].effect))
                for index, value, other in zip(batch, judged.scores, by_effect, strict=True):
                    scores[calls[index]][metric.name, name] = value
                    weighted[calls[index]][metric.name, name] = other
    return Scored(scores, ceilings, weighted, weighted_ceilings, references, map_facts, map_hashes)


def rival_scores(
    targets: Mapping[str, Maps], scoring: Scoring
) -> dict[str, dict[str, float | None]]:
    """Return what each reference scores as a method by `pearson` against each other one: {judge: {rival: score}}.

    targets: the map of each reference on the encoder grid. Only references whose cells are of one kind meet: frames of
    the encoder, or cells of the spectrogram.
    """
    pearson = registry.metrics.get("pearson")
    spaces = {name: registry.references.get(name).space for name in targets}
    return {
        judge: {
            rival: score_all(pearson, {}, targets[rival], target, scoring, None).scores[0].value
            for rival in targets
            if rival != judge and spaces[rival] == spaces[judge]
        }
        for judge, target in targets.items()
    }


def token_effects(whole: Relevance, axes: Layout) -> tuple[float, ...]:
    """Return the mean of each content row over all cells: for masked means the effect of a mask that hides a cell."""
    rows = np.asarray(whole, dtype=np.float64)[list(axes.content)]
    return tuple(float(row.mean()) for row in rows)


def weights_of(effect: Sequence[float]) -> Float[np.ndarray, " token"]:
    """Return the weights of tokens by their effects: hiding cells may, by some effects, help a token; that counts 0."""
    return np.maximum(np.asarray(effect, dtype=np.float64), 0.0)


def word_spans(spoken: Spoken) -> Spans | None:
    """Return when the word of each generated token was spoken; None where nobody knows."""
    words, decoded = spoken.job.words, spoken.decoded
    if words is None:
        return None
    aligned = words_of_tokens(decoded.layout, decoded.hypothesis.text, words)
    return tuple(
        (min(words[i].start for i in own), max(words[i].end for i in own)) if own else None
        for own in aligned
    )


def ceiling_of(
    implementation: str | None,
    reason: str,
    mean: GridMap,
    halves: tuple[GridMap, GridMap] | None,
    axes: Layout,
    job: Job,
    **more: Float[np.ndarray, " token"],
) -> Ceiling:
    """Return the ceiling of a metric by its implementation; null with `reason` where the metric has none.

    more: what the implementation is given besides (the weights of tokens).
    """
    if implementation is None:
        return Ceiling(None, reason=reason)
    if halves is None:
        return Ceiling(None, reason=NO_RELIABILITY.reason)
    ceiling: Ceiling = load_object(implementation)(mean, *halves, axes, job.task.scoring, **more)
    return ceiling


def on_grid(
    halves: tuple[Relevance, Relevance] | None, axes: Layout, scoring: Scoring
) -> tuple[GridMap, GridMap] | None:
    """Bring both halves of a reference onto the encoder grid; None for a reference without halves."""
    if halves is None:
        return None
    return on_encoder_grid(halves[0], axes, scoring), on_encoder_grid(halves[1], axes, scoring)


def unsupported_reference(info: ModelInfo, name: str) -> str | None:
    """Return why a reference cannot be estimated for a model, or None where it can."""
    needs_cells = registry.references.get(name).space == "input"
    kinds = registry.references.get(name).kinds
    if info.kind not in kinds:
        return f"it is of models of kind {', '.join(kinds)}, and this one is of kind {info.kind}"
    return NO_SPECTROGRAM if needs_cells and not info.spectrogram else None


def read_reference(call: Call, stored: Artefact) -> Reference:
    """Make a reference again from its artefact."""
    restore = load_object(registry.references.get(call.name).restore)
    reference: Reference = restore(stored.arrays, stored.facts["reference"])
    return reference
