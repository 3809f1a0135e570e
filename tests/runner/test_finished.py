"""A run of which everything is stored comes to the same results again, and the model is not loaded for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from xbench import Call, ExecutionOptions, RunResult, RunSpec, evaluate
from xbench.runner import bench
from xbench.store import KINDS


@pytest.fixture
def spec(tiny_whisper_folder: Path, make_manifest: Callable[..., Path], tmp_path: Path) -> RunSpec:
    folder = shutil.copytree(tiny_whisper_folder, tmp_path / "model")
    return RunSpec(
        model=f"whisper:{folder}",
        # One that compares with another clip, and one whose floor the task needs.
        methods=(Call("mean-heads"), Call("shuffled")),
        tasks=("asr",),
        data=str(make_manifest({"a": 0.5, "b": 0.7})),
        masks=12,
        references=(Call("spes-encoder"),),
        metrics=(Call("pearson"), Call("sensitivity-n")),
    )


@pytest.fixture
def options(tmp_path: Path) -> ExecutionOptions:
    return ExecutionOptions(str(tmp_path / "results"), str(tmp_path / "cache"), "cpu")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets an entry whenever a model is loaded."""
    found: list[str] = []
    load = bench.load_or_check

    def noted(given: Any, *arguments: Any, **options: Any) -> Any:
        found.append(str(given))
        return load(given, *arguments, **options)

    monkeypatch.setattr(bench, "load_or_check", noted)
    return found


def undated(results: list[RunResult]) -> list[dict[str, Any]]:
    """Return all of results but when they were put together, and the memory of that process."""
    plain = [asdict(result) for result in results]
    for result in plain:
        del result["provenance"], result["cost"]["peak_memory_bytes"]
    return plain


def test_a_finished_run_is_repeated_without_the_model(
    spec: RunSpec, options: ExecutionOptions, loaded: list[str]
) -> None:
    first = evaluate(spec, options)
    assert len(loaded) == 1
    again = evaluate(spec, replace(options, output=f"{options.output}-again"))
    assert len(loaded) == 1
    assert undated(again) == undated(first)
    assert all((Path(f"{options.output}-again") / result.path()).is_file() for result in again)


@pytest.mark.parametrize("kind", ["hypothesis", "reference", "map", "intervention", "run", "model"])
def test_whatever_is_missing_is_made_again(
    spec: RunSpec, options: ExecutionOptions, loaded: list[str], kind: str
) -> None:
    assert kind in KINDS
    first = evaluate(spec, options)
    record = sorted((Path(str(options.cache)) / kind).rglob("*.json"))[0]
    record.unlink()
    again = evaluate(spec, options)
    assert len(loaded) == 2
    assert [r.scores for r in again] == [r.scores for r in first]
    assert record.exists()


def test_other_weights_under_the_same_name_are_another_model(
    spec: RunSpec, options: ExecutionOptions, loaded: list[str]
) -> None:
    (first, _) = evaluate(spec, options)
    file = Path(spec.model.partition(":")[2]) / "model.safetensors"
    weights = load_file(file)
    weights["model.decoder.layers.0.fc1.bias"] += 0.01
    save_file(weights, file, metadata={"format": "pt"})
    (again, _) = evaluate(spec, options)
    assert len(loaded) == 2
    assert again.model.revision != first.model.revision


def test_a_clip_that_failed_is_tried_again(
    spec: RunSpec, options: ExecutionOptions, loaded: list[str]
) -> None:
    (Path(str(spec.data)).parent / "b.wav").write_bytes(b"RIFF no audio")
    for count in (1, 2):
        (first, _) = evaluate(spec, options)
        assert [failure.id for failure in first.failures] == ["b"]
        assert len(loaded) == count


def test_gates_and_maps_that_are_made_afresh_need_the_model(
    spec: RunSpec, options: ExecutionOptions, loaded: list[str]
) -> None:
    evaluate(spec, options)
    evaluate(replace(spec, gates=("max-sensitivity",)), options)
    evaluate(spec, replace(options, fresh=True))
    assert len(loaded) == 3
