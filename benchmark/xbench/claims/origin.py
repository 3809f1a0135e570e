"""Where a result says it comes from: status and counts, dates, hashes, the task, the clips, the method, its costs."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from xbench import registry
from xbench.claims.compared import outside, unordered
from xbench.claims.here import Clips, clips_here, packaged_models, registered, task_here
from xbench.data.manifest import Manifest
from xbench.description import Description, MethodDescription
from xbench.errors import XbenchError
from xbench.metrics.sanity import GATES
from xbench.results import GateRecord, RunResult
from xbench.spec import FROM_USER, LOCAL, Call, Headline, Selection, TaskSpec, content_hash

_HASH = re.compile(r"[0-9a-f]{64}")
_CLOCK_ERROR = timedelta(days=1)


def status_problems(result: RunResult) -> Iterator[str]:
    """Yield where status, selection, failures and columns tell different stories."""
    ids, failed = _ids(result), [failure.id for failure in result.failures]
    selection = _selection(result)
    whole = not selection.partial and not failed
    if (result.status == "complete") != (result.reason is None):
        yield "reason: there must be one where the status is not complete, and only there"
    if result.status == "complete" and not whole:
        part = "a selection of the split" if selection.partial else f"{len(failed)} failures"
        yield f"status: complete, but the result has {part}"
    if result.status == "partial" and whole:
        yield "status: partial, but nothing was left out and nothing failed"
    if result.status in ("unsupported", "failed") and ids:
        yield f"status: {result.status}, but {len(ids)} utterances were scored"
    if result.status in ("complete", "partial") and not ids:
        yield f"status: {result.status}, but no utterance was scored"
    if len(set(failed)) < len(failed) or set(failed) & set(ids):
        yield "failures: an utterance stands twice, or was scored as well"
    n = result.task.dataset.n
    if result.status != "unsupported" and len(ids) + len(failed) != n:
        yield f"task.dataset.n: {n}, but {len(ids)} utterances were scored and {len(failed)} failed"
    if selection.limit is not None and n > selection.limit:
        yield f"task.dataset.n: {n} utterances under a limit of {selection.limit}"
    if selection.ids and (others := sorted({*ids, *failed} - set(selection.ids))):
        yield f"utterances.id: '{others[0]}' is not among the selected ids"


def provenance_problems(result: RunResult) -> Iterator[str]:
    """Yield hashes and dates that cannot be."""
    for place, value in (
        ("task.hash", result.task.hash),
        ("task.dataset.fingerprint", result.task.dataset.fingerprint),
        ("provenance.spec_hash", result.provenance.spec_hash),
    ):
        if not _HASH.fullmatch(value):
            yield f"{place}: {value[:80]!r} is not a SHA-256 of 64 hexadecimal digits"
    if result.provenance.seed < 0:
        yield f"provenance.seed: {result.provenance.seed} is below 0"
    dates = []
    for name in ("started", "finished"):
        text = getattr(result.provenance, name)
        try:
            date = datetime.fromisoformat(text)
            dates.append(date if date.tzinfo else date.replace(tzinfo=UTC))
        except ValueError:
            yield f"provenance.{name}: {text[:40]!r} is not a date and time (ISO 8601)"
            continue
        if dates[-1] > datetime.now(UTC) + _CLOCK_ERROR:
            yield f"provenance.{name}: {text} has not come yet"
    if len(dates) == 2 and dates[0] > dates[1]:
        yield f"provenance.finished: {result.provenance.finished} is before the start, {result.provenance.started}"


def spec_hash(result: RunResult) -> str | None:
    """Return the hash of everything that determines the result, from what it states.

    None where a method learns: the clips that it learned from are not in the file. The hash only names the file, so
    another one is no lie; but it was not made from what the file states.
    """
    model, method = result.model, result.method
    description = registered(registry.methods, method.name)
    if method.fitted is not None or (description is not None and description.fit):
        return None
    own = any(
        p["kind"] == "method" and p["distribution"] == LOCAL for p in result.provenance.plugins
    )
    return content_hash(
        {
            "model": [model.name, model.source, model.revision, model.precision],
            "method": [method.name, method.version, method.params],
            "task": result.task.hash,
            "dataset": result.task.dataset.fingerprint,
            "selection": result.task.selection,
            "seed": result.provenance.seed,
            **({"distribution": LOCAL} if own else {}),
            "dev": None,
        }
    )


def cost_problems(result: RunResult) -> Iterator[str]:
    """Yield costs, gates and shares that cannot be."""
    cost = result.cost
    counted = (cost.forward_passes, cost.backward_passes, cost.seconds)
    if None in counted:
        # Only maps that were made elsewhere come without counts, and nobody registers what made them.
        if any(value is not None for value in counted):
            yield "cost: passes and seconds are null together, for maps that were made elsewhere, or none of them is"
        elif registered(registry.methods, result.method.name) is not None:
            yield f"cost: null, but {result.method.name} is a registered method, whose costs are counted"
    yield from outside("cost.seconds_per_audio_second", cost.seconds_per_audio_second, (0, None))
    yield from outside("padding_mass", result.padding_mass, (0, 1))
    yield from _sinks_problems(result)
    for index, gate in enumerate(result.gates):
        yield from unordered(f"gates[{index}].ci", gate.ci, gate.value)
        if gate.n > result.task.dataset.n:
            yield f"gates[{index}].n: {gate.n} of {result.task.dataset.n} utterances"
        verdict = _verdict(gate)
        if gate.status != "not-applicable" and verdict not in (None, gate.status):
            yield f"gates[{index}].status: {gate.status}, but by its value and threshold: {verdict}"


def _verdict(gate: GateRecord) -> str | None:
    """Return what a gate's numbers say of it; None for a gate that nobody knows here."""
    known = {each.name: each.rule for each in GATES}
    if gate.name not in known:
        return None
    if gate.value is None or gate.threshold is None:
        return "not-applicable"
    low, high = gate.ci or (gate.value, gate.value)
    passed = {
        "largest": gate.value <= gate.threshold,
        "upper": high < gate.threshold,
        "lower": low > gate.threshold,
    }
    return "pass" if passed[known[gate.name]] else "fail"


