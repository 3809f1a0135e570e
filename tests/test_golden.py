"""Scores move only with a version: `scripts/golden.py` says how, this holds the repository to it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from xbench import registry, tasks

ROOT = Path(__file__).parents[1]


def script() -> Any:
    spec = importlib.util.spec_from_file_location("golden", ROOT / "scripts" / "golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOLDEN = script()
KEPT = GOLDEN.read()
PARTS = {part for key in KEPT for part in key.split(" | ")}


def ours(kind: registry.Registry[Any]) -> dict[str, str]:
    return {
        entry.name: entry.description.version
        for entry in kind.entries()
        if entry.distribution == registry.OURS and entry.description
    }


@pytest.mark.slow
def test_no_score_moves_without_a_version() -> None:
    found = GOLDEN.golden()
    assert GOLDEN.moved(KEPT, found) == [], (
        "raise the version of what changed; then `make golden` keeps the new scores"
    )
    assert GOLDEN.missing(KEPT, found) == [], "`make golden` writes what is new or gone"


@pytest.mark.parametrize("kind", [registry.metrics, registry.references], ids=lambda k: k.kind)
def test_every_metric_and_reference_is_in_it_with_its_present_version(
    kind: registry.Registry[Any],
) -> None:
    for name, version in ours(kind).items():
        assert f"{name} {version}" in PARTS


@pytest.mark.parametrize("kind", [registry.metrics, registry.references], ids=lambda k: k.kind)
def test_every_metric_and_reference_has_a_score_that_can_move(kind: registry.Registry[Any]) -> None:
    numbers = {p for key, value in KEPT.items() if value is not None for p in key.split(" | ")}
    null = [name for name, version in ours(kind).items() if f"{name} {version}" not in numbers]
    assert null == [], "all rows are null: score what it needs in `_specs` of scripts/golden.py"


def test_every_method_is_in_it_with_its_present_version() -> None:
    kept = {tuple(part.rpartition(" ")[::2]) for part in PARTS}
    kept_names = {(name.partition(":")[0], version) for name, version in kept}
    for name, version in ours(registry.methods).items():
        assert (name, version) in kept_names, name


def test_every_demo_task_is_in_it_with_its_present_version() -> None:
    for task in tasks.resolve_tasks(["demo"]):
        assert f"{task.name} {task.version}" in PARTS


def test_a_moved_score_is_told_and_rounding_is_not() -> None:
    kept = {"a": 0.5, "b": 120.0, "c": None, "d": "unsupported"}
    assert GOLDEN.moved(kept, {"a": 0.50009, "b": 120.01, "c": None, "d": "unsupported"}) == []
    assert GOLDEN.moved(kept, {"a": 0.5002}) == ["a: 0.5002, was 0.5"]
    assert GOLDEN.moved(kept, {"b": 120.02}) == ["b: 120.02, was 120.0"]
    assert GOLDEN.moved(kept, {"c": 0.0, "d": "failed"}) == [
        "c: 0.0, was None",
        "d: failed, was unsupported",
    ]
    assert GOLDEN.missing(kept, {**kept, "e": 1.0}) == ["e"]
