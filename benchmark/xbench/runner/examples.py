"""Bundles of single utterances for the site, from results and the store that they were made with; no model.

Which maps a bundle holds, in this order until `maps` of them or the largest size is reached:

    1. the references, the headline's first
    2. the method with the best headline score
    3. mean-heads over all layers and heads
    4. the floor of the task (a control), whether or not its result is given
    5. the other methods, then the other controls, each by headline score, best first

Of the first maps in the input space the spectrogram cells are kept too (`volumes`), where there is room.
"""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from xbench import bundle, registry
from xbench.data.audio import read_audio
from xbench.data.datasets import manifest_path
from xbench.data.manifest import Utterance, read_manifest
from xbench.data.spectrogram import RATE, log_mel
from xbench.errors import UsageError, UtteranceError, XbenchError, nearest
from xbench.maps import on_encoder_grid
from xbench.references.reliability import utterance_reliability
from xbench.results import MethodRecord, RunResult, column_name, short_labels
from xbench.runner import stages
from xbench.runner.keys import Decoded, Job, map_key, reference_key
from xbench.runner.plan import Method
from xbench.runner.record import RunRecord, key_of
from xbench.runner.rescore import Change, Stored, stored_run
from xbench.schemas import InvalidFile
from xbench.spec import Call, Selection
from xbench.store import Store, write_atomically

Json = dict[str, Any]

_VOLUMES = 2
_BANDS = 20


@dataclass(frozen=True)
class Options:
    """Which utterances and maps, and whether clips are published.

    ids, limit: these utterances, and so many of each model on each task; nothing set: all.
    data: manifest that says where the clips lie; None: as when the run was made.
    audio: `allow-list` publishes clips of registered datasets with a licence in `bundle.PUBLIC_LICENCES`.
    """

    ids: tuple[str, ...] = ()
    limit: int | None = None
    data: Path | None = None
    audio: bundle.Publish = "allow-list"
    maps: int = 12


