"""Score again from what is stored: hypotheses, references and maps; no model is loaded, no audio read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

from xbench import registry
from xbench.errors import UsageError, XbenchError, nearest
from xbench.fitting import Fitted, Learned
from xbench.results import RunResult
from xbench.runner import compare, intervene, stages
from xbench.runner.assemble import assemble
from xbench.runner.bench import Shelf
from xbench.runner.keys import Job, Spoken, fit_key, reference_key
from xbench.runner.local_file import with_local_metric
from xbench.runner.outcome import Outcome, TaskOutcome
from xbench.runner.partners import with_partners
from xbench.runner.plan import Method, TaskPlan, with_metrics
from xbench.runner.record import RunRecord, find
from xbench.spec import Call, Scoring, TaskSpec, content_hash
from xbench.store import Store


@dataclass(frozen=True)
class Change:
    """What is scored differently: other metrics (`+name`: more), other scoring options; nothing set changes nothing."""

    metrics: tuple[Call, ...] = ()
    scoring: Mapping[str, Any] | None = None

    def apply(self, task: TaskSpec) -> TaskSpec:
        """Return the task with these metrics and scoring options; a new headline where it lost its own."""
        scoring = replace(task.scoring, **(self.scoring or {}))
        return with_metrics(replace(task, scoring=scoring), self.metrics)


def change_from(metrics: Sequence[str], scoring: Sequence[str]) -> Change:
    """Read `--metric [+]name` and `--scoring key=value`; raises UsageError for what is not registered."""
    calls = tuple(with_local_metric(Call.parse(text)) for text in metrics)
    for call in calls:
        registry.metrics.get(call.name.removeprefix("+"))
    return Change(calls, dict(_scoring_option(text) for text in scoring))


def _scoring_option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    hints = get_type_hints(Scoring)
    if not equals or name not in hints:
        raise UsageError(
            f"--scoring '{text}' is not key=value of {', '.join(hints)}{nearest(name, hints)}"
        )
    kind = hints[name]
    known = get_args(kind) if get_origin(kind) is Literal else (True, False)
    for choice in known:
        if value.lower() == str(choice).lower():
            return name, choice
    choices = ", ".join(str(choice).lower() for choice in known)
    raise UsageError(f"--scoring '{text}': {name} is one of {choices}")


@dataclass(frozen=True)
class Stored:
    """Methods that were run together, with everything of them that the store holds.

    spoken: the utterances that were decoded and have all references, by id.
    """

    record: RunRecord
    shelf: Shelf
    methods: Mapping[int, Method]
    jobs: Sequence[Job]
    spoken: Mapping[str, Spoken]
    floor: Method


def rescore(
    results: Sequence[RunResult], store: Store, change: Change | None = None
) -> list[RunResult]:
    """Return each result scored again from the store, in the same order; equal numbers if nothing changes.

    A result without any map (unsupported, failed) keeps its status. Raises UsageError when the
    store does not hold what a result was made from.
    """
    change = change or Change()
    done: dict[int, RunResult] = {}
    for group in grouped(results):
        stored = stored_run([results[index] for index in group], store, change)
        outcomes = _scored(stored, [results[index] for index in group])
        for position, index in enumerate(group):
            result, method = results[index], stored.methods[position]
            outcome = replace(
                outcomes,
                started=datetime.fromisoformat(result.provenance.started),
                peak_memory_bytes=result.cost.peak_memory_bytes,
            )
            scored = assemble(outcome, method, stored.record.info, stored.record.spec)
            done[index] = replace(scored, gates=result.gates)
    return [done[index] for index in range(len(results))]


def grouped(results: Sequence[RunResult]) -> list[list[int]]:
    """Return the indices of results that share task, model, utterances and failures."""
    groups: dict[str, list[int]] = {}
    for index, result in enumerate(results):
        shared = [
            result.task.hash,
            result.task.dataset.fingerprint,
            result.task.selection,
            result.model.name,
            result.model.revision,
            result.model.precision,
            result.provenance.seed,
            [failure.id for failure in result.failures],
        ]
        groups.setdefault(content_hash(shared), []).append(index)
    return list(groups.values())


def stored_run(results: Sequence[RunResult], store: Store, change: Change) -> Stored:
    """Collect what the store holds of results that share a run; raises UsageError when it is gone."""
    record = find(store, results[0])
    if record is None:
        raise UsageError(
            f"{results[0].path()}: the store {store.folder.name} does not know this run; "
            "give --cache, or evaluate again"
        )
    task = change.apply(record.task)
    methods = {position: _method(result, record, store) for position, result in enumerate(results)}
    floor = Method.registered(task.floor)
    jobs = [
        Job(task, utterance, record.spec.seed, estimated_under=record.task.scoring)
        for utterance in record.manifest.utterances
    ]
    shelf = Shelf(record.info, store)
    spoken = {job.utterance.id: each for job in jobs if (each := _referred(shelf, job))}
    if any("partner" in m.description.needs for m in (*methods.values(), floor)):
        spoken = with_partners(spoken)
    return Stored(record, shelf, methods, jobs, spoken, floor)


def _method(result: RunResult, record: RunRecord, store: Store) -> Method:
    """Return the method of a result, with what it learned."""
    if result.own:
        raise UsageError(f"{result.path()}: {result.own} is in no package; evaluate again")
    call = Call.make(result.method.name, result.method.params)
    method = Method.registered(call)
    if method.description.version != result.method.version:
        raise UsageError(
            f"{result.path()}: made with version {result.method.version} of {call.name}, "
            f"here is {method.description.version}; evaluate again"
        )
    learned = result.method.fitted
    if learned is None:
        return method
    manifest = record.manifest if learned.split == "oracle" else record.dev
    if manifest is None:
        raise UsageError(f"{result.path()}: the store does not know its dev split; evaluate again")
    key = fit_key(record.info, record.task, manifest, method, record.spec.seed)
    stored = Shelf(record.info, store).artefact(key)
    fitted = Fitted(Learned(stored.facts["learned"], stored.arrays), learned.split, learned.n)
    return replace(method, fitted=fitted)


def _referred(shelf: Shelf, job: Job) -> Spoken | None:
    """Return an utterance whose hypothesis and references are stored."""
    try:
        spoken = Spoken(job, stages.read_decoded(shelf, job))
    except XbenchError:
        return None
    complete = bool(spoken.decoded.unexplained) or all(
        shelf.store.has(reference_key(shelf.info, spoken, call)) for call in job.task.references
    )
    return spoken if complete else None


def _absent(results: Sequence[RunResult]) -> str:
    """Return why an intervention that the store does not hold has no value."""
    unmeasured = {
        reason for r in results for s in r.scores if not s.reference for reason in s.undefined
    }
    return "unsupported" if "unsupported" in unmeasured else "needs-model"


def score_stored(shelf: Shelf, spoken: Spoken, methods: Sequence[Method], absent: str) -> Outcome:
    """Score one utterance from the store; an intervention that was never measured is null `absent`."""
    scored = compare.score(shelf, spoken, methods)
    scored = intervene.with_interventions(scored, shelf, spoken, methods, absent=absent)
    return Outcome(spoken.job.utterance, spoken.decoded, scored)


def _scored(stored: Stored, results: Sequence[RunResult]) -> TaskOutcome:
    unsupported = {
        stored.methods[position].call: result.reason or "unsupported"
        for position, result in enumerate(results)
        if result.status == "unsupported"
    }
    usable = {m.call: m for m in (*stored.methods.values(), stored.floor)}
    methods = [m for call, m in usable.items() if call not in unsupported]
    failed = {failure.id for failure in results[0].failures}
    record, absent = stored.record, _absent(results)
    # Where nothing was explained, nothing of any utterance need be there.
    jobs = [] if all(m.call in unsupported for m in stored.methods.values()) else stored.jobs
    try:
        outcomes = [
            score_stored(stored.shelf, stored.spoken[job.utterance.id], methods, absent)
            for job in jobs
            if job.utterance.id not in failed
        ]
    except (KeyError, XbenchError) as problem:
        raise UsageError(
            f"{results[0].path()}: the store {stored.shelf.store.folder.name} no longer holds what it was made from "
            f"({str(problem).split(';')[0]}); evaluate again"
        ) from None
    task = stored.jobs[0].task if stored.jobs else record.task
    return TaskOutcome(
        plan=TaskPlan(task, record.manifest, record.dev),
        outcomes=outcomes,
        failures=results[0].failures,
        unsupported=unsupported,
        fitted={m.call: m.fitted for m in methods if m.fitted},
        floor=stored.floor,
        started=datetime.fromisoformat(results[0].provenance.started),
        peak_memory_bytes=results[0].cost.peak_memory_bytes,
    )
