"""What a model does with one utterance: decode, refer, explain. Each stage looks in the store first.

Stages are functions of a bench (model and store) and an utterance that leave their output in the store, so any
process may run any of them, an interrupted run goes on, and scoring (`compare`) needs no model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from xbench import registry
from xbench.case import Case
from xbench.data.audio import LONGEST_SECONDS, audio_sha256, read_audio
from xbench.data.manifest import Utterance
from xbench.description import CAPTURES
from xbench.errors import Unsupported, UsageError, UtteranceError, XbenchError
from xbench.hiding.batching import out_of_memory
from xbench.hiding.cells import EncoderFrames
from xbench.maps import Layout
from xbench.methods.compute import compute_map
from xbench.methods.isolation import lent
from xbench.methods.watch import Watch, again_if_disturbed
from xbench.metrics.quality import loops
from xbench.models.metered import MeteredModel
from xbench.models.protocol import (
    Features,
    Hypothesis,
    ModelInfo,
    SpeechModel,
    layout,
)
from xbench.references.blocks import Superseded
from xbench.references.estimation import Sampling
from xbench.references.reference import Reference
from xbench.runner import compare
from xbench.runner.bench import Bench, Shelf
from xbench.runner.blocks import KeptBlocks
from xbench.runner.keys import (
    Certainty,
    Decoded,
    Job,
    Spoken,
    hypothesis_key,
    map_key,
    reference_key,
)
from xbench.runner.plan import Method
from xbench.runner.progress import SILENT, Reporter
from xbench.runner.walk import exhausted, fault
from xbench.spec import LOCAL, Call
from xbench.store import Key

UNSTORED_SECONDS = 1.0  # what a kill may cost of finished maps
UNLIMITED = nullcontext()  # one object serves every call

# -- decode ---------------------------------------------------------------------------------------


def longest_seconds(info: ModelInfo) -> float:
    """Return how much of a file is read at most: enough for the model to say by how much it is too long."""
    if info.max_samples is None:
        return LONGEST_SECONDS
    return min(LONGEST_SECONDS, 2 * info.max_samples / info.sampling_rate)


def read_features(model: SpeechModel, utterance: Utterance) -> tuple[Features, float]:
    """Read the audio and compute its spectrogram; also return its length in seconds."""
    rate = model.info.sampling_rate
    audio = read_audio(utterance.audio, rate, longest_seconds(model.info))
    return model.features(audio), len(audio) / rate


@again_if_disturbed
def decode(bench: Bench, job: Job) -> Decoded:
    """Return the stored hypothesis, or decode and store it; raises UtteranceError."""
    bench.model.check_language(job.utterance.language, job.task.target_language)
    if not job.utterance.audio_sha256:
        raise _unreadable(job.utterance)
    key = hypothesis_key(bench.info, job)
    stored = bench.store.get(key)
    if stored is not None:
        return _decoded(stored.facts, job)
    facts = _written(bench.model, job, certainty=True)
    bench.put(key, {}, facts)
    return _decoded(facts, job)


def _unreadable(utterance: Utterance) -> UtteranceError:
    """Return why an utterance fails whose file could not be read when the run began: no key names what lies there."""
    try:
        audio_sha256(utterance.audio)
    except UtteranceError as problem:
        return problem
    return UtteranceError(
        "missing-audio", f"{utterance.audio}: could not be read when the run began; run again"
    )


def decode_once(model: SpeechModel, job: Job) -> Decoded:
    """Return what a model writes, without a store; raises UtteranceError."""
    model.check_language(job.utterance.language, job.task.target_language)
    return _decoded(_written(model, job, certainty=False), job)


def _written(model: SpeechModel, job: Job, *, certainty: bool) -> dict[str, Any]:
    """Decode; return the facts of the artefact. certainty: also how sure the model is, which takes one more pass."""
    features, seconds = read_features(model, job.utterance)
    started = time.perf_counter()
    hypothesis = model.decode(
        features, job.utterance.language, job.task.target_language, job.task.decoding
    )
    axes = layout(features, hypothesis)
    taken = time.perf_counter() - started
    case = Case(model, features, hypothesis, job.utterance.audio_sha256)
    return {
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
        "seconds": taken,
        **(_certainty(case) if certainty else {}),
    }


@torch.inference_mode()
def _certainty(case: Case) -> dict[str, list[float | None]]:
    """Return how sure the model is of each token (`keys.Certainty`); nothing for a hypothesis without a token."""
    if not case.hypothesis.tokens:
        return {}
    clean = EncoderFrames(case).clean
    found = {"log_probability": clean.of_tokens(clean.log_p), "entropy": clean.entropy}
    return {
        name: [value if math.isfinite(value) else None for value in values.double().tolist()]
        for name, values in found.items()
    }


def read_decoded(shelf: Shelf, job: Job) -> Decoded:
    """Return the stored hypothesis; raises XbenchError when it is gone."""
    return _decoded(shelf.artefact(hypothesis_key(shelf.info, job)).facts, job)


def _decoded(facts: Mapping[str, Any], job: Job) -> Decoded:
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
    said = job.utterance.target_text(job.task.target_language) or ""
    looping = loops(hypothesis.text) and not loops(said)
    certainty = None
    if "entropy" in facts:
        certainty = Certainty(tuple(facts["log_probability"]), tuple(facts["entropy"]))
    return Decoded(hypothesis, axes, facts["seconds_of_audio"], looping, certainty)


# -- refer ----------------------------------------------------------------------------------------


@again_if_disturbed
def refer(bench: Bench, spoken: Spoken, progress: Callable[[int], None]) -> None:
    """Estimate and store every reference of the task that is not there yet."""
    model, store, job = bench.model, bench.store, spoken.job
    case = None
    for call in job.task.references:
        expected = steps_of(call)
        if compare.unsupported_reference(model.info, call.name):
            progress(expected)
            continue
        key = reference_key(model.info, spoken, call)
        # get(), not has(): a damaged file is only noticed by reading it, and the reference must be estimated
        # again while the model is loaded.
        if store.get(key) is not None:
            progress(expected)
            continue
        if case is None:
            features, _ = read_features(model, job.utterance)
            hypothesis = spoken.decoded.hypothesis
            case = Case(model, features, hypothesis, job.utterance.audio_sha256, words=job.words)
        metered = MeteredModel(model)
        case = replace(case, model=metered)
        started = time.perf_counter()
        told = Told(progress, expected)
        blocks = KeptBlocks(store, key, metered, bench.watch.look)
        sampling = Sampling(
            job.seed, bench.batch_size, told.passes, job.task.scoring, blocks=blocks
        )
        try:
            reference, arrays, facts = _estimated(bench, call, case, sampling)
        except Superseded:
            pass
        else:
            cost = {
                "forward_passes": blocks.passes(sum(reference.facts().masks)),
                "seconds": time.perf_counter() - started + blocks.seconds_elsewhere,
            }
            bench.put(key, arrays, {"reference": facts, **cost})
        blocks.drop()
        told.rest()


Estimated = tuple[Reference, Mapping[str, np.ndarray], Mapping[str, Any]]


def _estimated(bench: Bench, call: Call, case: Case, sampling: Sampling) -> Estimated:
    """Return a reference with its arrays and facts; one that is not ours may fail in any way, and is then named.

    Raises:
        UtteranceError: a reference that is not ours failed, or changed what all share; that is put back.
    """
    description = registry.references.get(call.name)

    def estimate() -> Estimated:
        reference: Reference = description.load()(case, sampling, **call.given)
        return reference, *reference.to_artefact()

    if registry.references.entry(call.name).distribution == registry.OURS:
        return estimate()
    try:
        with bench.watch.over(f"reference '{call}'", bench.model, UNLIMITED):
            found = estimate()
            _check_axes(found[0].mean(), description.space, layout(case.features, case.hypothesis))
        return found
    except (Superseded, UtteranceError):
        raise
    except BaseException as problem:  # noqa: BLE001  # a stranger's reference may fail in any way
        what = f"reference '{call}': {fault(problem)}"
        raise UtteranceError("reference-failed", what) from None


def _check_axes(values: np.ndarray, space: str, axes: Layout) -> None:
    expected = (len(axes.tokens), axes.frames if space == "encoder" else axes.melframes)
    if values.ndim != (2 if space == "encoder" else 3) or values.shape[:2] != expected:
        raise XbenchError(
            f"its map has shape {list(values.shape)}, expected {[*expected]}"
            f"{'' if space == 'encoder' else ' and channels'}"
        )


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


# -- explain --------------------------------------------------------------------------------------


def explain(
    bench: Bench, spoken: Spoken, methods: Sequence[Method], reporter: Reporter = SILENT
) -> dict[Call, str]:
    """Compute and store the maps that are not there yet, from one trace.

    Passes are counted as they happen. The trace counts for every method that is no control; a
    control's map does not come from it. Maps are stored once no plugin is found to have changed anything meanwhile
    (else raises Disturbed), about every second, since that takes a while. Returns the methods that do not support this
    model, with the reason.
    """
    unsupported = bench.barred(methods)
    methods = [m for m in methods if m.call not in unsupported]
    keys = {m.call: map_key(bench.info, spoken, m) for m in methods}
    missing = [m for m in methods if bench.made(keys[m.call]) is None]
    if not missing:
        return unsupported
    metered = MeteredModel(bench.model)
    started = time.perf_counter()
    case = traced(metered, spoken, missing)
    if spoken.partner and any("partner" in m.description.needs for m in missing):
        case = replace(case, partner=traced(metered, spoken.partner, missing))
    trace_seconds = time.perf_counter() - started
    assert case.trace is not None
    said = {
        "padding_mass": float(case.trace.padding_mass.mean()),
        # Of each generated token, over all layers and heads.
        "audio_share": (1 - case.trace.padding_mass).mean((0, 1)).tolist(),
        "sinks": case.trace.sinks().tolist(),
    }

    who = f"on {spoken.job.utterance.id}"
    made: list[tuple[Key, Mapping[str, np.ndarray], Mapping[str, Any]]] = []
    stored = time.perf_counter()
    for method in missing:
        before = metered.passes
        started = time.perf_counter()
        try:
            with reporter.at_work(f"method '{method.call}', {who}"):
                array = map_of(method, case, bench.watch, bench.limit.of(method.call, who))
        except Unsupported as problem:
            unsupported[method.call] = str(problem)
            continue
        except BaseException as problem:  # a method may fail in any way
            if isinstance(problem, UsageError) and method.distribution == LOCAL:
                raise  # its author is there and can mend it
            if method.ours and isinstance(problem, UtteranceError):
                raise UtteranceError(problem.reason, f"method '{method.call}': {problem}") from None
            if method.ours and out_of_memory(problem):
                raise exhausted(f"method '{method.call}'") from None
            unsupported[method.call] = f"it failed {who}: {fault(problem, method.ours)}"
            continue
        traces = 0 if method.description.kind == "control" else 1
        spent = metered.passes - before
        facts = {
            "forward_passes": spent.forward + traces,
            "backward_passes": spent.backward,
            "seconds": time.perf_counter() - started + traces * trace_seconds,
            **said,
        }
        made.append((keys[method.call], {"values": array}, facts))
        if time.perf_counter() - stored > UNSTORED_SECONDS:
            _put_all(bench, made)
            stored = time.perf_counter()
    _put_all(bench, made)
    return unsupported


def _put_all(
    bench: Bench, made: list[tuple[Key, Mapping[str, np.ndarray], Mapping[str, Any]]]
) -> None:
    while made:
        bench.put(*made[0])
        del made[0]


def map_of(
    method: Method, case: Case, watch: Watch, limit: AbstractContextManager[None] = UNLIMITED
) -> Float32[np.ndarray, "token *cells"]:
    """Return the map of a method for a traced case, as `compute_map` does; one that is not ours is isolated."""
    description, call, fitted = method.description, method.call, method.fitted
    if method.ours:
        watch.begin()
        with limit:
            return compute_map(description, call, case, fitted)
    with watch.over(f"method '{call}'", case.model, limit):
        return compute_map(description, call, lent(case, description.needs), fitted)


def traced(model: SpeechModel, spoken: Spoken, methods: Iterable[Method]) -> Case:
    """Read one utterance and capture what these methods need of it."""
    job, hypothesis = spoken.job, spoken.decoded.hypothesis
    features, _ = read_features(model, job.utterance)
    needs = frozenset[str]().union(*(m.description.needs for m in methods)) & CAPTURES
    trace = model.trace(features, hypothesis, needs)
    return Case(model, features, hypothesis, job.utterance.audio_sha256, trace, job.words)
