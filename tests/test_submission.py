"""Aggregates recomputed by `xbench validate`, and results placed by `xbench submit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xbench import Call, ExecutionOptions, RunSpec, Selection, evaluate, store
from xbench.cli.listing import file_problems
from xbench.cli.submission import next_steps, submit
from xbench.errors import EnvironmentProblem, UsageError


@pytest.fixture(scope="module")
def demo_result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of four clips of the demo, as `xbench eval` writes it."""
    folder = tmp_path_factory.mktemp("demo")
    spec = RunSpec(
        model="xbench-tiny",
        methods=(Call("mean-heads"),),
        tasks=("demo-asr-en",),
        masks=12,
        selection=Selection(limit=4),
    )
    options = ExecutionOptions(str(folder / "results"), str(folder / "cache"), "cpu")
    (result,) = evaluate(spec, options)
    return folder / "results" / result.path()


@pytest.fixture
def changed(demo_result: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the result with changes: changed({"scores.0.value": 0.5})."""

    def write(changes: dict[str, Any]) -> Path:
        data = json.loads(demo_result.read_text())
        for place, value in changes.items():
            *parts, last = place.split("/")
            target = data
            for part in parts:
                target = target[int(part)] if isinstance(target, list) else target[part]
            target[int(last) if isinstance(target, list) else last] = value
        path = tmp_path / "result.json"
        path.write_text(json.dumps(data))
        return path

    return write


def test_what_eval_writes_has_no_problems(demo_result: Path) -> None:
    assert file_problems(demo_result) == []


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("scores/0/value", 0.987, "scores[0].value: 0.987, but the utterance columns give"),
        ("scores/1/value", None, "scores[1].value: null, but the utterance columns give"),
        ("scores/0/n", 3, "scores[0].n: 3, but the utterance columns give 4"),
        ("scores/0/n_clusters", 9, "scores[0].n_clusters: 9, but"),
        ("scores/0/floor/value", 0.5, "scores[0].floor.value: 0.5, but"),
        ("scores/0/ceiling/value", 0.5, "scores[0].ceiling.value: 0.5, but"),
        ("scores/0/disattenuated/value", 2.0, "scores[0].disattenuated.value: 2, but"),
        ("scores/0/undefined", {"single-token": 1}, "scores[0].undefined: counts 1 values"),
        ("utterances/cluster", ["a"], "utterances.cluster: 1 values for 4 utterances"),
    ],
)
def test_aggregates_that_do_not_agree_are_told_with_their_place(
    changed: Callable[..., Path], place: str, value: Any, expected: str
) -> None:
    (problem, *_) = file_problems(changed({place: value}))
    assert expected in problem
    assert "result.json: " in problem


COMPLETE = {"status": "complete", "reason": None}


def test_submit_refuses_what_cannot_be_ranked(changed: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only complete runs are ranked"):
        submit(changed({}), tmp_path)
    with pytest.raises(UsageError, match="changed parameters are not ranked"):
        submit(changed(COMPLETE), tmp_path)
    with pytest.raises(UsageError, match="only registered datasets"):
        submit(changed(COMPLETE | {"task/dataset/name": "clips"}), tmp_path)
    with pytest.raises(UsageError, match="models that others can load"):
        submit(changed(COMPLETE | {"model/name": "whisper:mine"}), tmp_path)
    with pytest.raises(UsageError, match="utterance columns give"):
        submit(changed(COMPLETE | {"scores/0/value": 0.9}), tmp_path)
    assert list(tmp_path.rglob("*.json")) == [tmp_path / "result.json"]


@pytest.fixture
def rankable(changed: Callable[..., Path]) -> Path:
    from xbench.tasks import resolve_tasks

    (task,) = resolve_tasks(("demo-asr-en",), None)
    return changed(COMPLETE | {"task/hash": task.hash})


def test_submit_places_the_file_unchanged(rankable: Path, tmp_path: Path) -> None:
    folder = tmp_path / "submissions"
    with pytest.raises(UsageError, match="--to FOLDER"):
        submit(rankable, folder)
    folder.mkdir()
    target = submit(rankable, folder)
    assert target.parent == folder / "demo-asr-en" / "xbench-tiny"
    assert target.read_bytes() == rankable.read_bytes()
    assert str(target) in next_steps(target)
    assert submit(rankable, folder) == target  # the same file again is no problem
    target.write_text("{}")
    with pytest.raises(UsageError, match="another result of this run"):
        submit(rankable, folder)
    assert target.read_text() == "{}"


def test_an_interrupted_submission_leaves_nothing(
    rankable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "submissions"
    folder.mkdir()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", fail)
    with pytest.raises(EnvironmentProblem, match="full"):
        submit(rankable, folder)
    assert [p for p in folder.rglob("*") if p.is_file()] == []
