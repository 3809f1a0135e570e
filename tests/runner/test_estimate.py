"""What a run would take is said before it starts; a CPU leaves out what no `fast` run should cost, and says so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xbench import Call, ExecutionOptions, RunSpec, evaluate
from xbench.models.device import CPU
from xbench.runner import estimate
from xbench.runner.bench import bench_of
from xbench.runner.estimate import duration, pass_cost, seconds_of, task_cost, within_reach
from xbench.runner.plan import Plan, prepare
from xbench.spec import Decoding


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def stage(self, title: str, total: int) -> Any:
        return nullcontext(lambda steps: None)

    def at_work(self, who: str) -> Any:
        return nullcontext()

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def spec(tiny_whisper_folder: Path, make_manifest: Callable[..., Path]) -> RunSpec:
    return RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=("mean-heads",),
        tasks=("asr",),
        data=str(make_manifest({"a": 0.6, "b": 0.9})),
        metrics=(Call("pearson"),),
    )


@pytest.fixture
def options(tmp_path: Path) -> ExecutionOptions:
    return ExecutionOptions(str(tmp_path / "results"), str(tmp_path / "cache"), "cpu")


def reached(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch, limit: float | None
) -> tuple[Plan, list[str]]:
    """Return the plan that a run goes by, and what it says, on a device with this limit."""
    entry = replace(CPU, affordable_seconds=limit)
    monkeypatch.setattr(estimate, "device_of", lambda device: entry)
    plan, notes = prepare(spec), Notes()
    return within_reach(plan, bench_of(plan, options), notes), notes.notes


def names(plan: Plan) -> list[str]:
    return [call.name for call in plan.tasks[0].task.references]


def test_a_pass_of_the_decoder_is_counted_and_takes_its_share(
    tiny: Any, clip: Callable[..., np.ndarray]
) -> None:
    features = tiny.features(clip(0.8, 3))
    hypothesis = tiny.decode(features, "en", None, Decoding())
    cost = pass_cost(tiny, features, hypothesis)
    assert 0 < cost.decoder < cost.full


def test_a_short_run_says_nothing_and_keeps_its_plan(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(spec, masks=12)
    plan, notes = reached(short, options, monkeypatch, 4 * 3600)
    assert (notes, plan) == ([], prepare(short))


def test_a_long_run_says_what_it_takes_and_what_of_it(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "TELL_SECONDS", 0.0)
    plan, (note,) = reached(spec, options, monkeypatch, None)
    assert names(plan) == ["spes-encoder", "spes-input"]
    assert "this run will take about" in note
    assert "of it for 'spes-input'" in note
    assert "--limit" in note


def test_what_is_too_dear_here_is_left_out_and_the_run_says_how_to_ask_for_it(
    spec: RunSpec, options: ExecutionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, (note,) = reached(spec, options, monkeypatch, 0.01)
    assert names(plan) == ["spes-encoder"]
    assert note.startswith("left out: spes-input, with which this run would take about")
    assert note.endswith("asked: --reference spes-encoder --reference spes-input")
    # As if the user had asked for the one reference: the same task, hash and result file.
    assert plan == prepare(replace(spec, references=(Call("spes-encoder"),)))


@pytest.mark.parametrize(
    "asked",
    [
        {"references": (Call("spes-encoder"), Call("spes-input"))},
        {"references": (Call("spes-input"),)},
        {"preset": "paper"},
    ],
)
def test_what_was_asked_for_is_never_left_out(
    asked: dict[str, Any],
    spec: RunSpec,
    options: ExecutionOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, notes = reached(replace(spec, **asked), options, monkeypatch, 0.01)
    assert "spes-input" in names(plan)
    assert not any(note.startswith("left out") for note in notes)


def test_what_the_store_holds_costs_nothing(spec: RunSpec, options: ExecutionOptions) -> None:
    plan = prepare(replace(spec, masks=12))
    before = task_cost(plan.tasks[0], bench_of(plan, options), 0)
    assert [r.utterances for r in before.references] == [2, 2]
    evaluate(replace(spec, masks=12), options)
    after = task_cost(plan.tasks[0], bench_of(plan, options), 0)
    assert [r.utterances for r in after.references] == [0, 0]
    assert seconds_of([after]) == 0 < seconds_of([before])


def test_until_is_expected_to_stop_early(spec: RunSpec, options: ExecutionOptions) -> None:
    plan = prepare(spec)
    for reference in task_cost(plan.tasks[0], bench_of(plan, options), 0).references:
        assert reference.passes == 20_000
        assert reference.seconds == pytest.approx(reference.most_seconds / 4)


@pytest.mark.parametrize("problem", [RuntimeError("could not create a primitive"), KeyError("x")])
def test_a_clip_that_cannot_be_tried_ends_no_run(
    problem: Exception,
    spec: RunSpec,
    options: ExecutionOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*given: Any) -> None:
        raise problem

    monkeypatch.setattr(estimate, "pass_cost", failing)
    assert reached(spec, options, monkeypatch, 0.01) == (prepare(spec), [])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (121, "2 min"),
        (7200, "2.0 h"),
        (86_400, "24.0 h"),
        (181_440, "2.1 days"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
