"""Bundles of single utterances for the site, from results and the store that they were made with; no model.

Which maps a bundle holds, in this order until `maps` of them or the largest size is reached:

    1. the references, the headline's first
    2. mean-heads over all layers and heads
    3. the best attention method by headline score: it reads the same weights in the same pass
    4. the best of each other family of methods, best first
    5. the floor of the task (a control), whether or not its result is given
    6. whisper-timing
    7. the other methods, then the other controls, each by headline score, best first; single heads come last

Single heads are never the best of a family, as on the boards: the best of a hundred is chosen by the score itself. With
`heads` they stand apart (`heads`), all of them, for a grid of layers by heads. Of the first maps in the input space the
spectrogram cells are kept too (`volumes`). What does not fit is left out from the end: cells, heads, then maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from xbench import bundle
from xbench.data.audio import read_audio
from xbench.data.manifest import Utterance
from xbench.data.spectrogram import RATE, log_mel
from xbench.errors import UsageError, UtteranceError, XbenchError
from xbench.results import RunResult
from xbench.runner import compare
from xbench.runner.examples.clips import clips_of, rights, wav
from xbench.runner.examples.maps import draw, single_heads, volume
from xbench.runner.examples.runs import Run, check_ids, runs_of
from xbench.runner.keys import Job, Spoken
from xbench.store import Store, write_atomically

Json = dict[str, Any]

_VOLUMES = 2
_LARGEST_VOLUME = 660_000  # bytes: what a file of the site may hold, less its frame
_COLUMNS = (
    1500  # of a spectrogram: 15 s at 10 ms; of longer clips two frames or more make one column
)


@dataclass(frozen=True)
class Options:
    """Which utterances and maps, and whether clips are published.

    ids, limit: these utterances, and so many of each model on each task; nothing set: all.
    data: manifest that says where the clips lie; None: as when the run was made.
    audio: `allow-list` publishes clips with a licence in `bundle.PUBLIC_LICENCES`.
    licence, attribution: of clips given with --data, stated by who exports them; a registered dataset states its own.
    spread: of each run the clips on which its leading method scores best, in the middle, and worst.
    heads: the maps of all single heads that the results have, beside the others.
    """

    ids: tuple[str, ...] = ()
    limit: int | None = None
    data: Path | None = None
    audio: bundle.Publish = "allow-list"
    maps: int = 12
    licence: str | None = None
    attribution: str | None = None
    spread: bool = False
    heads: bool = False


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
    runs = runs_of(results, store)
    check_ids(runs, options.ids)
    files: list[Path] = []
    left_out: list[str] = []
    for run in runs:
        chosen, unfit = run.chosen(options.ids, options.limit)
        if options.spread:
            chosen = run.spread(chosen)
        left_out += unfit
        clips = clips_of(run, [spoken.job for spoken in chosen], options.data)
        for spoken in chosen:
            made, missing = _bundle(run, spoken, clips[spoken.job.utterance.id], options)
            left_out += missing
            files += [_write(*made, out)] if made else []
    if not files:
        raise UsageError("; ".join(["there is nothing to export", *left_out]))
    return Exported(tuple(files), tuple(left_out))


def _bundle(
    run: Run, spoken: Spoken, clip: Utterance, options: Options
) -> tuple[tuple[Json, bytes] | None, list[str]]:
    """Return bundle and clip of one utterance, fewer maps where it would be too large, and what it lacks."""
    try:
        samples = read_audio(clip.audio, RATE)
    except UtteranceError as problem:
        raise UsageError(f"audio of '{clip.id}': {problem}") from None
    try:
        drawn, left_out = draw(run, spoken, options.maps, options.heads)
        heads = single_heads(run, spoken) if options.heads else []
    except UsageError:
        raise
    except XbenchError as problem:
        raise UsageError(
            f"{run.first.path()}: the store {run.stored.shelf.store.folder.name} no longer holds what it was made from "
            f"({str(problem).split(';')[0]}); evaluate again"
        ) from None
    maps = [one.entry for one in drawn]
    stride = spoken.decoded.layout.stride
    volumes = [volume(one, stride) for one in drawn if one.cells is not None][:_VOLUMES]
    for large in [v for v in volumes if len(v["data"]) > _LARGEST_VOLUME]:
        volumes.remove(large)
        cells = f"the spectrogram cells of {large['map']}"
        left_out.append(f"{run.place(spoken.job)}: {cells}: they would be too large for a page")
    made = {**_facts(run, spoken, samples, options), "maps": maps, "volumes": volumes}
    if heads:
        made["heads"] = heads
    while maps and len(bundle.to_json(made).encode()) > bundle.LARGEST:
        if volumes:
            lost = "the spectrogram cells of " + volumes.pop()["map"]
        elif made.pop("heads", None):
            lost = "the single heads"
        else:
            lost = maps.pop()["label"]
        left_out.append(f"{run.place(spoken.job)}: {lost}: the bundle would be too large")
    sound = wav(samples) if made["audio"] is not None else b""
    return ((made, sound) if maps else None), left_out


def _write(made: Json, sound: bytes, out: Path) -> Path:
    folder = out / str(made["id"])
    if sound:
        write_atomically(folder / bundle.AUDIO, sound)
    write_atomically(folder / bundle.FILE, bundle.to_json(made).encode())
    if not sound:
        (folder / bundle.AUDIO).unlink(missing_ok=True)  # of an export that published it
    return folder / bundle.FILE


def _facts(
    run: Run, spoken: Spoken, samples: Float[np.ndarray, " sample"], options: Options
) -> Json:
    """Return everything of a bundle but its maps."""
    record, job, decoded = run.record, spoken.job, spoken.decoded
    utterance = job.utterance
    axes, target = decoded.layout, job.task.target_language
    licence, attribution, withheld = rights(
        record, options.audio, options.licence, options.attribution
    )
    picture, melframe_seconds = _short(*log_mel(samples))
    packed = bundle.pack(picture.reshape(1, -1))
    spans = compare.word_spans(spoken) or [None] * len(axes.tokens)
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


def _short(
    picture: Float[np.ndarray, "melframe mel"], seconds: float
) -> tuple[Float[np.ndarray, "column mel"], float]:
    """Return the spectrogram with at most 1,500 columns, each the loudest of its frames, and their distance."""
    step = -(-len(picture) // _COLUMNS)
    return np.maximum.reduceat(picture, np.arange(0, len(picture), step)), step * seconds


def _quality(run: Run, job: Job) -> float | None:
    """Return the quality of the hypothesis that the first result with this utterance states."""
    for result in run.results.values():
        ids = result.utterances.get("id", [])
        if job.utterance.id in ids:
            column: list[float | None] = result.utterances.get(job.task.quality.metric, [])
            return column[ids.index(job.utterance.id)] if len(column) == len(ids) else None
    return None