def _sinks_problems(result: RunResult) -> Iterator[str]:
    if result.sinks is None:
        return
    heads = result.sinks.heads
    every = [share for row in heads for share in row]
    if len({len(row) for row in heads}) != 1:
        yield "sinks.heads: its layers have different numbers of heads"
    for extreme in {min(every), max(every)}:
        yield from outside("sinks.heads", extreme, (0, 1))
    # Shares are stated to three places, so their mean is that of the exact ones up to half of the last.
    if abs(result.sinks.mean - sum(every) / len(every)) > 1e-3:
        yield f"sinks.mean: {result.sinks.mean:g}, but the mean over heads is {sum(every) / len(every):.4f}"


def described_problems(result: RunResult) -> Iterator[str]:
    """Yield where a result says something else of its model, method or references than what they are here."""
    model = packaged_models().get(result.model.name)
    if model is not None and model["revision"] == result.model.revision:
        for name, known in model.items():
            if known != (stated := getattr(result.model, name)):
                yield f"model.{name}: {stated!r}, but of {result.model.name} it is {known!r}"
    method = registered(registry.methods, result.method.name)
    if method is not None and method.version == result.method.version:
        for name in ("kind", "space", "signed", "uses_gradients", "distribution"):
            if getattr(method, name) != (stated := getattr(result.method, name)):
                yield f"method.{name}: {stated!r}, but of {method.name} it is {getattr(method, name)!r}"
        yield from _parameters("method.params", method, result.method.params)
        yield from _learned(result, method)
        yield from _authorship(result, method)
    for index, stated_reference in enumerate(result.references):
        reference = registered(registry.references, stated_reference.name)
        if reference is not None and reference.version == stated_reference.version:
            yield from _parameters(
                f"references[{index}].params", reference, stated_reference.params
            )


def _learned(result: RunResult, method: MethodDescription) -> Iterator[str]:
    """Yield where a method that learns says nothing of what it learned, or another one does."""
    fitted = result.method.fitted is not None
    if fitted and method.fit is None:
        yield f"method.fitted: {result.method.fitted}, but {method.name} does not learn"
    elif not fitted and method.fit is not None and _ids(result):
        yield f"method.fitted: null, but {method.name} learns from other clips before it explains"


