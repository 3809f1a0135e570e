"""What `xbench list` and `show` tell, as plain data (no torch)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from xbench import registry, tasks
from xbench.data.prepared import prepared_manifest
from xbench.description import (
    Checkpoint,
    CorpusDescription,
    DatasetDescription,
    Description,
    FamilyDescription,
    Parameter,
)
from xbench.errors import UnknownName, UsageError, nearest
from xbench.spec import TaskSpec

Row = dict[str, Any]


def rows(kind: str, kinds: Sequence[str]) -> list[Row]:
    """Return one row per registered thing of a kind."""
    makers: Mapping[str, Callable[[], list[Row]]] = {
        "models": _model_rows,
        "methods": lambda: [_method_row(d) for d in registry.methods.descriptions()],
        "metrics": lambda: [_metric_row(d) for d in registry.metrics.descriptions()],
        "references": lambda: [_reference_row(d) for d in registry.references.descriptions()],
        "tasks": _task_rows,
        "datasets": lambda: [_dataset_row(d) for d in registry.datasets.descriptions()],
        "plugins": _plugin_rows,
    }
    if kind not in makers:
        raise UsageError(f"cannot list '{kind}'{nearest(kind, kinds)}; there is {', '.join(kinds)}")
    return makers[kind]()


def _model_rows() -> list[Row]:
    return [
        {
            "name": checkpoint.name,
            "family": family.name,
            "parameters": f"{checkpoint.parameters / 1e6:g} M" if checkpoint.parameters else None,
            "languages": checkpoint.languages,
            "tasks": list(checkpoint.tasks),
            "licence": checkpoint.licence,
            "source": checkpoint.hub_id or "in the package",
            "status": checkpoint.status,
        }
        for family, checkpoint in registry.checkpoints().values()
    ]


def _method_row(description: Any) -> Row:
    return {
        "name": description.name,
        "kind": description.kind,
        "space": description.space,
        "parameters": [_usage(p) for p in description.parameters],
        "cost": description.cost,
        "summary": description.summary,
    }


def _metric_row(description: Any) -> Row:
    return {
        "name": description.name,
        "family": description.family,
        "better": "higher" if description.higher_is_better else "lower",
        "range": list(description.range),
        "summary": description.summary,
    }


def _reference_row(description: Any) -> Row:
    return {
        "name": description.name,
        "space": description.space,
        "estimator": description.estimator,
        "parameters": [_usage(p) for p in description.parameters],
        "summary": description.summary,
    }


def _dataset_row(description: DatasetDescription) -> Row:
    ready = list(description.splits)
    if isinstance(description, CorpusDescription):
        ready = [s for s in ready if prepared_manifest(description.name, s).is_file()]
    return {
        "name": description.name,
        "splits": list(description.splits),
        "ready": ready,
        "licence": description.licence,
        "summary": description.summary,
    }


def _usage(parameter: Parameter) -> str:
    if parameter.required:
        return f"{parameter.name}=..."
    return f"{parameter.name}={parameter.default}"


def _task_rows() -> list[Row]:
    return [
        {"name": f.name, "kind": f.kind, "folder": f.folder, "title": f.error or f.title}
        for f in tasks.task_index()
    ]


def _plugin_rows() -> list[Row]:
    found: list[Row] = [
        {
            "name": entry.name,
            "kind": kind.kind,
            "distribution": f"{entry.distribution} {entry.distribution_version}",
            "target": entry.target,
            "state": entry.error or _usable(kind, entry),
        }
        for kind in registry.ALL
        for entry in kind.entries()
    ]
    groups = [kind.group for kind in registry.ALL]
    strayed: list[Row] = [
        {
            "name": point.name,
            "kind": "–",
            "distribution": owner,
            "target": point.value,
            "state": f"there is no group '{point.group}'{nearest(point.group, groups)}",
        }
        for point, owner in registry.strayed()
    ]
    return [*found, *strayed]


def _usable(kind: registry.Registry[Any], entry: registry.Entry[Any]) -> str:
    called = kind.called(entry)
    return "ok" if called == entry.name else f"ok, as '{called}': the name is taken"


def facts(kind: str, name: str) -> Row:
    """Return everything known about one registered thing."""
    by_kind: dict[str, registry.Registry[Any]] = {
        r.kind: r for r in registry.ALL if r is not registry.task_folders
    }
    if kind == "task":
        return _task_facts(name)
    if kind not in by_kind:
        known = [*by_kind, "task"]
        raise UsageError(
            f"cannot show a '{kind}'{nearest(kind, known)}; there is {', '.join(known)}"
        )
    if kind == "model":
        return _model_facts(name)
    entry = by_kind[kind].entry(name)
    description: Description = by_kind[kind].get(name)
    shown = _description_facts(description)
    if isinstance(description, CorpusDescription):
        shown |= _corpus_facts(description)
    return _with_plugin(shown, entry)


def _corpus_facts(description: CorpusDescription) -> Row:
    """Return how to prepare a corpus and where each prepared split lies on this machine."""
    paths = {split: prepared_manifest(description.name, split) for split in description.splits}
    return {
        "prepare": f"xbench data prepare {description.name} ROOT --split {next(iter(paths))}",
        "prepared": {split: str(path) for split, path in paths.items() if path.is_file()} or None,
    }


def _model_facts(name: str) -> Row:
    if name in registry.models.names():
        family = registry.models.get(name)
        shown = _description_facts(family)
        shown["checkpoints"] = {c.name: c.status for c in family.checkpoints}
        return _with_plugin(shown, registry.models.entry(name))
    if found := registry.checkpoint(name):
        return _checkpoint_facts(*found)
    raise UnknownName("model", name, [*registry.checkpoints(), *registry.models.names()])


def _checkpoint_facts(family: FamilyDescription, checkpoint: Checkpoint) -> Row:
    shown = {"family": family.name, **asdict(checkpoint)}
    shown["status"] = checkpoint.status
    if not checkpoint.tested:
        shown["status"] += (
            f": nobody could run it here; its loader was written from {family.source}"
        )
    return {**shown, "tested": checkpoint.tested or None, "note": checkpoint.note or None}


def _task_facts(name: str) -> Row:
    file = tasks.describe(name)
    if file.kind == "suite":
        return {"suite": name, "title": file.title, "tasks": list(tasks.load_suite(name))}
    presets = tasks.load_presets(name)
    task = next(iter(presets.values()))
    shown = asdict(task)
    for key in ("references", "metrics"):
        shown[key] = [str(call) for call in getattr(task, key)]
    shown["floor"] = str(task.floor)
    shown["cost"] = {preset: _cost(under) for preset, under in presets.items()}
    return {**shown, "hash": task.hash}


def _cost(task: TaskSpec) -> str:
    """Say how many passes a second of audio takes, and from which length of clip that is reckoned."""
    counts = tasks.passes(task)
    seconds, origin = tasks.clip_seconds(task)
    full, decoder = (counts[key] / seconds for key in ("full", "decoder"))
    return (
        f"{full:,.1f} passes of the model and {decoder:,.1f} of the decoder alone per second of audio "
        f"(at most {counts['full']:,} and {counts['decoder']:,} per clip of {seconds:g} s, {origin})"
    )


def _description_facts(description: Description) -> Row:
    shown = {
        key: sorted(value) if isinstance(value, frozenset) else value
        for key, value in asdict(description).items()
        if key not in ("parameters", "checkpoints")
    }
    shown["parameters"] = {
        p.name: f"{p.description} ({p.type}, "
        + ("required)" if p.required else f"default {p.default})")
        for p in description.parameters
    }
    return shown


def _with_plugin(shown: Row, entry: registry.Entry[Any]) -> Row:
    return {**shown, "plugin": f"{entry.distribution} {entry.distribution_version}"}
