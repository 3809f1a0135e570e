"""What a run would take: passes, time and disk, from a few timed passes on its first utterance."""

from __future__ import annotations

import time
from typing import Any

from xbench import registry
from xbench.case import Case
from xbench.errors import UtteranceError
from xbench.models.protocol import Features, Hypothesis
from xbench.references.estimation import Sampling
from xbench.references.reference import Reference
from xbench.runner import compare, stages
from xbench.runner.bench import Bench, bench_of
from xbench.runner.hearing import most_passes
from xbench.runner.keys import Job
from xbench.runner.plan import Method, Plan, TaskPlan, expand
from xbench.spec import ExecutionOptions

_TIMED_PASSES = 48


def estimate(plan: Plan, options: ExecutionOptions) -> list[dict[str, Any]]:
    """Return one row per task: utterances, passes, expected seconds, expected bytes.

    Seconds and bytes are extrapolated from the first utterance that the model takes: it is decoded (and
    stored) and each reference runs on it with a few masks. They are rough; passes are exact
    unless utterances turn out too long or empty. With `until` all are upper limits.
    What the store already holds is not subtracted.
    """
    bench = bench_of(plan, options)
    methods = expand(plan.methods, bench.info.decoder_layers, bench.info.heads)
    return [_of_task(of_task, methods, bench, plan.spec.seed) for of_task in plan.tasks]


def _of_task(
    plan: TaskPlan,
    methods: tuple[Method, ...],
    bench: Bench,
    seed: int,
) -> dict[str, Any]:
    task, count = plan.task, len(plan.manifest.utterances)
    features, hypothesis, key, decode_seconds = _first_usable(plan, bench, seed)
    case = Case(bench.model, features, hypothesis, key)
    content = len(hypothesis.content)
    seconds = decode_seconds
    bytes_each = len(methods) * len(hypothesis.tokens) * features.frames * 4
    for call in task.references:
        if compare.unsupported_reference(bench.info, call.name):
            continue
        description = registry.references.get(call.name)
        passes = stages.steps_of(call)
        timed = min(passes, _TIMED_PASSES)
        few, compute = description.timed(call, timed), description.load()
        sampling = Sampling(seed, bench.batch_size)
        compute(case, sampling, **few.given)  # warms up
        started = time.perf_counter()
        reference: Reference = compute(case, sampling, **few.given)
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
        "measured on": bench.info.device,
    }


def _first_usable(
    plan: TaskPlan, bench: Bench, seed: int
) -> tuple[Features, Hypothesis, str, float]:
    last = None
    for utterance in plan.manifest.utterances:
        job = Job(plan.task, utterance, seed)
        started = time.perf_counter()
        try:
            decoded = stages.decode(bench, job)
            features, _ = stages.read_features(bench.model, utterance)
        except UtteranceError as problem:
            last = problem
            continue
        if not decoded.empty:
            elapsed = time.perf_counter() - started
            return features, decoded.hypothesis, utterance.audio_sha256, elapsed
    raise last or UtteranceError(
        "empty-hypothesis", f"task '{plan.task.name}': the model writes nothing for any utterance"
    )
