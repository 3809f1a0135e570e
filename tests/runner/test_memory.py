"""Memory that runs out costs the utterance for which it does, never the run."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from command_line import Run
from xbench import Call, ExecutionOptions, RunResult, RunSpec, evaluate
from xbench.errors import EnvironmentProblem
from xbench.methods import attention, corpus
from xbench.models.families.whisper import WhisperModel
from xbench.references import spes
from xbench.results import load_results
from xbench.runner.hearing import Hearing

CLIPS = {"a": 0.6, "b": 0.8, "c": 0.7}
LONGEST = 40  # encoder frames of b
REFUSALS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("could not create a primitive"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


@pytest.fixture
def spec(tiny_whisper_folder: Path, make_manifest: Callable[..., Path]) -> RunSpec:
    return RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("max-heads"), Call("mean-heads")),
        tasks=("asr",),
        data=str(make_manifest(CLIPS)),
        masks=12,
        references=(Call("spes-encoder"),),
        metrics=(Call("pearson"),),
    )


@pytest.fixture
def options(tmp_path: Path) -> ExecutionOptions:
    return ExecutionOptions(str(tmp_path / "results"), str(tmp_path / "cache"), "cpu")


Refuse = Callable[[Any, str, Callable[..., int], Exception], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Return a function that lets a function run out of memory on the longest clip."""

    def patched(owner: Any, name: str, frames: Callable[..., int], problem: Exception) -> None:
        whole = getattr(owner, name)

        def limited(*arguments: Any, **options: Any) -> Any:
            if frames(*arguments) == LONGEST:
                raise problem
            return whole(*arguments, **options)

        monkeypatch.setattr(owner, name, limited)

    return patched


def of_trace(trace: Any, *_: Any) -> int:
    return int(trace.layout.frames)


def of_features(_: Any, features: Any, *__: Any) -> int:
    return int(features.frames)


def only_b_failed(results: list[RunResult]) -> str:
    """Check that all clips but b are scored; return why b is not."""
    for result in results:
        assert (result.status, result.utterances["id"]) == ("partial", ["a", "c"])
        assert [(f.id, f.reason) for f in result.failures] == [("b", "out-of-memory")]
    return results[0].failures[0].message


@pytest.mark.parametrize("problem", REFUSALS, ids=lambda p: str(p)[:20] or "MemoryError")
def test_a_method_without_memory_costs_its_clip_for_all_methods(
    spec: RunSpec, options: ExecutionOptions, refuse: Refuse, problem: Exception
) -> None:
    refuse(attention, "max_heads", of_trace, problem)
    message = only_b_failed(evaluate(spec, options))
    assert message.startswith("method 'max-heads:")
    assert "ran out of memory; use a smaller --batch-size" in message


