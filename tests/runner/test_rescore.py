from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xbench import Call, ExecutionOptions, RunSpec, evaluate
from xbench.errors import UsageError
from xbench.results import RunResult
from xbench.runner import evaluate as evaluation
from xbench.runner.rescore import Change, change_from, rescore
from xbench.store import Store

CLIPS = {"a": 0.6, "b": 0.8, "c": 0.7}
METHODS = ("mean-heads", "shuffled", "best-head", "saliency")


@pytest.fixture(scope="module")
def made(
    tiny_whisper_folder: Path,
    clip: Callable[..., np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[RunResult], Store]:
    folder = tmp_path_factory.mktemp("rescore")
    lines = []
    for number, (name, seconds) in enumerate(CLIPS.items()):
        soundfile.write(folder / f"{name}.wav", clip(seconds, number), 16_000, subtype="FLOAT")
        lines.append({"id": name, "audio": f"{name}.wav", "language": "en", "transcript": "one"})
    (folder / "clips.jsonl").write_text("\n".join(map(json.dumps, lines)))
    spec = RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=tuple(map(Call, METHODS)),
        tasks=("asr",),
        data=str(folder / "clips.jsonl"),
        masks=24,
    )
    options = ExecutionOptions(
        output=str(folder / "results"), cache=str(folder / "cache"), device="cpu"
    )
    return evaluate(spec, options), Store(folder / "cache")


def without_provenance(result: RunResult) -> str:
    plain = asdict(result)
    del plain["provenance"]
    return json.dumps(plain)


def test_scoring_again_gives_the_same_bytes_without_a_model(
    made: tuple[list[RunResult], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, store = made

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(evaluation, "load_model", refuse)
    again = rescore(results, store)
    assert [r.method.name for r in again] == list(METHODS)
    assert any(math.isfinite(r.scores[0].value or math.nan) for r in again)
    for first, second in zip(results, again, strict=True):
        assert without_provenance(second) == without_provenance(first)
        assert second.path() == first.path()


def test_another_pooling_changes_input_references_only(made: tuple[list[RunResult], Store]) -> None:
    results, store = made
    (changed,) = rescore(results[:1], store, change_from([], ["pool_time=mean"]))
    assert changed.task.scoring["pool_time"] == "mean"
    assert changed.path() != results[0].path()
    for score in changed.scores:
        before = results[0].score(score.metric, score.reference).value
        assert (score.value == before) == (score.reference == "spes-encoder")


def test_other_metrics_and_their_headline(made: tuple[list[RunResult], Store]) -> None:
    results, store = made
    (changed,) = rescore(results[:1], store, change_from(["pearson-paper"], []))
    assert {s.metric for s in changed.scores} == {"pearson-paper"}
    assert changed.task.headline["metric"] == "pearson-paper"
    for score in changed.scores:
        assert score == results[0].score("pearson-paper", score.reference)


@pytest.mark.parametrize(
    ("metrics", "scoring", "message"),
    [
        (["pearsn"], [], "did you mean"),
        ([], ["pool_tim=mean"], "pool_time"),
        ([], ["pool_time=median"], "one of max, mean"),
        ([], ["pool_time"], "not key=value"),
        ([], ["min_max=maybe"], "one of true, false"),
    ],
)
def test_bad_changes_are_refused(metrics: list[str], scoring: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        change_from(metrics, scoring)


def test_options_are_read_as_their_type() -> None:
    change = change_from([], ["min_max=TRUE", "ddof=1", "pool_time=mean"])
    assert change == Change((), {"min_max": True, "ddof": 1, "pool_time": "mean"})


def test_a_store_that_does_not_know_the_run_says_so(
    made: tuple[list[RunResult], Store], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="does not know this run"):
        rescore(made[0], Store(tmp_path))


def test_maps_that_are_gone_are_told_in_one_line(
    made: tuple[list[RunResult], Store], tmp_path: Path
) -> None:
    import shutil

    results, store = made
    shutil.copytree(store.folder, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache" / "map")
    with pytest.raises(UsageError, match="no longer holds") as caught:
        rescore(results, Store(tmp_path / "cache"))
    assert "\n" not in str(caught.value)


def test_another_version_of_the_method_is_refused(made: tuple[list[RunResult], Store]) -> None:
    results, store = made
    older = replace(results[0], method=replace(results[0].method, version="0"))
    with pytest.raises(UsageError, match="version 0 of mean-heads"):
        rescore([older], store)


def test_unsupported_results_stay_so(made: tuple[list[RunResult], Store]) -> None:
    results, store = made
    refused = replace(results[0], status="unsupported", reason="no such layer")
    (again,) = rescore([refused], store)
    assert (again.status, again.reason) == ("unsupported", "no such layer")