def _authorship(result: RunResult, method: MethodDescription) -> Iterator[str]:
    """Yield other authors than those of the package that is here; older files name none."""
    entry, stated = registry.methods.entry(method.name), result.method.authorship
    here = (entry.distribution, entry.distribution_version)
    packages = [p for p in result.provenance.plugins if p["kind"] == "method"]
    if stated is None or any((p["distribution"], p["version"]) != here for p in packages):
        return
    known = _authors(method, entry.distribution)
    for name, value in asdict(stated).items():
        if value != known[name]:
            yield f"method.authorship.{name}: {value!r}, but of {method.name} it is {known[name]!r}"


@functools.lru_cache(maxsize=256)
def _authors(method: MethodDescription, distribution: str) -> dict[str, str | None]:
    """Return who made a method; metadata of packages are slow to read."""
    return asdict(registry.authorship(method, distribution))


def _parameters(place: str, description: Description, given: dict[str, Any]) -> Iterator[str]:
    try:
        resolved = description.resolve(Call.make(description.name, given)).given
    except XbenchError as problem:
        yield f"{place}: {problem}"
        return
    if resolved != given:
        yield f"{place}: {given}, but complete they are {resolved}"


def outdated(result: RunResult) -> Iterator[str]:
    """Yield what has changed since a result was made: it cannot be compared with one that is made now."""
    task = task_here(result.task.name, result.task.preset)
    if task is not None:
        yield from (f"task {task.name}: {line}" for line in _task_differences(result, task))
    method = registered(registry.methods, result.method.name)
    if method is not None and method.version != result.method.version:
        yield f"method {method.name}: was version {result.method.version}, here it is {method.version}"
    for stated in result.references:
        reference = registered(registry.references, stated.name)
        if reference is not None and reference.version != stated.version:
            yield f"reference {stated.name}: was version {stated.version}, here it is {reference.version}"
    # Of the metric that ranks; the site ranks scores of the others by version. Older files keep no version of a metric.
    ranking = (result.task.headline["metric"], result.task.headline["reference"])
    versions = [s.metric_version for s in result.scores if (s.metric, s.reference) == ranking]
    metric = registered(registry.metrics, ranking[0])
    if metric is not None and versions and versions[0] is None:
        yield f"metric {metric.name}: its version is not stated, so that its intervals cannot be recomputed"
    elif metric is not None and versions and versions[0] != metric.version:
        yield f"metric {metric.name}: was version {versions[0]}, here it is {metric.version}"


def _task_differences(result: RunResult, task: TaskSpec) -> Iterator[str]:
    """Yield what of a task determines scores and is not as it is here."""
    said, dataset = result.task, result.task.dataset
    pairs = (
        ("version", said.version, task.version),
        ("kind", said.kind, task.kind),
        ("target_language", said.target_language, task.target_language),
        ("split", said.split, task.dataset.split),
        ("dataset.revision", dataset.revision, task.dataset.revision),
        ("scoring", said.scoring, asdict(task.scoring)),
        ("decoding", said.decoding, asdict(task.decoding)),
        ("floor", said.floor, str(task.floor)),
        ("quality.metric", result.quality.metric, task.quality.metric),
        ("quality.poor_threshold", result.quality.poor_threshold, task.quality.poor),
    )
    yield from (f"{name} was {then}, here it is {now}" for name, then, now in pairs if then != now)
    here = {call.name: call.given for call in task.references}
    for reference in result.references:
        if here.get(reference.name) not in (None, reference.params):
            yield _settings(reference.name, reference.params, here[reference.name])
    metrics = {call.name: call.given for call in task.metrics}
    for score in result.scores:
        if metrics.get(score.metric) not in (None, score.metric_params) and score.metric_params:
            yield _settings(score.metric, score.metric_params, metrics[score.metric])


