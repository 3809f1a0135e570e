"""What happens to one utterance: decode, refer, explain, score. Each stage looks in the store first.

Stages are functions of (model, store, job) that leave their output in the store, so any
process may run any of them, an interrupted run goes on, and scoring needs no model.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xbench import registry
from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.data.manifest import Utterance
from xbench.description import load_object
from xbench.errors import Unsupported, XbenchError
from xbench.maps import GridMap, Layout, on_encoder_grid
from xbench.methods.compute import compute_map
from xbench.methods.word_window import words_of_tokens
from xbench.metrics import Score
from xbench.metrics.batch import Maps, Spans, batches, score_all
from xbench.models.metered import MeteredModel
from xbench.models.protocol import (
    NO_SPECTROGRAM,
    Features,
    Hypothesis,
    ModelInfo,
    SpeechModel,
    layout,
)
from xbench.references.estimation import Sampling
from xbench.references.reference import Reference, Relevance
from xbench.references.reliability import (
    NO_RELIABILITY,
    Ceiling,
    Reliability,
    utterance_reliability,
)
from xbench.runner.keys import Decoded, Job, Partner, hypothesis_key, map_key, reference_key
from xbench.runner.plan import Method
from xbench.runner.walk import fault
from xbench.spec import Call, Scoring, TaskSpec
from xbench.store import Artefact, Key, Store

# -- decode ---------------------------------------------------------------------------------------


def read_features(model: SpeechModel, utterance: Utterance) -> tuple[Features, float]:
    """Read the audio and compute its spectrogram; also return its length in seconds."""
    rate = model.info.sampling_rate
    audio = read_audio(utterance.audio, rate)
    return model.features(audio), len(audio) / rate


def decode(model: SpeechModel, store: Store, job: Job) -> Decoded:
    """Return the stored hypothesis, or decode and store it; raises UtteranceError."""
    model.check_language(job.utterance.language, job.task.target_language)
    key = hypothesis_key(model.info, job)
    stored = store.get(key)
    if stored is not None:
        return _decoded(stored.facts)
    features, seconds = read_features(model, job.utterance)
    started = time.perf_counter()
    hypothesis = model.decode(
        features, job.utterance.language, job.task.target_language, job.task.decoding
    )
    axes = layout(features, hypothesis)
    facts = {
        "prompt": hypothesis.prompt,
        "tokens": hypothesis.tokens,
        "texts": hypothesis.texts,
        "content": hypothesis.content,
        "text": hypothesis.text,
        "truncated": hypothesis.truncated,
        "frames": axes.frames,
        "melframes": axes.melframes,
        "stride": axes.stride,
        "melframe_seconds": axes.melframe_seconds,
        "seconds_of_audio": seconds,
        "seconds": time.perf_counter() - started,
    }
    store.put(key, {}, facts)
    return _decoded(facts)


def read_decoded(info: ModelInfo, store: Store, job: Job) -> Decoded:
    """Return the stored hypothesis; raises XbenchError when it is gone."""
    return _decoded(stored_artefact(store, hypothesis_key(info, job)).facts)


def _decoded(facts: Mapping[str, Any]) -> Decoded:
    hypothesis = Hypothesis(
        prompt=tuple(facts["prompt"]),
        tokens=tuple(facts["tokens"]),
        texts=tuple(facts["texts"]),
        content=tuple(facts["content"]),
        text=facts["text"],
        truncated=facts["truncated"],
    )
    axes = Layout(
        tokens=hypothesis.tokens,
        texts=hypothesis.texts,
        content=hypothesis.content,
        frames=facts["frames"],
        melframes=facts["melframes"],
        stride=facts["stride"],
        melframe_seconds=facts["melframe_seconds"],
    )
    return Decoded(hypothesis, axes, facts["seconds_of_audio"])


# -- refer ----------------------------------------------------------------------------------------


def unsupported_reference(info: ModelInfo, name: str) -> str | None:
    """Return why a reference cannot be estimated for a model, or None where it can."""
    needs_cells = registry.references.get(name).space == "input"
    return NO_SPECTROGRAM if needs_cells and not info.spectrogram else None


def refer(
    model: SpeechModel,
    store: Store,
    job: Job,
    decoded: Decoded,
    batch_size: int | None,
    progress: Callable[[int], None],
) -> None:
    """Estimate and store every reference of the task that is not there yet."""
    case = None
    for call in job.task.references:
        expected = steps_of(call)
        if unsupported_reference(model.info, call.name):
            progress(expected)
            continue
        key = reference_key(model.info, job, decoded, call)
        # get(), not has(): a damaged file is only noticed by reading it, and the reference must be estimated
        # again while the model is loaded.
        if store.get(key) is not None:
            progress(expected)
            continue
        if case is None:
            features, _ = read_features(model, job.utterance)
            case = Case(model, features, decoded.hypothesis, job.utterance.audio_sha256)
        metered = MeteredModel(model)
        case = replace(case, model=metered)
        started = time.perf_counter()
        told = Told(progress, expected)
        estimate = registry.references.get(call.name).load()
        sampling = Sampling(job.seed, batch_size, told.passes, job.task.scoring)
        reference: Reference = estimate(case, sampling, **dict(call.params))
        told.rest()
        arrays, facts = reference.to_artefact()
        cost = {
            "forward_passes": metered.passes.forward,
            "seconds": time.perf_counter() - started,
        }
        store.put(key, arrays, {"reference": facts, **cost})


def steps_of(call: Call) -> int:
    """Return the steps that a progress bar gives one reference of one utterance: its passes, where they are known."""
    return registry.references.get(call.name).most_passes(call) or 1


@dataclass
class Told:
    """The steps of one reference that a progress bar was told of, never more than it expects."""

    progress: Callable[[int], None]
    expected: int
    told: int = 0

    def passes(self, count: int) -> None:
        """Tell of passes that were made."""
        count = min(count, self.expected - self.told)
        self.told += count
        self.progress(count)

    def rest(self) -> None:
        """Tell of the passes that were not needed, because a reliability was reached before."""
        self.passes(self.expected)


def read_reference(call: Call, stored: Artefact) -> Reference:
    """Make a reference again from its artefact."""
    restore = load_object(registry.references.get(call.name).restore)
    reference: Reference = restore(stored.arrays, stored.facts["reference"])
    return reference


# -- explain --------------------------------------------------------------------------------------


NOT_CAPTURES = frozenset({"words", "partner"})


def explain(
    model: SpeechModel,
    store: Store,
    job: Job,
    decoded: Decoded,
    methods: Sequence[Method],
    partner: Partner | None = None,
) -> dict[Call, str]:
    """Compute and store the maps that are not there yet, from one trace.

    Passes are counted as they happen. The trace counts for every method that is no control; a
    control's map does not come from it. Returns the methods that do not support this model, with
    the reason.
    """
    keys = {m.call: map_key(model.info, job, decoded, m, partner) for m in methods}
    missing = [m for m in methods if store.get(keys[m.call]) is None]
    if not missing:
        return {}
    metered = MeteredModel(model)
    started = time.perf_counter()
    case = traced(metered, job, decoded, missing)
    if partner and any("partner" in m.description.needs for m in missing):
        case = replace(case, partner=traced(metered, partner.job, partner.decoded, missing))
    trace_seconds = time.perf_counter() - started
    assert case.trace is not None
    padding_mass = float(case.trace.padding_mass.mean())

    unsupported = {}
    for method in missing:
        before = metered.passes
        started = time.perf_counter()
        try:
            array = compute_map(method.description, method.call, case, method.fitted)
        except Unsupported as problem:
            unsupported[method.call] = str(problem)
            continue
        except Exception as problem:  # noqa: BLE001  # a method may fail in any way
            unsupported[method.call] = f"it failed on {job.utterance.id}: {fault(problem)}"
            continue
        traces = 0 if method.description.kind == "control" else 1
        spent = metered.passes - before
        store.put(
            keys[method.call],
            {"values": array},
            {
                "forward_passes": spent.forward + traces,
                "backward_passes": spent.backward,
                "seconds": time.perf_counter() - started + traces * trace_seconds,
                "padding_mass": padding_mass,
            },
        )
    return unsupported


def traced(model: SpeechModel, job: Job, decoded: Decoded, methods: Iterable[Method]) -> Case:
    """Read one utterance and capture what these methods need of it."""
    features, _ = read_features(model, job.utterance)
    needs = frozenset[str]().union(*(m.description.needs for m in methods)) - NOT_CAPTURES
    trace = model.trace(features, decoded.hypothesis, needs)
    return Case(model, features, decoded.hypothesis, job.utterance.audio_sha256, trace, job.words)


# -- score ----------------------------------------------------------------------------------------

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
    """What one utterance says about one of its references."""

    reliability: Reliability
    kept: float | None
    masks: tuple[int, int]
    converged: bool | None
    neutral: str | None
    forward_passes: int
    seconds: float
    computation: Mapping[str, str | float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """All scores of one utterance: per method and (metric, reference), and their ceilings.

    computations: how the passes of interventions were run, per method and metric (`hiding.passes`).
    """

    scores: Mapping[Call, Mapping[Column, Score]]
    ceilings: Mapping[Column, Ceiling]
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


def score(
    info: ModelInfo,
    store: Store,
    job: Job,
    decoded: Decoded,
    methods: Sequence[Method],
    partner: Partner | None = None,
) -> Scored:
    """Compare stored maps with stored references; needs no model."""
    if decoded.empty:
        return unscored(job, methods, "empty-hypothesis")
    axes, scoring = decoded.layout, job.task.scoring
    maps, map_facts, map_hashes = {}, {}, {}
    for method in methods:
        stored = stored_artefact(store, map_key(info, job, decoded, method, partner))
        values = stored.arrays["values"]
        maps[method.call] = on_encoder_grid(
            values,
            axes,
            scoring,
            signed=method.description.signed,
            distribution=method.description.distribution,
        )
        map_facts[method.call] = stored.facts
        map_hashes[method.call] = hashlib.sha256(values.tobytes()).hexdigest()[:16]

    scores: dict[Call, dict[Column, Score]] = {m.call: {} for m in methods}
    ceilings: dict[Column, Ceiling] = {}
    references, targets = {}, {}
    metrics = [
        (metric, dict(call.params))
        for call in job.task.metrics
        if (metric := registry.metrics.get(call.name)).takes == "reference"
    ]
    for call in job.task.references:
        if unsupported_reference(info, call.name):
            for column in ((m.name, call.name) for m in job.task.metrics):
                for row in scores.values():
                    row[column] = Score(None, "unsupported-reference")
                ceilings[column] = Ceiling(None, reason="unsupported-reference")
            continue
        stored = stored_artefact(store, reference_key(info, job, decoded, call))
        reference = read_reference(call, stored)
        mean = on_encoder_grid(reference.mean(), axes, scoring)
        halves = on_grid(reference.halves(), axes, scoring)
        facts = reference.facts()
        references[call.name] = ReferenceFacts(
            reliability=utterance_reliability(*halves, axes) if halves else NO_RELIABILITY,
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
            ceilings[metric.name, call.name] = _ceiling(
                metric.ceiling, metric.no_ceiling, mean, halves, axes, job
            )
    timed = any("words" in metric.needs for metric, _ in metrics)
    spans = word_spans(job, decoded) if timed else None
    calls, grids = list(maps), list(maps.values())
    for batch in batches(grids, axes):
        together = Maps.of([grids[index] for index in batch], axes)
        for metric, params in metrics:
            for name, target in targets.items():
                found = score_all(metric, params, together, target, scoring, spans)
                for index, value in zip(batch, found, strict=True):
                    scores[calls[index]][metric.name, name] = value
    return Scored(scores, ceilings, references, map_facts, map_hashes)


def word_spans(job: Job, decoded: Decoded) -> Spans | None:
    """Return when the word of each generated token was spoken; None where nobody knows."""
    if job.words is None:
        return None
    words = job.words
    aligned = words_of_tokens(decoded.layout, decoded.hypothesis.text, words)
    return tuple(
        (min(words[i].start for i in own), max(words[i].end for i in own)) if own else None
        for own in aligned
    )


def _ceiling(
    implementation: str | None,
    reason: str,
    mean: GridMap,
    halves: tuple[GridMap, GridMap] | None,
    axes: Layout,
    job: Job,
) -> Ceiling:
    if implementation is None:
        return Ceiling(None, reason=reason)
    if halves is None:
        return Ceiling(None, reason=NO_RELIABILITY.reason)
    ceiling: Ceiling = load_object(implementation)(mean, *halves, axes, job.task.scoring)
    return ceiling


def on_grid(
    halves: tuple[Relevance, Relevance] | None, axes: Layout, scoring: Scoring
) -> tuple[GridMap, GridMap] | None:
    """Bring both halves of a reference onto the encoder grid; None for a reference without halves."""
    if halves is None:
        return None
    return on_encoder_grid(halves[0], axes, scoring), on_encoder_grid(halves[1], axes, scoring)


def stored_artefact(store: Store, key: Key) -> Artefact:
    """Return an artefact that an earlier stage has made; raises XbenchError when it is gone."""
    stored = store.get(key)
    if stored is None:
        raise XbenchError(
            f"the {key.kind} {key.digest[:12]} vanished from the cache during the run; "
            "run the same command again"
        )
    return stored
