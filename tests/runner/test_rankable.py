"""A run says before it starts why its results will not be ranked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xbench import ExecutionOptions, RunSpec, Selection, registry
from xbench.runner import bench, evaluate
from xbench.runner.plan import prepare
from xbench.runner.progress import Silent
from xbench.runner.rankable import unranked

METRIC = """
from xbench import MetricDescription

def distance(saliency, reference, layout, scoring):
    raise NotImplementedError

DISTANCE = MetricDescription(
    name="own-distance", version="1", summary="s", source="s", implementation="own_metric:distance",
    family="agreement", higher_is_better=False, range=(0, None), no_ceiling="a distance",
)
"""


def first_layer(trace: Any) -> Any:
    return trace.cross_attention[0].mean(0)


def why(**given: Any) -> tuple[str, ...]:
    whole = {"model": "xbench-tiny", "methods": ("mean-heads",), "tasks": ("demo-asr-en",)}
    return unranked(prepare(RunSpec(**{**whole, **given})))


def test_a_whole_run_of_what_everybody_has_is_ranked() -> None:
    assert why() == ()
    assert why(tasks=("demo",), metrics=("+cosine", "+emd"), preset="paper") == ()


def test_a_metric_beside_those_of_the_task_is_no_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.metrics, "_local", {})
    (tmp_path / "own_metric.py").write_text(METRIC)
    assert why(metrics=(f"+{tmp_path / 'own_metric.py'}:DISTANCE",)) == ()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"selection": Selection(limit=2)}, "a selection of utterances (--ids or --limit)"),
        ({"methods": (first_layer,)}, "method 'first_layer' is in no package"),
        ({"masks": 12}, "spes-encoder with another masks than the task"),
        (
            {"metrics": ("cosine",)},
            "ranked by cosine@spes-encoder, where the task ranks by pearson",
        ),
        ({"precision": "float32"}, "spes-encoder with another precision than the task"),
    ],
)
def test_what_others_do_not_do_is_told(given: dict[str, Any], reason: str) -> None:
    (told,) = why(**given)
    assert told.startswith(reason)


def test_clips_and_models_of_this_machine_are_told(
    make_manifest: Callable[..., Path], tiny_whisper_folder: Path
) -> None:
    told = why(
        model=f"whisper:{tiny_whisper_folder}", data=str(make_manifest({"a": 0.6})), tasks=("asr",)
    )
    assert told == ("clips given with --data", "a model in a local folder")


def test_it_is_said_when_the_run_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Started(Exception):
        pass

    def load(*_: Any) -> None:
        raise Started

    told: list[str] = []
    reporter = Silent()
    monkeypatch.setattr(reporter, "note", told.append, raising=False)
    monkeypatch.setattr(bench, "bench_of", load)
    spec = RunSpec("xbench-tiny", ("mean-heads",), "demo-asr-en", selection=Selection(limit=1))
    with pytest.raises(Started):
        evaluate.evaluate(spec, ExecutionOptions(str(tmp_path)), reporter)
    assert told == [
        "not ranked on a leaderboard (submissions/README.md says why): "
        "a selection of utterances (--ids or --limit)"
    ]
