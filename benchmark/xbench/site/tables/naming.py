"""From results to the entries of the tables: what they are about, under titles that tell apart."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from xbench import registry
from xbench.description import MethodDescription
from xbench.site.identity import comparable, identity
from xbench.site.load import Result
from xbench.site.shared import most_stated, shared
from xbench.site.tables.entries import (
    Config,
    ListedMethod,
    ListedRun,
    Metric,
    Model,
    Submission,
    Task,
)
from xbench.site.text import digest, slugs

Key = tuple[Any, ...]
KeyT = TypeVar("KeyT", bound=Key)

_ASKED_FOR = frozenset({"selection"})
_LEARNED = frozenset({"fitted"})


def runs_of(
    results: Sequence[Result],
    tasks: Mapping[Key, Task],
    models: Mapping[Key, Model],
    configs: Mapping[Key, Config],
) -> tuple[ListedRun, ...]:
    """Return the runs in the order of the results."""
    return tuple(
        ListedRun(
            id=digest("\0".join(identity(r.data)), 10),
            file=r.file,
            sha256=r.sha256,
            task=tasks[_task_key(r.data)],
            model=models[_model_key(r.data)],
            config=configs[_config_key(r.data)],
            submission=digest("\0".join(_submission_key(r.data)), 10),
            data=r.data,
            outdated=r.outdated,
            unchecked=r.unchecked,
            local=r.local,
            checked=r.checked,
        )
        for r in results
    )


def _task_key(data: Mapping[str, Any]) -> tuple[str, str, str]:
    task = data["task"]
    return task["name"], comparable(data), task["dataset"]["fingerprint"]


def tasks_of(results: Sequence[Result]) -> dict[tuple[str, str, str], Task]:
    """Return the tasks by what makes them the same one."""
    stated = _grouped(results, _task_key, "task")
    # The same clips can be asked for by their names or by a limit.
    found = {key: most_stated(records, _ASKED_FOR) for key, records in stated.items()}
    facts = {key: most for key, (most, _) in found.items()}
    uses = {key: len(records) for key, records in stated.items()}
    titles = _titles(
        uses, lambda key: f"{facts[key]['dataset']['n']} clips, {facts[key]['preset']}"
    )
    names = slugs(titles.values())
    return {
        key: Task(names[titles[key]], key[0], titles[key], most, disputes)
        for key, (most, disputes) in found.items()
    }


def _model_key(data: Mapping[str, Any]) -> tuple[str, str, str]:
    model = data["model"]
    return model["name"], model["revision"], model["precision"]


def models_of(results: Sequence[Result]) -> dict[tuple[str, str, str], Model]:
    """Return the models by what makes them the same one."""
    # Results that are older than a field state it like those of which it does not hold.
    stated = {
        key: [{"format": None, "base": None, **record} for record in records]
        for key, records in _grouped(results, _model_key, "model").items()
    }
    titles = _titles({key: len(records) for key, records in stated.items()}, lambda key: key[2])
    names = slugs(titles.values())
    return {
        key: Model(names[titles[key]], key[0], titles[key], *most_stated(records))
        for key, records in stated.items()
    }


def _grouped(
    results: Sequence[Result], key_of: Callable[[Mapping[str, Any]], KeyT], part: str
) -> dict[KeyT, list[Mapping[str, Any]]]:
    """Return this part of all results, by what they are about."""
    groups: dict[KeyT, list[Mapping[str, Any]]] = defaultdict(list)
    for r in results:
        groups[key_of(r.data)].append(r.data[part])
    return groups


def _titles(uses: Mapping[tuple[str, str, str], int], variant: Any) -> dict[Any, str]:
    """Name the most used variant of a name plainly, and others with what tells them apart."""
    titles = {}
    by_name = defaultdict(list)
    for key in uses:
        by_name[key[0]].append(key)
    for name, keys in by_name.items():
        main, *others = sorted(keys, key=lambda key: (-uses[key], key))
        titles[main] = name
        twice = Counter(map(variant, others))
        for key in others:
            hashed = f", {digest(repr(key), 6)}" if twice[variant(key)] > 1 else ""
            titles[key] = f"{name} ({variant(key)}{hashed})"
    return titles


def _config_key(data: Mapping[str, Any]) -> tuple[str, str, str, bool]:
    method = data["method"]
    fitted = method.get("fitted") or {}
    params = json.dumps(method["params"], sort_keys=True)
    return method["name"], method["version"], params, fitted.get("split") == "oracle"


def configs_of(results: Sequence[Result]) -> dict[tuple[str, str, str, bool], Config]:
    """Return the configured methods by what makes them the same one."""
    stated = _grouped(results, _config_key, "method")
    # What it learned is of one model and task.
    facts = {key: most_stated(records, _LEARNED)[0] for key, records in stated.items()}
    newest = {key[0]: max(k[1] for k in facts if k[0] == key[0]) for key in facts}
    labels = {key: _label(key, facts[key], newest[key[0]]) for key in facts}
    twice = Counter(labels.values())
    labels = {
        key: f"{label} ({digest(repr(key), 6)})" if twice[label] > 1 else label
        for key, label in labels.items()
    }
    names = slugs(labels.values())
    return {
        key: Config(
            slug=names[labels[key]],
            label=labels[key],
            method=key[0],
            family=method["kind"],
            gradients=method["uses_gradients"],
            oracle=key[3],
            learns=any(each.get("fitted") for each in stated[key]),
            head=_single_head(method["params"]),
            estimates=known.estimates if (known := _described(key[0])) else None,
            facts=method,
        )
        for key, method in facts.items()
    }


def _label(key: tuple[str, str, str, bool], method: Mapping[str, Any], newest: str) -> str:
    """Write the call with the parameters that differ from the registered defaults."""
    name, version, _, oracle = key
    description = _described(name)
    defaults = {p.name: p.default for p in description.parameters} if description else {}
    shown = [
        f"{k}={str(v).lower() if isinstance(v, bool) else v}"
        for k, v in sorted(method["params"].items())
        if k not in defaults or defaults[k] != v
    ]
    label = f"{name}:{','.join(shown)}" if shown else name
    label = label if len(label) <= 120 else f"{label[:110]}… {digest(label, 6)}"
    if version != newest:
        label += f" v{version}"
    return f"{label} (oracle)" if oracle else label


def _single_head(params: Mapping[str, Any]) -> tuple[int | None, int] | None:
    layer, head = params.get("layer"), params.get("head")
    if type(head) is not int:
        return None
    return (layer if type(layer) is int else None), head


def _described(name: str) -> MethodDescription | None:
    """Return the registered description of a method, if there is one."""
    return next((d for d in registry.methods.descriptions() if d.name == name), None)


def methods_of(configs: Iterable[Config]) -> tuple[ListedMethod, ...]:
    """Return the methods with their configurations, by name."""
    by_name = defaultdict(list)
    for config in sorted(configs, key=lambda c: (c.label, c.slug)):
        by_name[config.method].append(config)
    names = slugs(by_name)
    return tuple(
        ListedMethod(
            slug=names[name],
            name=name,
            family=shared(config.family for config in found).most,
            description=_described(name),
            configs=tuple(found),
        )
        for name, found in sorted(by_name.items())
    )


def metrics_of(runs: Sequence[ListedRun]) -> dict[str, Metric]:
    """Return the metrics that results score or tasks rank by."""
    known = {d.name: d for d in registry.metrics.descriptions()}
    stated: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for score in run.data["scores"]:
            stated[score["metric"]].append(score["direction"])
        stated[run.task.headline[0]] += []
    return {
        name: Metric(
            name=name,
            family=known[name].family if name in known else "other",
            higher=known[name].higher_is_better
            if name in known
            else not directions or shared(directions).most == "higher",
            description=known.get(name),
            directions=shared(directions),
        )
        for name, directions in sorted(stated.items())
    }


def _submission_key(data: Mapping[str, Any]) -> tuple[str, ...]:
    made = data["provenance"]
    return (*_task_key(data), *_model_key(data), made["xbench"], *made["command"])


def submissions_of(runs: Sequence[ListedRun]) -> tuple[Submission, ...]:
    """Return the submissions, newest first."""
    by_id = defaultdict(list)
    for run in runs:
        by_id[run.submission].append(run)
    found = [
        Submission(key, group[0].task, group[0].model, max(r.date for r in group), tuple(group))
        for key, group in by_id.items()
    ]
    return tuple(sorted(found, key=lambda s: (s.date, s.id), reverse=True))


def by_title(things: Iterable[Any]) -> tuple[Any, ...]:
    """Return tasks or models in the order of their titles."""
    return tuple(sorted(things, key=lambda thing: (natural(thing.title), thing.slug)))


def natural(text: str) -> list[tuple[int, str]]:
    """Return the sort key that puts `part-2` before `part-10`."""
    pieces = re.split(r"([0-9]{1,9})", text.lower())
    return [(int(p), "") if i % 2 else (-1, p) for i, p in enumerate(pieces)]
