"""What a run would take: passes, time and disk, from one timed pass and counted operations.

The model is run once on the first utterance that it takes, with a clock and a counter of floating-point operations. A
mask over spectrogram cells costs as much as that pass. A mask over encoder frames costs the operations of the decoder
alone, at the speed of the whole pass. So the estimate takes seconds, also for a run of days. It is rough (batches and
lower precisions are faster, longer clips slower), and meant to be right within a factor of two or three.

`until` stops a reference when it is reliable. On real speech that took 2,000 to 8,500 masks of at most 20,000
(perf/reliability.md), so a quarter of the most is expected.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from xbench import registry
from xbench.errors import UtteranceError
from xbench.models.device import device_of, wait
from xbench.models.protocol import Features, Hypothesis, SpeechModel
from xbench.runner import compare, stages
from xbench.runner.bench import Bench, bench_of
from xbench.runner.hearing import most_passes
from xbench.runner.keys import Decoded, Job, Spoken, hypothesis_key, reference_key
from xbench.runner.plan import Plan, TaskPlan, expand, with_references
from xbench.runner.progress import Reporter
from xbench.spec import Call, ExecutionOptions

# Of the most passes of a reference with `until`, the share that is expected.
_UNTIL = 0.25
# Spectrogram cells per segment, over all levels of SLIC: for the disk only.
_CELLS_PER_SEGMENT = 10
# A run that is expected to take longer than this says so when it starts.
TELL_SECONDS = 600.0


@dataclass(frozen=True)
class PassCost:
    """Seconds of one pass, alone and in float32 or the model's own precision.

    full: encoder and decoder. decoder: the decoder over encoder frames of which some are hidden. decode: writing the
    hypothesis.
    """

    full: float
    decoder: float
    decode: float


@dataclass(frozen=True)
class ReferenceCost:
    """What one reference of a task takes, of the utterances that the store has none of.

    passes: the most of one utterance. seconds: as expected, and at the most.
    """

    call: Call
    space: str
    utterances: int
    passes: int
    seconds: float
    most_seconds: float


@dataclass(frozen=True)
class TaskCost:
    """What a task takes beside its methods."""

    plan: TaskPlan
    decode_seconds: float
    references: tuple[ReferenceCost, ...]
    first: Decoded


def estimate(plan: Plan, options: ExecutionOptions) -> list[dict[str, Any]]:
    """Return one row per task: utterances, passes, expected seconds, expected bytes.

    Passes are exact unless utterances turn out too long or empty; with `until` they are upper limits. References that
    the store already holds are not counted in the seconds.
    """
    bench = bench_of(plan, options)
    methods = expand(plan.methods, bench.info.decoder_layers, bench.info.heads)
    return [_row(of_task, len(methods), bench, plan.spec.seed) for of_task in plan.tasks]


def _row(plan: TaskPlan, methods: int, bench: Bench, seed: int) -> dict[str, Any]:
    cost = task_cost(plan, bench, seed)
    task, count = plan.task, len(plan.manifest.utterances)
    axes, content = cost.first.layout, len(cost.first.hypothesis.content)
    tokens = len(axes.tokens)
    cells = {"encoder": axes.frames, "input": axes.melframes * 80 // _CELLS_PER_SEGMENT}
    bytes_each = methods * tokens * axes.frames * 4
    bytes_each += sum(2 * tokens * cells[r.space] * 8 for r in cost.references)
    first = Job(task, plan.manifest.utterances[0], seed)
    return {
        "task": task.name,
        "utterances": count,
        "methods": methods,
        "masks": {
            call.name: registry.references.get(call.name).most_passes(call)
            for call in task.references
        },
        "forward passes": count * (1 + sum(stages.steps_of(c) + 1 for c in task.references)),
        "intervention passes, at most (not in the seconds)": count
        * most_passes(first, methods, content),
        "expected seconds": round(seconds_of([cost]), 1),
        "seconds, at most": round(
            cost.decode_seconds + sum(r.most_seconds for r in cost.references), 1
        ),
        "expected megabytes": round(bytes_each * count / 1e6, 1),
        "measured on": bench.info.device,
    }


def seconds_of(costs: Iterable[TaskCost]) -> float:
    """Return the expected seconds of tasks together."""
    return sum(c.decode_seconds + sum(r.seconds for r in c.references) for c in costs)


def task_cost(plan: TaskPlan, bench: Bench, seed: int) -> TaskCost:
    """Run the model once on the first utterance that it takes; raises UtteranceError where it takes none."""
    features, decoded, seconds = _first_usable(plan, bench, seed)
    each = pass_cost(bench.model, features, decoded.hypothesis)
    each = replace(each, decode=max(seconds, each.decode))
    jobs = [Job(plan.task, utterance, seed) for utterance in plan.manifest.utterances]
    written = [_written(bench, job) for job in jobs]
    references = []
    for call in plan.task.references:
        if compare.unsupported_reference(bench.info, call.name):
            continue
        space = registry.references.get(call.name).space
        lacking = sum(
            not _has(bench, job, one, call) for job, one in zip(jobs, written, strict=True)
        )
        passes = stages.steps_of(call)
        most = lacking * passes * (each.full if space == "input" else each.decoder)
        expected = most * (_UNTIL if call.given.get("until") else 1.0)
        references.append(ReferenceCost(call, space, lacking, passes, expected, most))
    undecoded = sum(one is None for one in written)
    return TaskCost(plan, each.decode * undecoded, tuple(references), decoded)


@torch.inference_mode()
def pass_cost(model: SpeechModel, features: Features, hypothesis: Hypothesis) -> PassCost:
    """Time one whole pass, count its operations and those of the decoder over masked frames."""
    values = features.values[None]

    def whole() -> None:
        model.logits(model.encode(values), hypothesis)

    encoded = model.encode(values)
    masked = model.frame_masking(encoded, hypothesis)
    keep = torch.ones(1, encoded.shape[1], dtype=torch.bool, device=encoded.device)
    operations = [_operations(run) for run in (whole, lambda: masked(keep))]
    wait(encoded.device)
    started = time.perf_counter()
    whole()
    wait(encoded.device)
    full = time.perf_counter() - started
    share = operations[1] / operations[0] if operations[0] else 1.0
    return PassCost(full, full * min(1.0, share), full)


def _operations(run: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def _written(bench: Bench, job: Job) -> Decoded | None:
    if not bench.store.has(hypothesis_key(bench.info, job)):
        return None
    try:
        return stages.decode(bench, job)
    except UtteranceError:
        return None


def _has(bench: Bench, job: Job, decoded: Decoded | None, call: Call) -> bool:
    if decoded is None:
        return False
    return bool(decoded.unexplained) or bench.store.has(
        reference_key(bench.info, Spoken(job, decoded), call)
    )


def _first_usable(plan: TaskPlan, bench: Bench, seed: int) -> tuple[Features, Decoded, float]:
    last = None
    for utterance in plan.manifest.utterances:
        started = time.perf_counter()
        try:
            decoded = stages.decode(bench, Job(plan.task, utterance, seed))
            features, _ = stages.read_features(bench.model, utterance)
        except UtteranceError as problem:
            last = problem
            continue
        if not decoded.unexplained:
            return features, decoded, time.perf_counter() - started
    raise last or UtteranceError(
        "empty-hypothesis", f"task '{plan.task.name}': the model writes nothing for any utterance"
    )


# -- before a run starts --------------------------------------------------------------------------


def within_reach(plan: Plan, bench: Bench, reporter: Reporter) -> Plan:
    """Say what a long run will take, and leave out what its preset does not ask for at any price.

    The rule: on a device that has a limit (`models.device.Device.affordable_seconds`; a CPU's is four hours), in a run
    of the preset `fast` that names no references, references over spectrogram cells are left out where the run would
    take longer than the limit with them and has others beside them.
    """
    try:
        costs = [task_cost(each, bench, plan.spec.seed) for each in plan.tasks]
    except Exception:  # noqa: BLE001
        return plan  # whatever is wrong with the first clip, the run itself says it, clip by clip
    seconds = seconds_of(costs)
    limit = device_of(bench.info.device).affordable_seconds
    dear = {r.call.name for c in costs for r in c.references if r.space == "input"}
    names = dict.fromkeys(call.name for each in plan.tasks for call in each.task.references)
    kept = [name for name in names if name not in dear]
    open_choice = not plan.spec.references and all(p.task.preset == "fast" for p in plan.tasks)
    if limit is not None and seconds > limit and open_choice and dear and _all_keep(plan, kept):
        plan = with_references(plan, [Call(name) for name in kept])
        without = seconds - sum(
            r.seconds for c in costs for r in c.references if r.call.name in dear
        )
        asked = " ".join(f"--reference {name}" for name in names)
        reporter.note(
            f"left out: {' and '.join(sorted(dear))}, with which this run would take about "
            f"{duration(seconds)} on this {device_of(bench.info.device).name} (about {duration(without)} "
            f"without); the preset `fast` computes it here only when asked: {asked}"
        )
        return plan
    if seconds > TELL_SECONDS:
        reporter.note(_told(seconds, costs))
    return plan


def _all_keep(plan: Plan, kept: Sequence[str]) -> bool:
    """Say whether every task has one of these references."""
    return all(any(c.name in kept for c in each.task.references) for each in plan.tasks)


def _told(seconds: float, costs: Sequence[TaskCost]) -> str:
    most = sum(c.decode_seconds + sum(r.most_seconds for r in c.references) for c in costs)
    totals: dict[str, float] = {}
    for reference in (r for c in costs for r in c.references):
        name = reference.call.name
        totals[name] = totals.get(name, 0.0) + reference.seconds
    longest = max(totals, key=lambda name: totals[name], default=None)
    told = f"this run will take about {duration(seconds)} (at most {duration(most)})"
    if longest is None:
        return told
    return (
        f"{told}, {100 * totals[longest] / seconds:.0f} % of it for '{longest}'; fewer clips (--limit) or masks "
        "(--masks), or other references (--reference), take less; an interrupted run goes on where it stopped"
    )


def duration(seconds: float) -> str:
    """Return a time in words: `40 s`, `25 min`, `3.5 h`, `2.1 days`."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            number = seconds / size
            return f"{number:.0f} {unit}" if unit == "min" else f"{number:.1f} {unit}"
    return f"{seconds:.0f} s"
