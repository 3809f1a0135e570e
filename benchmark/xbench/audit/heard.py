"""What metrics by intervention say of every step of every ladder. Loads the model.

Each step that ranks the frames in another order is a map of its own: its frames are hidden in that order, and the model
is run. Steps that keep the order (powers) share their passes with the map as it was, and random sets of frames are the
same for all. A ladder starts from one half of a reference, as in `audit.judged`; no reference judges, the model does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from xbench import registry
from xbench.audit.judged import (
    REFERENCE,
    Judgement,
    StepsOf,
    judgement_of,
    ladders_of,
    rungs_of,
)
from xbench.audit.ladders import Ladder
from xbench.audit.stored_maps import explained, one_run, references_of
from xbench.description import MethodDescription
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout, expand
from xbench.models.optional import WritesEncoded, offers
from xbench.results import RunResult
from xbench.runner.bench import Bench, bench_of
from xbench.runner.hearing import Hearing, measured
from xbench.runner.intervene import judged
from xbench.runner.keys import Spoken
from xbench.runner.plan import Method, Plan
from xbench.runner.ranked import RankedMap, measurement_key, why_not
from xbench.runner.rescore import Stored
from xbench.runner.verify import plan_of
from xbench.spec import Call, ExecutionOptions
from xbench.store import Artefact

_TAKES = ("curves", "effects", "deleted", "inserted")
# Steps of ladders are maps that no method makes.
_WORSE = Method(
    MethodDescription(
        name="worsened",
        version="1",
        summary="a step of a ladder",
        source="",
        implementation="",
        kind="control",
        space="encoder",
        distribution=False,
    ),
    Call("worsened"),
    "",
)


def by_intervention(metrics: Sequence[str]) -> bool:
    """Say whether every one of these metrics hides cells in the order of a map."""
    names = [Call.parse(text).name for text in metrics]
    return bool(names) and all(registry.metrics.get(name).takes != "reference" for name in names)


def heard(
    results: Sequence[RunResult],
    *,
    metrics: Sequence[str],
    options: ExecutionOptions,
    sample: int | None = None,
    model: str | None = None,
    data: str | None = None,
) -> Judgement:
    """Score every step of every ladder, from half of each reference of a run, with metrics by intervention.

    sample, model, data: as for `xbench verify`. Raises UsageError for metrics that hide nothing, for those that the
    model cannot be measured by, for results of several runs, and where the store lacks the run.
    """
    calls = calls_of(metrics)
    plan = plan_of(results[0], sample=sample, model=model, data=data)
    bench = bench_of(plan, options)
    _check_writes(bench, calls)
    stored = one_run(results, bench.store)
    spoken = spoken_here(stored, plan)
    rows: dict[StepsOf, list[list[float | None]]] = {}
    ladders = ladders_of(spoken[0])
    for one in spoken:
        hearing = Hearing(bench.model, one.job, one.decoded, bench.batch_size)
        of_clip: dict[StepsOf, list[float | None]] = {}
        for reference in references_of(stored, one):
            first = reference.halves[0] if reference.halves else reference.mean
            for (metric, ladder), value in values_of_steps(
                bench, hearing, one, first, ladders, calls
            ):
                of_clip.setdefault((REFERENCE, metric, reference.call.name, ladder), []).append(
                    value
                )
        for key, values in of_clip.items():
            rows.setdefault(key, []).append(values)
    return judgement_of(stored, spoken, rows, ladders)


def spoken_here(stored: Stored, plan: Plan) -> list[Spoken]:
    """Return the utterances of a plan with what the store holds of them.

    A record says which clips a run had; where they lie on this machine, the plan says.
    """
    clips = {utterance.id: utterance for utterance in plan.tasks[0].manifest.utterances}
    return [
        replace(one, job=replace(one.job, utterance=clips[id_]))
        for one in explained(stored)
        if (id_ := one.job.utterance.id) in clips
    ]


def calls_of(metrics: Sequence[str]) -> tuple[Call, ...]:
    """Return complete calls of metrics; raises UsageError for one that hides nothing."""
    calls = tuple(registry.metrics.resolve(Call.parse(text))[1] for text in metrics)
    for call in calls:
        if registry.metrics.get(call.name).takes not in _TAKES:
            can = [d.name for d in registry.metrics.descriptions() if d.takes in _TAKES]
            raise UsageError(
                f"--metric {call}: it hides nothing, so it cannot judge; by intervention judge {', '.join(can)}"
            )
    return calls


def _check_writes(bench: Bench, calls: Sequence[Call]) -> None:
    for call in calls:
        anew = registry.metrics.get(call.name).takes in ("deleted", "inserted")
        if anew and not offers(bench.model, WritesEncoded):
            raise UsageError(
                f"--metric {call}: model '{bench.info.name}' cannot write from what its encoder puts out"
            )


def spread(
    values: Float[np.ndarray, "token frame"], layout: Layout, channels: int
) -> Float[np.ndarray, "token melframe mel"]:
    """Give every cell of the spectrogram the value of its encoder frame."""
    return np.repeat(expand(values, layout)[..., None], channels, axis=2)


def values_of_steps(
    bench: Bench,
    hearing: Hearing,
    spoken: Spoken,
    first: GridMap,
    ladders: Sequence[Ladder],
    calls: Sequence[Call],
) -> Iterator[tuple[tuple[Call, str], float | None]]:
    """Yield the value of every metric for every step of the ladders of one map, the map as it was first."""
    # A baseline under all frames of a row is no evidence, but sums over random sets of frames would count it.
    low = first.values.min(axis=1, keepdims=True)
    layout, channels = spoken.decoded.layout, hearing.case.features.values.shape[1]
    measurements: dict[str, Artefact] = {}
    for names, grid in rungs_of(replace(first, values=first.values - low), spoken, ladders):
        on_frames = RankedMap(bench.info, spoken, _WORSE, grid.values)
        on_cells = replace(on_frames, values=spread(grid.values, layout, channels))
        for call in calls:
            metric, value = registry.metrics.get(call.name), None
            cells = metric.space == "input" and call.given.get("resolution") != "frames"
            ranked = on_cells if cells else on_frames
            if why_not(metric, call, ranked) is None:
                key = measurement_key(metric, call, ranked).digest
                if key not in measurements:
                    measurements[key] = Artefact(*measured(hearing, metric, call, ranked))
                value = judged(metric, call, ranked, measurements[key]).value
            for name in names:
                yield (call, name), value
