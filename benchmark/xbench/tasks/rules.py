"""What a task file must hold beyond its structure: rules across keys, each with the line of what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.description import Description
from xbench.errors import UsageError, nearest
from xbench.schemas import Problem, find_problems
from xbench.spec import FROM_USER, Call, Dataset
from xbench.tasks.building import no_preset, reference_calls, reliability_target, resolve_text
from xbench.tasks.reading import located, with_preset
from xbench.tasks.strict_yaml import Document

_QUALITY_METRICS = {"asr": ("wer",), "st": ("chrf", "bleu")}


@dataclass(frozen=True)
class _Check:
    """A rule across keys; it runs when the structure of all its `keys` is sound."""

    keys: tuple[str, ...]
    problems: Callable[[dict[str, Any]], Iterator[Problem]]


def task_problems(document: Document, path: Path) -> list[str]:
    """Return the problems of a merged task file, in the order structure, rules, presets."""
    structure = find_problems("task", document.value)
    unsound = {str(p.path[0]) for p in structure if p.path}
    sound = document.value.keys() - unsound
    found = located(document, structure)
    if "name" in sound and document.value["name"] != path.stem:
        reason = f"'{document.value['name']}' must be the name of the file, '{path.stem}'"
        found += located(document, [Problem(("name",), reason)])
    found += _rule_problems(document, _TASK_CHECKS, sound)
    for preset in document.value["presets"] if "presets" in sound else ():
        found += _rule_problems(with_preset(document, preset), _PRESET_CHECKS, sound)
    return list(dict.fromkeys(found))


def _rule_problems(document: Document, checks: tuple[_Check, ...], sound: set[str]) -> list[str]:
    runnable = [check for check in checks if sound.issuperset(check.keys)]
    return [
        text for check in runnable for text in located(document, check.problems(document.value))
    ]


def _check_languages(value: dict[str, Any]) -> Iterator[Problem]:
    target = value["target_language"]
    if value["kind"] == "st" and target is None:
        yield Problem(("target_language",), "a task of kind st needs one")
    if value["kind"] == "asr" and target is not None:
        yield Problem(("target_language",), f"a task of kind asr has none, found '{target}'")
    if value["kind"] == "st" and target in value["source_languages"]:
        yield Problem(("source_languages",), f"'{target}' is the target language")


def _check_quality(value: dict[str, Any]) -> Iterator[Problem]:
    kind, metric = value["kind"], value["quality"]["metric"]
    if metric not in _QUALITY_METRICS[kind]:
        allowed = " or ".join(_QUALITY_METRICS[kind])
        yield Problem(("quality", "metric"), f"a task of kind {kind} takes {allowed}, not {metric}")


def _check_dataset(value: dict[str, Any]) -> Iterator[Problem]:
    dataset = Dataset(**value["dataset"])
    if dataset.name == FROM_USER:
        if dataset.dev_split is not None:
            yield Problem(
                ("dataset", "dev_split"), f"a {FROM_USER} given with --data has no dev split"
            )
        return
    try:
        splits = registry.datasets.get(dataset.name).splits
    except UsageError as error:
        yield Problem(("dataset", "name"), str(error))
        return
    for key, split in (("split", dataset.split), ("dev_split", dataset.dev_split)):
        if split is not None and split not in splits:
            reason = f"no split '{split}'{nearest(split, splits)}; there is {', '.join(splits)}"
            yield Problem(("dataset", key), reason)
    if dataset.split == dataset.dev_split:
        yield Problem(("dataset", "dev_split"), "is the split that is tested on")


def _check_floor(value: dict[str, Any]) -> Iterator[Problem]:
    yield from unresolved(("floor",), partial(resolve_text, registry.methods, value["floor"]))


def _check_default_preset(value: dict[str, Any]) -> Iterator[Problem]:
    preset, presets = value["preset"], value["presets"]
    if preset not in presets:
        yield Problem(("preset",), no_preset(preset, presets))


def _check_references(value: dict[str, Any]) -> Iterator[Problem]:
    for name, call in reference_calls(value).items():
        given = value["references"][name]
        target = reliability_target(given)
        if target is not None and "reliability" not in target:
            yield Problem(("references", name, "until"), "missing key 'reliability'")
        if target is not None and "masks" in given and "max_masks" in target:
            yield Problem(("references", name, "masks"), "is given by until.max_masks already")
        try:
            description = registry.references.get(name)
        except UsageError as error:
            yield Problem(("references", name), str(error))
        else:
            yield from _parameter_problems(("references", name), description, call)


def _check_metrics(value: dict[str, Any]) -> Iterator[Problem]:
    for index, text in enumerate(value["metrics"]):
        yield from unresolved(("metrics", index), partial(resolve_text, registry.metrics, text))
        if _called(text) in map(_called, value["metrics"][:index]):
            yield Problem(
                ("metrics", index), f"'{_called(text)}' is there twice; a result has room for one"
            )


def _check_headline(value: dict[str, Any]) -> Iterator[Problem]:
    choices = {
        "metric": [_called(text) for text in value["metrics"]],
        "reference": list(reference_calls(value)),
    }
    for key, known in choices.items():
        name = value["headline"].get(key)
        if name not in known:
            hint = nearest(name, known) or f"; there is {', '.join(known) or 'none'}"
            yield Problem(("headline", key), f"'{name}' is not among the {key}s of the task{hint}")


_TASK_CHECKS = (
    _Check(("kind", "source_languages", "target_language"), _check_languages),
    _Check(("kind", "quality"), _check_quality),
    _Check(("dataset",), _check_dataset),
    _Check(("floor",), _check_floor),
    _Check(("preset", "presets"), _check_default_preset),
)


_PRESET_CHECKS = (
    _Check(("references",), _check_references),
    _Check(("metrics",), _check_metrics),
    _Check(("headline", "metrics", "references"), _check_headline),
)


def _parameter_problems(
    path: tuple[str | int, ...], description: Description, call: Call
) -> Iterator[Problem]:
    """Resolve parameters one by one, so that each wrong one is told with its own line."""
    optional = tuple(replace(parameter, required=False) for parameter in description.parameters)
    lenient = replace(description, parameters=optional)
    found = [
        problem
        for key, given in call.params
        for problem in unresolved(
            (*path, key), partial(lenient.resolve, Call(call.name, ((key, given),)))
        )
    ]
    yield from found or unresolved(path, partial(description.resolve, call))


def _called(text: str) -> str:
    """Return the name of a call, parameters dropped; a text that is no call stands for itself."""
    try:
        return Call.parse(text).name
    except UsageError:
        return text


def unresolved(path: tuple[str | int, ...], resolve: Callable[[], Any]) -> Iterator[Problem]:
    """Yield the UsageError that a call ends in, as a problem of a place."""
    try:
        resolve()
    except UsageError as error:
        yield Problem(path, str(error))
