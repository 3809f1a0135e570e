"""What scoring needs to know of a run beside maps and references: kept in the store, found from a result.

One record per model, task, utterances, selection and seed, whatever the methods. A result file
holds everything its key is made of, so scoring again needs neither the model nor the manifest.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from xbench.data.manifest import Manifest
from xbench.errors import EnvironmentProblem
from xbench.models.protocol import ModelInfo
from xbench.results import RunResult
from xbench.runner.keys import artefact_key
from xbench.runner.plan import TaskPlan
from xbench.spec import Call, RunSpec, TaskSpec
from xbench.store import Key, Store


@dataclass(frozen=True)
class RunRecord:
    """One task of one run: the resolved task, its utterances, the model's facts, the dev split's fingerprint."""

    task: TaskSpec
    manifest: Manifest
    dev: Manifest | None
    info: ModelInfo
    spec: RunSpec


def keep(store: Store, plan: TaskPlan, info: ModelInfo, spec: RunSpec) -> None:
    """Store the record of one task of a run; of the dev split only the fingerprint is needed.

    One that is stored already is enough: it says the same but for the methods. So a finished run can be repeated on a
    store that may only be read.
    """
    key = key_of_plan(plan, info, spec)
    utterances = [{**asdict(u), "audio": u.audio.name} for u in plan.manifest.utterances]
    facts = {
        "task": asdict(plan.task),
        "manifest": {**_split(plan.manifest), "utterances": utterances},
        "dev": plan.dev and {**_split(plan.dev), "utterances": []},
        "info": asdict(info),
        "spec": asdict(spec),
    }
    try:
        store.put(key, {}, facts)
    except EnvironmentProblem:
        if store.get(key) is None:
            raise


def find(store: Store, result: RunResult) -> RunRecord | None:
    """Return the record of the run that made a result, or None when the store does not have it."""
    stored = store.get(key_of(result))
    return None if stored is None else rebuild(RunRecord, stored.facts)


def key_of_plan(plan: TaskPlan, info: ModelInfo, spec: RunSpec) -> Key:
    """Return the key of the record of one task of a run."""
    selection = {"ids": list(spec.selection.ids), "limit": spec.selection.limit}
    model = [info.name, info.source, info.revision, info.precision]
    return _key(model, plan.task.hash, plan.manifest.fingerprint, selection, spec.seed)


def key_of(result: RunResult) -> Key:
    """Return the key of the record of the run that made a result."""
    model, task = result.model, result.task
    return _key(
        [model.name, model.source, model.revision, model.precision],
        task.hash,
        task.dataset.fingerprint,
        task.selection,
        result.provenance.seed,
    )


def _key(model: list[str], task: str, dataset: str, selection: Mapping[str, Any], seed: int) -> Key:
    return artefact_key(
        "run",
        {
            "model": model,
            "task": task,
            "dataset": dataset,
            "selection": selection,
            "seed": seed,
        },
    )


def _split(manifest: Manifest) -> dict[str, Any]:
    return {"name": manifest.name, "fingerprint": manifest.fingerprint}


# A record holds names in the place of what a spec may hold loaded.
_NAMES: dict[type, dict[str, Any]] = {RunSpec: {"model": str, "methods": tuple[Call, ...]}}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return {**get_type_hints(kind), **_NAMES.get(kind, {})}


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def rebuild(kind: Any, data: Any) -> Any:
    """Build frozen dataclasses from the plain data that `asdict` and JSON have made of them."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        # A field that came later, and that an older record does not have, takes its default.
        given = [f for f in fields(kind) if f.name in data or _required(f)]
        return kind(**{f.name: rebuild(hints[f.name], data[f.name]) for f in given})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        plain = [a for a in arguments if a is not type(None)]
        return data if data is None or len(plain) > 1 else rebuild(plain[0], data)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(rebuild(arguments[0], item) for item in data)
        return tuple(rebuild(a, item) for a, item in zip(arguments, data, strict=True))
    return Path(data) if kind is Path else data
