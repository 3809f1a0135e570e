"""The maps of one utterance as a bundle holds them: which ones, and in what form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from xbench import bundle
from xbench.maps import on_encoder_grid
from xbench.methods.timing import cheapest_path, over_tokens
from xbench.references.reliability import utterance_reliability
from xbench.runner import compare
from xbench.runner.bench import Shelf
from xbench.runner.examples.runs import Explained, Run
from xbench.runner.keys import Spoken, map_key, reference_key
from xbench.spec import Call

Json = dict[str, Any]

_BANDS = 20


@dataclass(frozen=True)
class Drawn:
    """The entry of a map, and its relevance per spectrogram cell where it has any."""

    entry: Json
    cells: Float[np.ndarray, "token melframe mel"] | None


def draw(run: Run, spoken: Spoken, most: int, apart: bool) -> tuple[list[Drawn], list[str]]:
    """Return the first `most` maps, as they are scored, and say which cannot be drawn.

    apart: without single heads, which then stand apart. Raises XbenchError for one that is gone from the store.
    """
    job = spoken.job
    found: list[Drawn] = []
    left_out = []
    headline = job.task.headline.reference
    for call in sorted(job.task.references, key=lambda c: c.name != headline)[:most]:
        if not compare.unsupported_reference(run.record.info, call.name):
            found.append(_reference(run.stored.shelf, spoken, call))
    for explained in run.ordered:
        scores = explained.scores(job.utterance.id)
        if len(found) >= most:
            break
        if scores is None or (apart and explained.head is not None):
            continue
        drawn = _method(run, spoken, explained, scores)
        if drawn is None:
            left_out.append(f"{run.place(job)}: {explained.label}: its map is not finite")
        else:
            found.append(drawn)
    return found, left_out


def single_heads(run: Run, spoken: Spoken) -> list[Json]:
    """Return the map of each single head that the results have, by layer and head, with its scores.

    Raises XbenchError for one that is gone from the store.
    """
    found = []
    for explained in run.ordered:
        scores = explained.scores(spoken.job.utterance.id)
        if explained.head is None or scores is None:
            continue
        drawn = _method(run, spoken, explained, scores)
        if drawn is not None:
            kept = {
                name: drawn.entry[name]
                for name in ("shape", "min", "max", "data", "path", "scores")
            }
            found.append((explained.head, kept))
    return [
        {"layer": layer, "head": head, **entry}
        for (layer, head), entry in sorted(found, key=lambda one: one[0])
    ]


def _reference(shelf: Shelf, spoken: Spoken, call: Call) -> Drawn:
    axes, scoring = spoken.decoded.layout, spoken.job.task.scoring
    stored = shelf.artefact(reference_key(shelf.info, spoken, call))
    reference = compare.read_reference(call, stored)
    whole = reference.mean()
    mean = on_encoder_grid(whole, axes, scoring)
    halves = compare.on_grid(reference.halves(), axes, scoring)
    reliability: list[float | None] = [None] * len(axes.tokens)
    rows = utterance_reliability(*halves, axes).rows if halves else ()
    for row, value in zip(axes.content, rows, strict=halves is not None):
        reliability[row] = value if value is None else round(value, 6)
    entry = {
        **_named("reference", str(call), call.name, call, call.name),
        **_values(mean.values),
        "path": word_starts(mean.values, axes.content),
        "row_reliability": reliability,
        "scores": {},
    }
    return Drawn(entry, whole if whole.ndim == 3 else None)


def _method(
    run: Run,
    spoken: Spoken,
    explained: Explained,
    scores: Mapping[str, float | None],
) -> Drawn | None:
    """Return the map of one method; None where it is not finite."""
    method, label = explained.method, explained.label
    key = map_key(run.record.info, spoken, method)
    values = run.stored.shelf.artefact(key).arrays["values"]
    if not np.isfinite(values).all():
        return None
    signed = method.description.signed
    grid = method.on_grid(values, spoken.decoded.layout, spoken.job.task.scoring)
    content = spoken.decoded.layout.content
    # An attention map only has a sign where it is relative to other tokens already.
    if signed and values.ndim == 2 and not method.description.uses_gradients:
        starts = path_starts(values[:, : grid.values.shape[1]])
    else:
        starts = word_starts(grid.values, content)
    kind = "control" if explained.control else "method"
    entry = {
        **_named(kind, label, run.short[label], method.call, None),
        **_values(grid.values),
        "path": starts,
        "row_reliability": None,
        "scores": dict(scores),
    }
    return Drawn(entry, (np.abs(values) if signed else values) if values.ndim == 3 else None)


def word_starts(values: Float[np.ndarray, "token frame"], content: Sequence[int]) -> list[int]:
    """Return the first frame of each token on the path by which Whisper times words, here through this map.

    The map is taken relative to the tokens of each frame, as `whisper-timing` takes its heads.
    """
    return path_starts(over_tokens(values[None].astype(np.float64), content)[0])


def path_starts(relative: Float[np.ndarray, "token frame"]) -> list[int]:
    """Return the first frame of each token on the path that collects most of a map."""
    return [int(row.argmax()) for row in cheapest_path(-relative.astype(np.float64))]


def volume(drawn: Drawn, stride: float) -> Json:
    """Return the largest cell of each of 20 bands (fewer for fewer mel channels) and each encoder frame."""
    assert drawn.cells is not None
    melframes, mels = drawn.cells.shape[1:]
    in_time = np.maximum.reduceat(
        drawn.cells, np.rint(np.arange(0, melframes, stride)).astype(int), axis=1
    )
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
        "params": call.given,
        "reference": reference,
        "space": "encoder",
    }


def _values(values: Float[np.ndarray, "token frame"]) -> Json:
    return {"shape": list(values.shape), **bundle.pack(values)}
