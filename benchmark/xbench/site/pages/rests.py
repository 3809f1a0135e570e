"""What means over tasks and models rest on: clips, speakers, languages, models; and each pair of task and model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xbench.site.overall import Overall, owner_of
from xbench.site.speech import Speech, speech_of
from xbench.site.tables.entries import ListedRun, Model, Task
from xbench.site.tables.tabulate import Tables


@dataclass(frozen=True)
class RestingPair:
    """One pair of task and model: its clips and speakers; local: whether others lack something of it."""

    task: Task
    model: Model
    speech: Speech
    clips: int
    speakers: int
    local: bool


@dataclass(frozen=True)
class Rests:
    """clips, speakers: distinct ones, so a clip of several tasks counts once.

    pairs: recorded speech first, synthetic last. apart: tasks that stand apart from the means, because of
    others it is known that people spoke.
    """

    clips: int
    speakers: int
    languages: tuple[str, ...]
    models: tuple[Model, ...]
    pairs: tuple[RestingPair, ...]
    apart: tuple[Task, ...]

    @property
    def synthetic(self) -> int:
        """How many of the pairs have synthetic speech."""
        return sum(pair.speech == "synthetic" for pair in self.pairs)


_ORDER: tuple[Speech, ...] = ("recorded", "not stated", "synthetic")


def rests_of(tables: Tables, table: Overall) -> Rests:
    """Return what the standings of one score rest on."""
    clips: set[tuple[str, str, str]] = set()
    pairs = []
    languages: set[str] = set()
    for task, model in table.cells:
        runs = _runs(tables, table, task, model)
        found = {clip for run in runs for clip in _clips(run)}
        clips |= found
        languages |= set(task.facts["source_language"])
        pairs.append(
            RestingPair(
                task=task,
                model=model,
                speech=speech_of(task),
                clips=len(found),
                speakers=len({(dataset, speaker) for dataset, speaker, _ in found}),
                local=any(run.local for run in runs),
            )
        )
    pairs.sort(key=lambda pair: _ORDER.index(pair.speech))
    inside = {task.slug for task, _ in table.cells}
    recorded = any(pair.speech == "recorded" for pair in pairs)
    return Rests(
        clips=len(clips),
        speakers=len({(dataset, speaker) for dataset, speaker, _ in clips}),
        languages=tuple(sorted(languages)),
        models=tuple({model.slug: model for _, model in table.cells}.values()),
        pairs=tuple(pairs),
        apart=tuple(
            t
            for t in tables.tasks
            if recorded and t.slug not in inside and speech_of(t) != "recorded"
        ),
    )


def _runs(tables: Tables, table: Overall, task: Task, model: Model) -> Sequence[ListedRun]:
    inside = {standing.config.slug for standing in table.standings}
    boards = tables.select(task=task, model=model, metric=table.metric, reference=table.reference)
    return [row.run for b in boards for row in b.rows if row.config.slug in inside]


def _clips(run: ListedRun) -> list[tuple[str, str, str]]:
    """Return dataset, speaker and id of each clip."""
    owner = owner_of(run.task)
    columns = run.data["utterances"]
    return [(owner, s, id) for id, s in zip(columns["id"], columns["cluster"], strict=True)]
