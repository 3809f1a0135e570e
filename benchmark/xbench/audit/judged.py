"""What every metric says of every step of every ladder, from stored maps and references; loads no model.

A ladder starts from a map that is as good as can be: one half of the reference, judged by the other half, so that the
two share no masks and hence no noise. A reference without halves is judged by itself. A ladder can also start from the
map of a method; then the whole reference judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xbench import registry
from xbench.audit.ladders import LADDERS, Ladder, on_frames, worsened
from xbench.audit.stored_maps import explained, map_of, one_run, references_of
from xbench.errors import UsageError, nearest
from xbench.maps import GridMap
from xbench.metrics.batch import Maps, batches, score_all
from xbench.results import RunResult
from xbench.runner.compare import word_spans
from xbench.runner.keys import Spoken
from xbench.runner.plan import Method
from xbench.runner.rescore import Change, Stored
from xbench.spec import Call
from xbench.store import Store

REFERENCE = "reference"  # the start that is half of the reference itself
# What steps are scored for: start, metric, reference, name of the ladder.
StepsOf = tuple[str, Call, str, str]


@dataclass(frozen=True)
class Steps:
    """What one metric says of one ladder: values [step, utterance], the map as it was first.

    start: `reference`, or the method whose map was made worse. None where a metric has no value.
    """

    start: str
    metric: Call
    reference: str
    ladder: Ladder
    values: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Judgement:
    """Everything that was scored on one run, and the clips it was scored on."""

    task: str
    model: str
    seed: int
    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    steps: tuple[Steps, ...]


def judged(
    results: Sequence[RunResult],
    *,
    metrics: Sequence[str] = (),
    starts: Sequence[str] = (REFERENCE,),
    store: Store,
) -> Judgement:
    """Score every step of every ladder with every metric against every reference of a run.

    metrics: calls of metrics that take a reference; by default all that are registered. starts: `reference`, or
    methods among the results. Raises UsageError when the results are of several runs, or the store lacks the run.
    """
    calls = _calls(metrics)
    stored = one_run(results, store, Change(calls))
    given = [_start(start, stored) for start in starts]
    spoken = explained(stored)
    rows: dict[StepsOf, list[list[float | None]]] = {}
    ladders = ladders_of(spoken[0])
    for one in spoken:
        for key, values in _of_utterance(stored, one, given, ladders, calls).items():
            rows.setdefault(key, []).append(values)
    return judgement_of(stored, spoken, rows, ladders)


def judgement_of(
    stored: Stored,
    spoken: Sequence[Spoken],
    rows: Mapping[StepsOf, Sequence[Sequence[float | None]]],
    ladders: Sequence[Ladder],
) -> Judgement:
    """Put together what was scored: a row of values, one per step, for each utterance."""
    by_name = {ladder.name: ladder for ladder in ladders}
    return Judgement(
        task=stored.record.task.name,
        model=stored.record.info.name,
        seed=stored.record.spec.seed,
        ids=tuple(one.job.utterance.id for one in spoken),
        clusters=tuple(one.job.utterance.cluster for one in spoken),
        steps=tuple(
            Steps(start, metric, reference, by_name[name], tuple(zip(*values, strict=True)))
            for (start, metric, reference, name), values in rows.items()
        ),
    )


def ladders_of(spoken: Spoken) -> list[Ladder]:
    """Return the ladders with the shifts that the frames of a model can tell apart."""
    layout = spoken.decoded.layout
    return [on_frames(ladder, layout.stride * layout.melframe_seconds) for ladder in LADDERS]


def rungs_of(
    first: GridMap, spoken: Spoken, ladders: Sequence[Ladder]
) -> list[tuple[tuple[str, ...], GridMap]]:
    """Return the map as it was, which begins every ladder, and each step of each, with the ladders it belongs to."""
    layout, seed, clip = spoken.decoded.layout, spoken.job.seed, spoken.job.utterance.id
    every = tuple(ladder.name for ladder in ladders)
    return [
        (every, first),
        *(
            ((ladder.name,), worsened(first, ladder, size, layout, seed=seed, clip=clip))
            for ladder in ladders
            for size in ladder.sizes
        ),
    ]


def _calls(metrics: Sequence[str]) -> tuple[Call, ...]:
    """Return complete calls of metrics; raises UsageError for one that takes no reference."""
    takes = [d.name for d in registry.metrics.descriptions() if d.takes == "reference"]
    for text in metrics:
        name = Call.parse(text).name
        if registry.metrics.get(name).takes != "reference":
            raise UsageError(
                f"--metric {text}: '{name}' needs new passes of the model; name it alone, or with others of its kind; "
                f"without passes are {', '.join(takes)}"
            )
    return tuple(registry.metrics.resolve(Call.parse(text))[1] for text in metrics or takes)


def _start(start: str, stored: Stored) -> Method | None:
    """Return the method that a ladder starts from; None for the reference."""
    if start == REFERENCE:
        return None
    call = registry.methods.resolve(Call.parse(start))[1]
    found = {method.call: method for method in stored.methods.values()}
    if call not in found:
        known = [REFERENCE, *map(str, found)]
        raise UsageError(
            f"--start {start}: {call} is not among the results{nearest(str(call), known)}; they have "
            f"{', '.join(known)}"
        )
    return found[call]


def _of_utterance(
    stored: Stored,
    spoken: Spoken,
    starts: Sequence[Method | None],
    ladders: Sequence[Ladder],
    metrics: Sequence[Call],
) -> Mapping[tuple[str, Call, str, str], list[float | None]]:
    """Return the values of every (start, metric, reference, ladder), the map as it was first."""
    layout, task = spoken.decoded.layout, spoken.job.task
    spans = word_spans(spoken)
    found: dict[tuple[str, Call, str, str], list[float | None]] = {}
    for reference in references_of(stored, spoken):
        for start in starts:
            name = REFERENCE if start is None else str(start.call)
            if start is None:
                first, judge = reference.halves or (reference.mean, reference.mean)
            else:
                first, judge = map_of(stored, spoken, start), reference.mean
            rungs = rungs_of(first, spoken, ladders)
            target = Maps.of([judge], layout)
            grids = [grid for _, grid in rungs]
            for batch in batches(grids, layout):
                together = Maps.of([grids[index] for index in batch], layout)
                for metric in metrics:
                    description = registry.metrics.get(metric.name)
                    judged = score_all(
                        description, metric.given, together, target, task.scoring, spans
                    )
                    for index, score in zip(batch, judged.scores, strict=True):
                        for ladder in rungs[index][0]:
                            key = (name, metric, reference.call.name, ladder)
                            found.setdefault(key, []).append(score.value)
    return found