@pytest.mark.parametrize(
    ("owner", "name", "frames"),
    [
        (WhisperModel, "features", lambda _, audio: len(audio) // 320),
        (WhisperModel, "decode", of_features),
        (spes, "spes_encoder", lambda case, *_: case.features.frames),
        (WhisperModel, "trace", of_features),
        (Hearing, "log_probabilities", lambda hearing, *_: hearing.case.features.frames),
    ],
    ids=["features", "decode", "reference", "trace", "intervention"],
)
def test_every_stage_goes_on_with_the_next_clip(
    spec: RunSpec,
    options: ExecutionOptions,
    refuse: Refuse,
    owner: Any,
    name: str,
    frames: Callable[..., int],
) -> None:
    refuse(owner, name, frames, REFUSALS[2])
    metrics = (Call("pearson"), Call("comprehensiveness"))
    message = only_b_failed(evaluate(replace(spec, metrics=metrics), options))
    assert "ran out of memory" in message


def test_another_error_of_the_network_is_no_lack_of_memory(
    spec: RunSpec, options: ExecutionOptions, refuse: Refuse
) -> None:
    refuse(WhisperModel, "decode", of_features, RuntimeError("mat1 and mat2 do not fit"))
    with pytest.raises(RuntimeError, match="do not fit"):
        evaluate(spec, options)


def test_a_fit_goes_on_without_the_clip(
    spec: RunSpec, options: ExecutionOptions, refuse: Refuse
) -> None:
    refuse(WhisperModel, "trace", of_features, MemoryError())
    (result,) = evaluate(replace(spec, methods=(Call("best-head"),)), options)
    assert result.method.fitted is not None
    assert result.method.fitted.n == 2
    only_b_failed([result])


def test_a_fit_without_memory_is_that_of_its_method(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(corpus, "fit_best_head", exhausted)
    bad, good = evaluate(replace(spec, methods=(Call("best-head"), Call("mean-heads"))), options)
    assert (bad.status, bad.reason) == ("unsupported", "its fit failed: it ran out of memory")
    assert good.status == "complete"


def test_a_gate_without_memory_is_judged_again(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(spec, methods=(Call("max-heads"),), gates=("determinism",))
    evaluate(replace(spec, gates=()), options)  # the maps are stored
    whole = attention.max_heads

    def exhausted(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(attention, "max_heads", exhausted)
    (result,) = evaluate(spec, options)
    (gate,) = result.gates
    assert (gate.status, gate.reason) == ("not-applicable", "it ran out of memory")
    monkeypatch.setattr(attention, "max_heads", whole)
    (result,) = evaluate(spec, options)
    assert result.gates[0].status == "pass"


def test_without_memory_for_any_clip_the_result_is_failed_and_the_exit_code_one(
    run: Run,
    spec: RunSpec,
    options: ExecutionOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(WhisperModel, "decode", exhausted)
    places = ("--output", options.output, "--cache", options.cache, "--device", "cpu")
    what = ("--model", spec.model, "--data", spec.data, "--method", "mean-heads")
    done = run("eval", *what, "--masks", "12", *places)
    assert done.code == 1
    (result,) = load_results(options.output)
    assert (result.status, result.reason) == ("failed", "all 3 utterances failed")
    assert {f.reason for f in result.failures} == {"out-of-memory"}


def test_a_model_that_does_not_fit_ends_with_the_machine(
    run: Run, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("xbench.runner.bench.load_located", exhausted)
    done = run("eval", "--model", spec.model, "--data", spec.data, "--method", "mean-heads")
    assert done.code == 3
    assert done.err.splitlines()[-1].startswith("error: out of memory")


# -- a device that is gone ------------------------------------------------------------------------

GONE = RuntimeError(
    "CUDA error: unspecified launch failure\nCUDA kernel errors might be reported ..."
)


@pytest.mark.parametrize("where", ["spes_encoder", "max_heads"])
def test_a_gpu_that_no_longer_answers_ends_the_run_and_keeps_what_is_stored(
    where: str,
    spec: RunSpec,
    options: ExecutionOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner: Any = {"spes_encoder": spes, "max_heads": attention}[where]
    whole, seen = getattr(owner, where), []

    def failing(*arguments: Any, **given: Any) -> Any:
        seen.append(1)
        if len(seen) > 1:
            raise GONE
        return whole(*arguments, **given)

    with monkeypatch.context() as patched:
        patched.setattr(owner, where, failing)
        with pytest.raises(EnvironmentProblem) as ended:
            evaluate(spec, options)
    assert ended.value.exit_code == 3
    assert "no longer answers (CUDA error: unspecified launch failure)" in str(ended.value)
    assert "\n" not in str(ended.value)
    again = []
    monkeypatch.setattr(owner, where, lambda *a, **g: (again.append(1), whole(*a, **g))[1])
    assert len(evaluate(spec, options)) == 2
    assert len(again) == len(CLIPS) - 1  # the first clip's came from the store


BROKEN = (
    "error return without exception set"  # what Python 3.11 says where it has no memory for a call
)


@pytest.mark.parametrize("words", [BROKEN, "a bug of a library"])
def test_python_that_broke_ends_the_run_in_one_sentence_and_a_broken_library_costs_its_method(
    words: str, spec: RunSpec, tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    file.write_text(f"def fails(trace):\n    raise SystemError({words!r})\n")
    command = [
        *("eval", "--model", spec.model, "--data", spec.data, "--method", f"{file}:fails"),
        *("--method", "mean-heads", "--reference", "spes-encoder", "--masks", 12),
        *("--metric", "pearson", "--device", "cpu"),
        *("--cache", tmp_path / "cache", "--output", tmp_path / "results"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "xbench", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
    )
    notes = [line for line in done.stderr.splitlines() if "not ranked" not in line]
    assert len(notes) == 1, done.stderr
    if words == BROKEN:
        assert done.returncode == 3
        assert notes[0].startswith("error: out of memory in Python itself")
        assert not (tmp_path / "results").exists()
        assert [*(tmp_path / "cache" / "reference").rglob("*.npz")]  # what was computed is stored
    else:
        assert done.returncode == 0
        assert words in notes[0]
        results = load_results(tmp_path / "results")
        assert sorted(r.status for r in results) == ["complete", "unsupported"]
