"""Results of one run, their methods in the order in which bundles take them, and their utterances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from xbench import registry
from xbench.errors import UsageError, nearest
from xbench.results import MethodRecord, RunResult, column_name, short_labels
from xbench.runner.keys import Job, Spoken
from xbench.runner.plan import Method
from xbench.runner.record import RunRecord, key_of
from xbench.runner.rescore import Change, Stored, stored_run
from xbench.spec import Call
from xbench.store import Store


@dataclass(frozen=True)
class Run:
    """Results of one model on one task that share a run record, by label, and what the store holds of them."""

    digest: str
    results: Mapping[str, RunResult]
    stored: Stored

    @property
    def record(self) -> RunRecord:
        """What the store knows of the run."""
        return self.stored.record

    @property
    def first(self) -> RunResult:
        """A result that stands for all of them."""
        return next(iter(self.results.values()))

    def chosen(self, ids: Sequence[str], limit: int | None) -> tuple[list[Spoken], list[str]]:
        """Return the utterances to export, in the order of the manifest, and those that cannot be shown.

        ids, limit: only these, and so many; empty and None: all.
        """
        chosen, left_out = [], []
        for job in self.stored.jobs:
            spoken = self.stored.spoken.get(job.utterance.id)
            if ids and job.utterance.id not in ids:
                continue
            if spoken is None:
                left_out.append(f"{self.place(job)}: it was not scored")
            elif spoken.decoded.unexplained:
                left_out.append(f"{self.place(job)}: {spoken.decoded.unexplained}")
            else:
                chosen.append(spoken)
        return chosen[:limit], left_out

    def spread(self, chosen: Sequence[Spoken]) -> list[Spoken]:
        """Return the utterances on which the leading method scores best, in the middle and worst."""
        leading = min(self.ordered, key=lambda e: (e.control, e.head is not None, e.rank, e.label))
        scored = [
            (value, spoken)
            for spoken in chosen
            if (value := leading.headline(spoken.job.utterance.id)) is not None
        ]
        scored.sort(key=lambda one: (-one[0], one[1].job.utterance.id))
        places = dict.fromkeys((0, len(scored) // 2, len(scored) - 1))
        return [scored[place][1] for place in places] if scored else []

    def place(self, job: Job) -> str:
        """Name task, model and utterance for a message."""
        return f"{job.task.name}, {self.record.info.name}: {job.utterance.id}"

    @cached_property
    def ordered(self) -> list[Explained]:
        """The methods in the order in which bundles take them; those without any map are left out."""
        methods = {
            label: Explained(label, self.stored.methods[position], result, "")
            for position, (label, result) in enumerate(self.results.items())
            if result.status in ("complete", "partial")
        }
        floor = str(self.stored.floor.call)
        if methods and floor not in methods:
            scored = [e.result for e in methods.values()]
            most = max(scored, key=lambda r: len(r.utterances.get("id", ())))
            methods[floor] = Explained(floor, self.stored.floor, most, "floor:")
        by_score = sorted(
            methods.values(), key=lambda e: (e.head is not None, e.control, e.rank, e.label)
        )
        mean = str(registry.methods.resolve(Call("mean-heads"))[1])
        best: dict[str, Explained] = {}
        for e in by_score:
            if not e.control and e.head is None:
                best.setdefault(e.family, e)
        first = [
            *(methods[label] for label in (mean,) if label in methods),
            *sorted(best.values(), key=lambda e: e.family != "attention"),
            *(methods[label] for label in (floor,) if label in methods),
            *(e for e in by_score if e.method.call.name == "whisper-timing"),
        ]
        return list(dict.fromkeys([*first, *by_score]))

    @cached_property
    def short(self) -> dict[str, str]:
        """Label to one with only the parameters in which methods of a name differ."""
        labels = short_labels([explanation.record for explanation in self.ordered])
        return {e.label: label for e, label in zip(self.ordered, labels, strict=True)}


@dataclass(frozen=True, eq=False)
class Explained:
    """A method with the result that scores it; `prefix` is that of its columns there."""

    label: str
    method: Method
    result: RunResult
    prefix: str

    @property
    def record(self) -> MethodRecord:
        """Name and parameters; those of the floor stand in no result of its own."""
        call, own = self.method.call, self.result.method
        if not self.prefix:
            return own
        return replace(own, name=call.name, params=call.given, fitted=None)

    @property
    def control(self) -> bool:
        """True for what no explanation should lose against."""
        return self.method.description.kind == "control"

    @property
    def head(self) -> tuple[int, int] | None:
        """Layer and head where the method is the attention of one single head."""
        layer, head = (self.method.call.given.get(name) for name in ("layer", "head"))
        return (layer, head) if type(layer) is int and type(head) is int else None

    @property
    def family(self) -> str:
        """Attention, gradient, perturbation or control."""
        return self.method.description.kind

    @property
    def rank(self) -> float:
        """Smaller is better; infinite where the method has no headline score of its own."""
        wanted = self.result.task.headline
        for score in self.result.scores:
            if score.metric == wanted["metric"] and score.reference in (None, wanted["reference"]):
                if score.value is None or self.prefix:
                    break
                return -score.value if score.direction == "higher" else score.value
        return math.inf

    def headline(self, utterance: str) -> float | None:
        """Return the headline score of one utterance, larger is better; None where it has none."""
        wanted = self.result.task.headline
        found = (self.scores(utterance) or {}).get(
            column_name(wanted["metric"], wanted["reference"])
        )
        higher = registry.metrics.get(wanted["metric"]).higher_is_better
        return None if found is None else found if higher else -found

    def scores(self, utterance: str) -> dict[str, float | None] | None:
        """Return the scores of one utterance by column; None where it was not scored."""
        columns = self.result.utterances
        row = self._rows.get(utterance)
        if row is None:
            return None
        names = [column_name(score.metric, score.reference) for score in self.result.scores]
        try:
            return {name: columns[self.prefix + name][row] for name in names}
        except (KeyError, IndexError):
            raise UsageError(
                f"{self.result.path()}: its utterance columns are incomplete; see `xbench validate`"
            ) from None

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {id_: row for row, id_ in enumerate(self.result.utterances.get("id", ()))}


def runs_of(results: Sequence[RunResult], store: Store) -> list[Run]:
    """Group results by run, sorted by task and model; of equal methods the newest result counts."""
    groups: dict[tuple[str, str, str], dict[str, RunResult]] = {}
    for result in sorted(results, key=lambda r: (r.method.label, r.provenance.finished)):
        name = (result.task.name, result.model.name, key_of(result).digest)
        groups.setdefault(name, {})[result.method.label] = result
    return [
        Run(name[2], group, stored_run(list(group.values()), store, Change()))
        for name, group in sorted(groups.items())
    ]


def check_ids(runs: Sequence[Run], ids: Sequence[str]) -> None:
    """Raise UsageError for an id that no result has."""
    known = {job.utterance.id for run in runs for job in run.stored.jobs}
    for id_ in ids:
        if id_ not in known:
            raise UsageError(f"no result has an utterance '{id_}'{nearest(id_, known)}")
