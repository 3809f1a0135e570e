"""Score maps that were made elsewhere, on the hypotheses and references of a run that the store knows.

A folder holds `maps.json` (schema `xbench.maps/1`: name, kind, space, what the values are, and one
file per utterance) and the arrays, as .npy or as .npz with one array. Rows are the content tokens of the
hypothesis (their number is the column `tokens` of the result), or all generated tokens, end of text included;
columns are the valid encoder frames (column `frames`), or spectrogram frames by mel channels.
What the maps cost is not known: those fields of the result are null.
"""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from xbench import registry
from xbench.description import MethodDescription
from xbench.errors import UsageError, nearest
from xbench.inputs import MANIFEST_BYTES, read_json, read_plain
from xbench.maps import Layout
from xbench.results import Failure, RunResult, read_result
from xbench.runner.assemble import assemble
from xbench.runner.keys import map_key
from xbench.runner.outcome import TaskOutcome
from xbench.runner.plan import Method, TaskPlan
from xbench.runner.rescore import Change, change_from, score_stored, stored_run
from xbench.schemas import InvalidFile, problems
from xbench.spec import Call
from xbench.store import Store, default_folder

ARRAY_BYTES = 2 * 1024**3
_SUM_TOLERANCE = 1e-3  # of float32 rows that sum to one


@dataclass(frozen=True)
class OutsideMaps:
    """The description and the arrays of a folder of maps, before they are held against layouts."""

    description: MethodDescription
    arrays: Mapping[str, np.ndarray]
    files: Mapping[str, Path | str]


def read_maps(folder: Path) -> OutsideMaps:
    """Read `maps.json` and its arrays; raises UsageError with the file and what is wrong with it."""
    file = folder / "maps.json"
    if not file.exists():
        raise UsageError(f"{file}: there is no such file; a folder of maps needs one")
    data = read_json(file, MANIFEST_BYTES)
    found = problems("maps", data)
    if found:
        raise InvalidFile(str(file), found)
    files = {id_: folder / name for id_, name in data["files"].items()}
    arrays = {id_: _read_array(path) for id_, path in files.items()}
    return OutsideMaps(_described(data, arrays, str(file)), arrays, files)


def _described(
    data: Mapping[str, Any], arrays: Mapping[str, np.ndarray], place: str
) -> MethodDescription:
    """Return the description of maps, whose contents are the version."""
    if data["name"] in registry.methods.names():
        raise UsageError(f"{place}: name: '{data['name']}' is a registered method; choose another")
    digest = hashlib.sha256()
    for id_, array in sorted(arrays.items()):
        digest.update(f"{id_}{array.shape}".encode() + array.tobytes())
    return MethodDescription(
        name=data["name"],
        version=digest.hexdigest()[:12],
        summary="maps made elsewhere",
        source="",
        implementation="",
        kind=data["kind"],
        space=data["space"],
        signed=data["signed"],
        distribution=data["distribution"],
        uses_gradients=data["uses_gradients"],
    )


def _read_array(path: Path) -> Float32[np.ndarray, "..."]:
    content = read_plain(path, ARRAY_BYTES)
    try:
        if content.startswith(b"PK"):
            content = _only_array(path, content)
        # From a buffer, an array cannot be larger than what is there, whatever its header claims.
        loaded: Any = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except UsageError:
        raise
    except Exception:  # noqa: BLE001  # NumPy reads headers as Python and archives as zip: either fails in many ways
        raise UsageError(f"{path}: not a .npy or .npz file of numbers") from None
    return _numbers(loaded, path)


def _numbers(loaded: np.ndarray, place: Path | str) -> Float32[np.ndarray, "..."]:
    if loaded.dtype.kind not in "fiu":
        raise UsageError(f"{place}: holds {loaded.dtype}, not numbers")
    values = loaded.astype(np.float32)
    if not np.isfinite(values).all():
        raise UsageError(f"{place}: holds NaN or infinity")
    return np.asarray(values)