@dataclass(frozen=True)
class Exported:
    """The bundles written, and what was left out and why."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]


def export(
    results: Sequence[RunResult], store: Store, out: Path, options: Options | None = None
) -> Exported:
    """Write one bundle folder per task, model and utterance of the results; equal inputs give equal bytes.

    Raises UsageError: the store does not hold what a result was made from, an id that no result has, a clip
    that is not there, is another file or cannot be read, or nothing to export.
    """
    options = options or Options()
    runs = _runs(results, store)
    _check_ids(runs, options.ids)
    files: list[Path] = []
    left_out: list[str] = []
    for run in runs:
        chosen, unfit = run.chosen(options)
        left_out += unfit
        clips = _clips(run, chosen, options.data)
        for job in chosen:
            made, missing = _bundle(run, job, clips[job.utterance.id], store, options)
            left_out += missing
            files += [_write(*made, out)] if made else []
    if not files:
        raise UsageError("; ".join(["there is nothing to export", *left_out]))
    return Exported(tuple(files), tuple(left_out))


# -- runs ------------------------------------------------------------------------------------------


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

    def chosen(self, options: Options) -> tuple[list[Job], list[str]]:
        """Return the utterances to export, in the order of the manifest, and those that cannot be shown."""
        wanted = [j for j in self.stored.jobs if not options.ids or j.utterance.id in options.ids]
        unfit = {job.utterance.id: self._unfit(job) for job in wanted}
        left_out = [
            f"{self.place(job)}: {why}" for job in wanted if (why := unfit[job.utterance.id])
        ]
        return [job for job in wanted if not unfit[job.utterance.id]][: options.limit], left_out

    def _unfit(self, job: Job) -> str:
        decoded = self.stored.decoded.get(job.utterance.id)
        if decoded is None:
            return "it was not scored"
        return "its hypothesis is empty" if decoded.empty else ""

    def place(self, job: Job) -> str:
        """Name task, model and utterance for a message."""
        return f"{job.task.name}, {self.record.info.name}: {job.utterance.id}"

    @cached_property
    def ordered(self) -> list[Explanation]:
        """The methods in the order in which bundles take them; those without any map are left out."""
        methods = {
            label: Explanation(label, self.stored.methods[position], result, "")
            for position, (label, result) in enumerate(self.results.items())
            if result.status in ("complete", "partial")
        }
        floor = str(self.stored.floor.call)
        if methods and floor not in methods:
            scored = [e.result for e in methods.values()]
            most = max(scored, key=lambda r: len(r.utterances.get("id", ())))
            methods[floor] = Explanation(floor, self.stored.floor, most, "floor:")
        by_score = sorted(methods.values(), key=lambda e: (e.control, e.rank, e.label))
        mean = str(registry.methods.resolve(Call("mean-heads"))[1])
        first = [
            *(e for e in by_score[:1] if not e.control),
            *(methods[label] for label in (mean, floor) if label in methods),
        ]
        return list(dict.fromkeys([*first, *by_score]))

    @cached_property
    def short(self) -> dict[str, str]:
        """Label to one with only the parameters in which methods of a name differ."""
        labels = short_labels([explanation.record for explanation in self.ordered])
        return {e.label: label for e, label in zip(self.ordered, labels, strict=True)}


@dataclass(frozen=True, eq=False)
class Explanation:
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
        return replace(own, name=call.name, params=dict(call.params), fitted=None)

    @property
    def control(self) -> bool:
        """True for what no explanation should lose against."""
        return self.method.description.kind == "control"

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


def _runs(results: Sequence[RunResult], store: Store) -> list[Run]:
    """Group results by run, sorted by task and model; of equal methods the newest result counts."""
    groups: dict[tuple[str, str, str], dict[str, RunResult]] = {}
    for result in sorted(results, key=lambda r: (r.method.label, r.provenance.finished)):
        name = (result.task.name, result.model.name, key_of(result).digest)
        groups.setdefault(name, {})[result.method.label] = result
    return [
        Run(name[2], group, stored_run(list(group.values()), store, Change()))
        for name, group in sorted(groups.items())
    ]


def _check_ids(runs: Sequence[Run], ids: Sequence[str]) -> None:
    known = {job.utterance.id for run in runs for job in run.stored.jobs}
    for id_ in ids:
        if id_ not in known:
            raise UsageError(f"no result has an utterance '{id_}'{nearest(id_, known)}")


# -- clips -----------------------------------------------------------------------------------------


def _clips(run: Run, jobs: Sequence[Job], data: Path | None) -> dict[str, Utterance]:
    """Return where the clips of these utterances lie, each the very file that was explained."""
    if not jobs:
        return {}
    given = data or (None if run.record.spec.data is None else Path(run.record.spec.data))
    dataset = run.record.task.dataset
    path = given or manifest_path(dataset, dataset.split)
    if not path.is_file():
        raise UsageError(f"{path}: the manifest of the clips is not there; name it with --data")
    try:
        found = read_manifest(path, selection=Selection(tuple(j.utterance.id for j in jobs)))
    except InvalidFile as problem:
        more = f" (and {len(problem.problems) - 1} more)" if problem.problems[1:] else ""
        raise UsageError(f"{path}: {problem.problems[0]}{more}") from None
    clips = {utterance.id: utterance for utterance in found.utterances}
    for job in jobs:
        if clips[job.utterance.id].audio_sha256 != job.utterance.audio_sha256:
            raise UsageError(
                f"{path}: the audio of '{job.utterance.id}' is another file than the one that was explained "
                "(its sha256 differs); name the manifest of the run with --data"
            )
    return clips


def _rights(record: RunRecord, audio: str) -> tuple[str | None, str | None, str | None]:
    """Return licence and source of the clips, and why they are withheld or None.

    Only the description of a registered dataset can state a licence; a manifest given with --data may bear
    any name.
    """
    named = record.spec.data is None and record.manifest.name in registry.datasets.names()
    description = registry.datasets.get(record.manifest.name) if named else None
    licence = description.licence if description else None
    source = description.source if description else None
    if audio == "none":
        return licence, source, "not-asked-for"
    if licence is None:
        return None, None, "clips-given-with-data"
    return licence, source, None if licence in bundle.PUBLIC_LICENCES else "licence-not-allowed"


def _wav(samples: Float[np.ndarray, " sample"]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(np.rint(samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


# -- bundles ---------------------------------------------------------------------------------------


def _bundle(
    run: Run, job: Job, clip: Utterance, store: Store, options: Options
) -> tuple[tuple[Json, bytes] | None, list[str]]:
    """Return bundle and clip of one utterance, fewer maps where it would be too large, and what it lacks."""
    try:
        samples = read_audio(clip.audio, RATE)
    except UtteranceError as problem:
        raise UsageError(f"audio of '{clip.id}': {problem}") from None
    try:
        drawn, left_out = _drawn(run, job, store, options.maps)
    except UsageError:
        raise
    except XbenchError as problem:
        raise UsageError(
            f"{run.first.path()}: the store {store.folder.name} no longer holds what it was made from "
            f"({str(problem).split(';')[0]}); evaluate again"
        ) from None
    maps = [one.entry for one in drawn]
    volumes = [_volume(one, job, run) for one in drawn if one.cells is not None][:_VOLUMES]
    made = {**_facts(run, job, samples, options), "maps": maps, "volumes": volumes}
    while maps and len(bundle.to_json(made).encode()) > bundle.LARGEST:
        lost = (
            "the spectrogram cells of " + volumes.pop()["map"] if volumes else maps.pop()["label"]
        )
        left_out.append(f"{run.place(job)}: {lost}: the bundle would be too large")
    sound = _wav(samples) if made["audio"] is not None else b""
    return ((made, sound) if maps else None), left_out


def _write(made: Json, sound: bytes, out: Path) -> Path:
    folder = out / str(made["id"])
    if sound:
        write_atomically(folder / bundle.AUDIO, sound)
    write_atomically(folder / bundle.FILE, bundle.to_json(made).encode())
    if not sound:
        (folder / bundle.AUDIO).unlink(missing_ok=True)  # of an export that published it
    return folder / bundle.FILE


def _facts(run: Run, job: Job, samples: Float[np.ndarray, " sample"], options: Options) -> Json:
    """Return everything of a bundle but its maps."""
    record, utterance = run.record, job.utterance
    decoded = run.stored.decoded[utterance.id]
    axes, target = decoded.layout, job.task.target_language
    licence, attribution, withheld = _rights(record, options.audio)
    picture, melframe_seconds = log_mel(samples)
    packed = bundle.pack(picture.reshape(1, -1))
    spans = stages.word_spans(job, decoded) or [None] * len(axes.tokens)
    return {
        "schema": bundle.SCHEMA,
        "id": bundle.bundle_id(job.task.name, record.info.name, utterance.id, run.digest),
        "task": job.task.name,
        "model": record.info.name,
        "utterance": utterance.id,
        "language": utterance.language,
        "target_language": target,
        "transcript": utterance.transcript,
        "translation": utterance.target_text(target) if target else None,
        "hypothesis": decoded.hypothesis.text,
        "quality": {"metric": job.task.quality.metric, "value": _quality(run, job)},
        "cluster": None if utterance.cluster_assumed else utterance.cluster,
        "licence": licence,
        "attribution": attribution,
        "seconds": round(decoded.seconds_of_audio, 6),
        "audio": bundle.AUDIO if withheld is None else None,
        "audio_reason": withheld,
        "frame_seconds": round(axes.stride * axes.melframe_seconds, 9),
        "melframe_seconds": melframe_seconds,
        "tokens": [
            {
                "text": text,
                "content": row in axes.content,
                "start": span and span[0],
                "end": span and span[1],
            }
            for row, (text, span) in enumerate(zip(axes.texts, spans, strict=True))
        ],
        "spectrogram": {
            "shape": list(picture.shape),
            "min": packed["min"][0],
            "max": packed["max"][0],
            "data": packed["data"],
        },
    }


def _quality(run: Run, job: Job) -> float | None:
    """Return the quality of the hypothesis that the first result with this utterance states."""
    for result in run.results.values():
        ids = result.utterances.get("id", [])
        if job.utterance.id in ids:
            column: list[float | None] = result.utterances.get(job.task.quality.metric, [])
            return column[ids.index(job.utterance.id)] if len(column) == len(ids) else None
    return None


@dataclass(frozen=True)
class Drawn:
    """The entry of a map, and its relevance per spectrogram cell where it has any."""

    entry: Json
    cells: Float[np.ndarray, "token melframe mel"] | None


def _drawn(run: Run, job: Job, store: Store, most: int) -> tuple[list[Drawn], list[str]]:
    """Return the first `most` maps, as they are scored, and say which cannot be drawn.

    Raises XbenchError for one that is gone from the store.
    """
    decoded = run.stored.decoded[job.utterance.id]
    found: list[Drawn] = []
    left_out = []
    headline = job.task.headline.reference
    for call in sorted(job.task.references, key=lambda c: c.name != headline)[:most]:
        if not stages.unsupported_reference(run.record.info, call.name):
            found.append(_reference(run, job, decoded, call, store))
    for explanation in run.ordered:
        scores = explanation.scores(job.utterance.id)
        if len(found) >= most:
            break
        if scores is None:
            continue
        drawn = _method(run, job, decoded, explanation, scores, store)
        if drawn is None:
            left_out.append(f"{run.place(job)}: {explanation.label}: its map is not finite")
        else:
            found.append(drawn)
    return found, left_out


def _reference(run: Run, job: Job, decoded: Decoded, call: Call, store: Store) -> Drawn:
    axes, scoring = decoded.layout, job.task.scoring
    key = reference_key(run.record.info, job, decoded, call)
    reference = stages.read_reference(call, stages.stored_artefact(store, key))
    whole = reference.mean()
    mean = on_encoder_grid(whole, axes, scoring)
    halves = stages.on_grid(reference.halves(), axes, scoring)
    reliability: list[float | None] = [None] * len(axes.tokens)
    rows = utterance_reliability(*halves, axes).rows if halves else ()
    for row, value in zip(axes.content, rows, strict=halves is not None):
        reliability[row] = value if value is None else round(value, 6)
    entry = {
        **_named("reference", str(call), call.name, call, call.name),
        **_values(mean.values),
        "row_reliability": reliability,
        "scores": {},
    }
    return Drawn(entry, whole if whole.ndim == 3 else None)


def _method(
    run: Run,
    job: Job,
    decoded: Decoded,
    explanation: Explanation,
    scores: Mapping[str, float | None],
    store: Store,
) -> Drawn | None:
    """Return the map of one method; None where it is not finite."""
    method, label = explanation.method, explanation.label
    partner = run.stored.partners.get(job.utterance.id)
    key = map_key(run.record.info, job, decoded, method, partner)
    values = stages.stored_artefact(store, key).arrays["values"]
    if not np.isfinite(values).all():
        return None
    signed = method.description.signed
    grid = on_encoder_grid(
        values,
        decoded.layout,
        job.task.scoring,
        signed=signed,
        distribution=method.description.distribution,
    )
    kind = "control" if explanation.control else "method"
    entry = {
        **_named(kind, label, run.short[label], method.call, None),
        **_values(grid.values),
        "row_reliability": None,
        "scores": dict(scores),
    }
    return Drawn(entry, (np.abs(values) if signed else values) if values.ndim == 3 else None)


def _volume(drawn: Drawn, job: Job, run: Run) -> Json:
    """Return the largest cell of each of 20 bands (fewer for fewer mel channels) and each encoder frame."""
    assert drawn.cells is not None
    melframes, mels = drawn.cells.shape[1:]
    stride = run.stored.decoded[job.utterance.id].layout.stride
    in_time = np.maximum.reduceat(drawn.cells, np.arange(0, melframes, stride), axis=1)
    bands = np.maximum.reduceat(in_time, np.arange(0, mels, -(-mels // _BANDS)), axis=2)
    values = bands.transpose(0, 2, 1).astype(np.float64)
    packed = bundle.pack(values.reshape(len(values), -1))
    return {"map": drawn.entry["id"], "shape": list(values.shape), **packed}


def _named(kind: str, label: str, short: str, call: Call, reference: str | None) -> Json:
    return {
        "id": bundle.map_id(kind, label),
        "label": short,
        "kind": kind,
        "method": call.name,
        "params": dict(call.params),
        "reference": reference,
        "space": "encoder",
    }


def _values(values: Float[np.ndarray, "token frame"]) -> Json:
    return {"shape": list(values.shape), **bundle.pack(values)}