def _settings(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say which parameters were others."""
    other = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    had, has = (", ".join(f"{key}={p.get(key)}" for key in other) for p in (then, now))
    return f"{name} had {had}; here it has {has}"


def task_as_run(result: RunResult) -> TaskSpec | None:
    """Return the task here with the references, metrics and headline of a result, if its hash says that it is of it."""
    task = task_here(result.task.name, result.task.preset)
    if task is None:
        return None
    as_run = replace(
        task,
        references=tuple(Call.make(r.name, r.params) for r in result.references),
        metrics=tuple(dict.fromkeys(Call.make(s.metric, s.metric_params) for s in result.scores)),
        headline=Headline(**result.task.headline),
    )
    return as_run if _is_of(as_run, result.task.hash) else None


@functools.lru_cache(maxsize=256)
def _is_of(task: TaskSpec, hash_: str) -> bool:
    """Say whether a hash is that of a task; all results of a run ask it."""
    return task.is_of(hash_)


def task_problems(result: RunResult, as_run: TaskSpec | None) -> Iterator[str]:
    """Yield where a result claims a task of today by its hash (`task_as_run`) but is something else."""
    if as_run is not None:
        for line in _task_differences(result, as_run):
            yield f"task.hash: that of the task here, but {line}"


def clip_problems(result: RunResult) -> Iterator[str]:
    """Yield utterances that the dataset of the result, on this machine, does not have."""
    clips = _clips(result)
    if clips is None or (clips.exact and _other_clips(result, clips)):
        return
    clusters = {u.id: u.cluster for u in clips.manifest.utterances}
    for row, (id_, cluster) in enumerate(
        zip(_ids(result), result.utterances.get("cluster", []), strict=True)
    ):
        if id_ not in clusters:
            yield f"utterances.id[{row}]: '{id_}' is no clip of {result.task.dataset.name}"
            return
        if clusters[id_] != cluster:
            yield f"utterances.cluster[{row}]: '{cluster}', but the cluster of '{id_}' is '{clusters[id_]}'"
            return
    if result.task.dataset.n != len(clusters):
        yield f"task.dataset.n: {result.task.dataset.n}, but {result.task.dataset.name} has {len(clusters)} clips"


def unchecked_origin(result: RunResult, as_run: TaskSpec | None) -> Iterator[str]:
    """Yield what of the origin nothing on this machine can show; `as_run` as above."""
    clips = _clips(result)
    if clips is None:
        yield f"the clips of '{result.task.dataset.name}' are not on this machine: ids and clusters are as stated"
    elif not clips.exact:
        yield "the fingerprint of the clips is as stated: their audio was not read"
    task = task_here(result.task.name, result.task.preset)
    if task is None:
        yield f"task '{result.task.name}' ({result.task.preset}) is not registered here: what it is, is as stated"
    elif result.scores and as_run is None:
        yield f"the hash of task '{task.name}' is not that of the task here: what of it is not in the file is as stated"
    model = packaged_models().get(result.model.name)
    if model is not None and model["revision"] != result.model.revision:
        yield f"model '{result.model.name}' has another revision here: what it is, is as stated"
    if model is None:
        yield f"model '{result.model.name}' does not come with xbench: what it is, is as stated"
    if registered(registry.methods, result.method.name) is None:
        yield f"method '{result.method.name}' is not registered here: what it is, is as stated"
    if spec_hash(result) != result.provenance.spec_hash:
        yield "the hash in the file's name (spec_hash) cannot be computed again from what the file states"
    if result.gates:
        yield "gates are as stated"
    checked = known_clips(result) is not None
    yield (
        "costs are as stated"
        if checked
        else "costs, and the quality of the hypotheses, are as stated"
    )


def known_clips(result: RunResult) -> Manifest | None:
    """Return the clips that a result was made on; None where they are not here, or nothing shows that it is these."""
    clips = _clips(result)
    same = clips is not None and clips.exact and not _other_clips(result, clips)
    return clips.manifest if clips is not None and same else None


def other_clips(result: RunResult) -> bool:
    """Say whether a result names a dataset of this machine but was made on other clips."""
    clips = _clips(result)
    return clips is not None and clips.exact and _other_clips(result, clips)


def _other_clips(result: RunResult, clips: Clips) -> bool:
    return clips.manifest.fingerprint != result.task.dataset.fingerprint


def _clips(result: RunResult) -> Clips | None:
    task = task_here(result.task.name, result.task.preset)
    if (
        task is None
        or task.dataset.name == FROM_USER
        or task.dataset.name != result.task.dataset.name
    ):
        return None
    return clips_here(task, _selection(result))


def _selection(result: RunResult) -> Selection:
    given = result.task.selection
    return Selection(tuple(given["ids"]), given["limit"])


def _ids(result: RunResult) -> list[str]:
    return result.utterances.get("id", [])