def _only_array(path: Path, content: bytes) -> bytes:
    """Return the one array of an .npz file; raises UsageError where unpacking it would not end."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) != 1:
            raise UsageError(f"{path}: has {len(members)} arrays; give one map per file")
        with archive.open(members[0]) as packed:
            unpacked = packed.read(ARRAY_BYTES + 1)
    if len(unpacked) > ARRAY_BYTES:
        raise UsageError(f"{path}: unpacked it is more than {ARRAY_BYTES / 1e6:.3g} MB")
    return unpacked


def score_maps(
    result: RunResult | str | Path,
    maps: Mapping[str, Any],
    *,
    name: str,
    kind: Literal["attention", "gradient", "perturbation", "control"] = "attention",
    space: Literal["encoder", "input"] = "encoder",
    signed: bool = False,
    distribution: bool = False,
    uses_gradients: bool = False,
    metrics: Sequence[str] = (),
    scoring: Sequence[str] = (),
    cache: str | Path | None = None,
) -> RunResult:
    """Score arrays of one's own against the stored references of a run, without the model.

    result: any result of the run, or its file. maps: by the ids of its utterances, [token, frame] or
    [token, melframe, mel] by `space`; rows are the content tokens (column `tokens` of the result) or all generated
    ones, columns the valid frames (column `frames`). name, kind, space, signed, distribution: as `xbench.method` takes
    them. metrics, scoring: as `xbench score --metric` and `--scoring` take them. cache: the store of the run, None for
    the user's.

    Returns a result like those of `evaluate`, with unknown costs. An utterance without a map counts as a failure,
    `no-map`, and is told by a warning.

    Raises:
        UsageError: a map that does not fit, an utterance that the run does not have, or a run that the store does not
            hold.
    """
    if isinstance(result, str | Path):
        result = read_result(Path(result))
    places = {id_: f"maps['{id_}']" for id_ in maps}
    given = {
        "schema": "xbench.maps/1",
        "name": name,
        "kind": kind,
        "space": space,
        "signed": signed,
        "distribution": distribution,
        "uses_gradients": uses_gradients,
        "files": places,
    }
    if found := problems("maps", given):
        raise InvalidFile("score_maps", found)
    arrays = {id_: _numbers(np.asarray(array), places[id_]) for id_, array in maps.items()}
    store = Store(Path(cache) if cache else default_folder())
    outside = OutsideMaps(_described(given, arrays, "score_maps"), arrays, places)
    return score_outside(result, outside, store, change_from(metrics, scoring))


def score_outside(result: RunResult, maps: OutsideMaps, store: Store, change: Change) -> RunResult:
    """Return the result of these maps on the run that made `result`; raises UsageError on misfits.

    Utterances without a map count as failures, `no-map`, and are told by a warning.
    """
    stored = stored_run([result], store, change)
    record, method = stored.record, Method(maps.description, Call(maps.description.name), "")
    known = [job.utterance.id for job in stored.jobs]
    for id_ in maps.arrays:
        if id_ not in known:
            raise UsageError(
                f"{maps.files[id_]}: the run has no utterance '{id_}'{nearest(id_, known)}"
            )
    generated = change.apply(record.task).scoring.statistics == "generated"
    fitting = {
        job.utterance.id: _fitting(
            maps, job.utterance.id, stored.spoken[job.utterance.id].decoded.layout, generated
        )
        for job in stored.jobs
        if job.utterance.id in maps.arrays and job.utterance.id in stored.spoken
    }
    outcomes, failures = [], list(result.failures)
    failed = {failure.id for failure in failures}
    for job in stored.jobs:
        id_ = job.utterance.id
        if id_ in failed or id_ not in stored.spoken:
            continue
        spoken = stored.spoken[id_]
        if id_ not in fitting and not spoken.decoded.unexplained:
            failures.append(Failure(id_, "no-map", "no map of it is given"))
            continue
        if not spoken.decoded.unexplained:
            facts = {"forward_passes": 0, "backward_passes": 0, "seconds": 0.0}
            key = map_key(record.info, spoken, method)
            store.put(key, {"values": fitting[id_]}, {**facts, "padding_mass": None, "sinks": None})
        both = [method, stored.floor]
        outcomes.append(score_stored(stored.shelf, spoken, both, "needs-model"))
    if missing := [failure.id for failure in failures if failure.reason == "no-map"]:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        warnings.warn(
            f"{len(missing)} of {len(known)} utterances have no map and count as failures: {shown}",
            stacklevel=2,
        )
    task = stored.jobs[0].task if stored.jobs else record.task
    outcome = TaskOutcome(
        plan=TaskPlan(task, record.manifest, record.dev),
        outcomes=outcomes,
        failures=failures,
        unsupported={},
        fitted={},
        floor=stored.floor,
        started=datetime.now(UTC),
        peak_memory_bytes=None,
    )
    made = assemble(outcome, method, record.info, record.spec)
    unknown = replace(
        made.cost,
        forward_passes=None,
        backward_passes=None,
        seconds=None,
        seconds_per_audio_second=None,
        peak_memory_bytes=None,
    )
    return replace(made, cost=unknown)


def _fitting(
    maps: OutsideMaps, id_: str, axes: Layout, generated: bool
) -> Float32[np.ndarray, "token *cells"]:
    """Hold one map against its layout and its description; return it with all generated rows."""
    values, path = maps.arrays[id_], maps.files[id_]
    in_encoder = maps.description.space == "encoder"
    columns = axes.frames if in_encoder else axes.melframes
    rows, content = len(axes.tokens), list(axes.content)
    if (
        values.ndim != 3 - in_encoder
        or values.shape[0] not in (rows, len(content))
        or values.shape[1] != columns
        or 0 in values.shape
    ):
        mel = "" if in_encoder else ", mel"
        raise UsageError(
            f"{path}: a map of shape {list(values.shape)} does not fit: expected "
            f"[{len(content)}, {columns}{mel}] (content tokens) or [{rows}, {columns}{mel}] (all tokens)"
        )
    if not maps.description.signed and (values < 0).any():
        raise UsageError(f'{path}: has negative values; say "signed": true, or correct them')
    if maps.description.distribution:
        sums = values.reshape(len(values), -1).sum(axis=1)
        if (np.abs(sums - 1) > _SUM_TOLERANCE).any():
            raise UsageError(
                f"{path}: a row sums to {sums[np.abs(sums - 1).argmax()]:.4g}, not to one; "
                'say "distribution": false, or correct it'
            )
    if len(values) == rows:
        return values
    if generated:  # rows of special tokens are never compared, but enter the column statistics
        raise UsageError(
            f"{path}: has {len(content)} rows; scoring statistics=generated needs all {rows}"
        )
    whole = np.zeros((rows, *values.shape[1:]), dtype=np.float32)
    whole[content] = values
    return whole
