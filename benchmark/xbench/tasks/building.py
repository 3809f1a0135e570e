"""A checked document as a TaskSpec, every parameter filled in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xbench import registry
from xbench.errors import UsageError, nearest
from xbench.spec import Call, Dataset, Decoding, Headline, Quality, Scalar, Scoring, TaskSpec
from xbench.tasks.reading import with_preset
from xbench.tasks.strict_yaml import Document


def build(document: Document, preset: str) -> TaskSpec:
    """Return the spec of a checked document with one preset laid over it."""
    presets = document.value["presets"]
    if preset not in presets:
        raise UsageError(f"task '{document.value['name']}': {no_preset(preset, presets)}")
    value = with_preset(document, preset).value
    return TaskSpec(
        name=value["name"],
        version=value["version"],
        title=value["title"],
        kind=value["kind"],
        source_languages=tuple(value["source_languages"]),
        target_language=value["target_language"],
        dataset=Dataset(**value["dataset"]),
        decoding=Decoding(**value["decoding"]),
        space=value["space"],
        references=tuple(
            registry.references.resolve(call)[1] for call in reference_calls(value).values()
        ),
        scoring=Scoring(**value["scoring"]),
        metrics=in_order(resolve_text(registry.metrics, text) for text in value["metrics"]),
        headline=Headline(**{key: _plain_name(name) for key, name in value["headline"].items()}),
        floor=resolve_text(registry.methods, value["floor"]),
        quality=Quality(value["quality"]["metric"], float(value["quality"]["poor"])),
        preset=preset,
        licence=value["licence"],
    )


def in_order(metrics: Iterable[Call]) -> tuple[Call, ...]:
    """Return metrics that take a reference before the others, as results list them: one order, one hash."""
    return tuple(sorted(metrics, key=lambda m: registry.metrics.get(m.name).takes != "reference"))


def reference_calls(value: dict[str, Any]) -> dict[str, Call]:
    """Return the references as calls by the name they are written with; null ones are gone."""
    return {
        name: Call.make(name, _parameters(given))
        for name, given in value["references"].items()
        if given is not None
    }


def _parameters(given: dict[str, Any]) -> dict[str, Scalar]:
    """Write `until: {reliability: r, max_masks: n}` as the parameters `until: r, masks: n`."""
    plain = {key: value for key, value in given.items() if key != "until"}
    target = reliability_target(given)
    if target is None:
        return plain
    renamed = {"reliability": "until", "max_masks": "masks"}
    return plain | {renamed[key]: value for key, value in target.items()}


def reliability_target(given: dict[str, Any]) -> dict[str, Any] | None:
    """Return `until` as a mapping of `reliability` (and `max_masks`), None where there is none."""
    until = given.get("until")
    return until if until is None or isinstance(until, dict) else {"reliability": until}


def _plain_name(name: str) -> str:
    """Drop the `distribution:` of a name, as resolved calls do."""
    return name.rpartition(":")[2]


def resolve_text(kind: registry.Registry[Any], text: str) -> Call:
    """Return a registered call, written `name:key=value`, with every parameter filled in."""
    return kind.resolve(Call.parse(text))[1]


def no_preset(preset: str, presets: Iterable[str]) -> str:
    """Say that there is no such preset, and which there are."""
    known = list(presets)
    return (
        f"there is no preset '{preset}'{nearest(preset, known) or '; there is ' + ', '.join(known)}"
    )
