"""What a run would take: passes, time and disk, from a few timed passes on its first utterance."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.case import Case
from xbench.errors import UtteranceError
from xbench.models.loading import load_model
from xbench.models.protocol import Features, Hypothesis, SpeechModel
from xbench.references.estimation import Sampling
from xbench.references.reference import Reference
from xbench.runner import stages
from xbench.runner.intervene import most_passes
from xbench.runner.keys import Job
from xbench.runner.plan import Method, TaskPlan, expand, prepare
from xbench.spec import ExecutionOptions, RunSpec
from xbench.store import Store, default_folder

_TIMED_PASSES = 48


def estimate(spec: RunSpec, options: ExecutionOptions) -> list[dict[str, Any]]:
    """Return one row per task: utterances, passes, expected seconds, expected bytes.

    Seconds and bytes are extrapolated from the first utterance that the model takes: it is decoded (and
    stored) and each reference runs on it with a few masks. They are rough; passes are exact
    unless utterances turn out too long or empty. With `until` all are upper limits.
    What the store already holds is not subtracted.
    """
    methods, plans = prepare(spec)
    store = Store(Path(options.cache) if options.cache else default_folder())
    model = load_model(
        spec.model,
        device=options.device,
        precision=spec.precision,
        trust_remote_code=spec.trust_remote_code,
    )
    methods = expand(methods, model.info.decoder_layers, model.info.heads)
    return [_of_task(plan, methods, model, store, spec.seed, options.batch_size) for plan in plans]


def _of_task(
    plan: TaskPlan,
    methods: tuple[Method, ...],
    model: SpeechModel,
    store: Store,
    seed: int,
    batch_size: int | None,
) -> dict[str, Any]:
    task, count = plan.task, len(plan.manifest.utterances)
    features, hypothesis, key, decode_seconds = _first_usable(plan, model, store, seed)
    case = Case(model, features, hypothesis, key)
    content = len(hypothesis.content)
    seconds = decode_seconds
    bytes_each = len(methods) * len(hypothesis.tokens) * features.frames * 4
    for call in task.references:
        if stages.unsupported_reference(model.info, call.name):
            continue
        description = registry.references.get(call.name)
        passes = stages.steps_of(call)
        timed = min(passes, _TIMED_PASSES)
        few, compute = description.timed(call, timed), description.load()
        sampling = Sampling(seed, batch_size)
        compute(case, sampling, **dict(few.params))  # warms up
        started = time.perf_counter()
        reference: Reference = compute(case, sampling, **dict(few.params))
        seconds += (time.perf_counter() - started) * passes / timed
        bytes_each += sum(array.nbytes for array in reference.to_artefact()[0].values())
    return {
        "task": task.name,
        "utterances": count,
        "methods": len(methods),
        "masks": {
            call.name: registry.references.get(call.name).most_passes(call)
            for call in task.references
        },
        "forward passes": count * (1 + sum(stages.steps_of(c) + 1 for c in task.references)),
        "intervention passes, at most (not in the seconds)": count
        * most_passes(Job(task, plan.manifest.utterances[0], seed), len(methods), content),
        "expected seconds": round(seconds * count, 1),
        "expected megabytes": round(bytes_each * count / 1e6, 1),
        "measured on": model.info.device,
    }


def _first_usable(
    plan: TaskPlan, model: SpeechModel, store: Store, seed: int
) -> tuple[Features, Hypothesis, str, float]:
    last = None
    for utterance in plan.manifest.utterances:
        job = Job(plan.task, utterance, seed)
        started = time.perf_counter()
        try:
            decoded = stages.decode(model, store, job)
            features, _ = stages.read_features(model, utterance)
        except UtteranceError as problem:
            last = problem
            continue
        if not decoded.empty:
            elapsed = time.perf_counter() - started
            return features, decoded.hypothesis, utterance.audio_sha256, elapsed
    raise last or UtteranceError(
        "empty-hypothesis", f"task '{plan.task.name}': the model writes nothing for any utterance"
    )
