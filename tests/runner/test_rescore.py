from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import stats as scipy_stats

from xbench import Call, ExecutionOptions, RunSpec, evaluate
from xbench.errors import EnvironmentProblem, UsageError
from xbench.results import RunResult
from xbench.runner import bench, record, stability, stages
from xbench.runner.bench import Shelf
from xbench.runner.keys import Job, Spoken, map_key
from xbench.runner.plan import plan_methods
from xbench.runner.rescore import Change, change_from, rescore
from xbench.runner.stability import compare_references
from xbench.runner.verify import plan_of, verify
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
        metrics=(Call("pearson"), Call("pearson-paper")),
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

    monkeypatch.setattr(bench, "load_located", refuse)
    again = rescore(results, store)
    assert [r.method.name for r in again] == list(METHODS)
    assert any(math.isfinite(r.scores[0].value or math.nan) for r in again)
    for first, second in zip(results, again, strict=True):
        assert without_provenance(second) == without_provenance(first)
        assert second.path() == first.path()


def test_a_record_from_before_a_field_came_is_read(
    made: tuple[list[RunResult], Store],
) -> None:
    results, store = made
    key = record.key_of(results[0])
    stored = store.get(key)
    assert stored is not None
    facts = json.loads(json.dumps(stored.facts))
    del facts["info"]["padding"]
    older = Store(store.folder.with_name("older"))
    older.put(key, {}, facts)
    found = record.find(older, results[0])
    assert found is not None
    assert found.info.padding == ""
    assert found.task == record.find(store, results[0]).task  # type: ignore[union-attr]


def test_a_finished_run_is_repeated_and_scored_on_a_store_that_may_only_be_read(
    made: tuple[list[RunResult], Store],
    tiny_whisper_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results, store = made

    def refuse(*_: object) -> None:
        raise EnvironmentProblem("cannot write: Read-only file system; choose another folder")

    monkeypatch.setattr(Store, "put", refuse)
    spec = RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=tuple(map(Call, METHODS)),
        tasks=("asr",),
        data=str(store.folder.parent / "clips.jsonl"),
        masks=24,
        metrics=(Call("pearson"), Call("pearson-paper")),
    )
    options = ExecutionOptions(str(tmp_path), str(store.folder), "cpu")
    again = evaluate(spec, options)
    for first, second in zip(results, again, strict=True):
        assert second.scores == first.scores
    assert len(rescore(again, store)) == len(METHODS)
    with pytest.raises(EnvironmentProblem, match="Read-only"):
        evaluate(replace(spec, seed=1), options)


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


# -- does the ranking survive? ---------------------------------------------------------------------


def test_rankings_are_compared_with_the_headline(made: tuple[list[RunResult], Store]) -> None:
    results, store = made
    found = compare_references(
        results,
        metrics=["pearson"],
        scoring=["pool_time=mean"],
        maps=["saliency"],
        store=store,
    )
    assert [row.view for row in found] == [
        "pearson@spes-input",
        "pearson@spes-encoder [pool_time=mean]",
        "pearson@spes-input [pool_time=mean]",
        "pearson@map:saliency:" + str(_call(results[3])).partition(":")[2],
    ]
    assert {row.headline for row in found} == {"pearson@spes-encoder"}
    assert [row.methods for row in found] == [4, 4, 4, 3]
    other = results[0].score("pearson", "spes-input")
    assert other.n == 3
    means = [
        [r.score("pearson", name).value for r in results] for name in ("spes-encoder", "spes-input")
    ]
    assert found[0].tau.value == pytest.approx(scipy_stats.kendalltau(*means).statistic)
    # Pooling over time does not touch a reference on encoder frames, nor maps on them.
    assert found[0].tau.ci_reason == "fewer-than-5-clusters"


def test_a_map_stands_for_a_reference(made: tuple[list[RunResult], Store]) -> None:
    results, store = made
    (row,) = [
        row
        for row in compare_references(
            results, metrics=["pearson"], maps=["mean-heads"], store=store
        )
        if "map:" in row.view
    ]
    view = stability._map_views(
        "mean-heads", list(map(str, map(_call, results))), results, ["pearson"], store
    )
    ((label, scored),) = view.items()
    assert label == row.view
    assert str(_call(results[0])) not in scored.rows
    kept, methods = (
        stability.stored_run(results, store, Change()).record,
        plan_methods(RunSpec(model="m", methods=(Call("mean-heads"), Call("saliency")))),
    )
    job = Job(kept.task, kept.manifest.utterances[0], kept.spec.seed)
    decoded = stages.read_decoded(Shelf(kept.info, store), job)
    grids = []
    for method in methods:
        values = store.get(map_key(kept.info, Spoken(job, decoded), method)).arrays["values"]
        if method.description.signed:
            values = np.abs(values)
        if values.ndim == 3:
            values = values.max(axis=2)
            starts = np.arange(decoded.layout.frames) * decoded.layout.stride
            values = np.maximum.reduceat(values[:, : decoded.layout.melframes], starts, axis=1)
        grids.append(values[list(decoded.layout.content)])
    expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*grids, strict=True)])
    assert scored.rows[str(_call(results[3]))][0] == pytest.approx(expected, rel=1e-6)


def _call(result: RunResult) -> Call:
    return Call.make(result.method.name, result.method.params)


def test_results_that_do_not_belong_together_are_refused(
    made: tuple[list[RunResult], Store],
) -> None:
    results, store = made
    other = replace(results[1], model=replace(results[1].model, revision="x"))
    with pytest.raises(UsageError, match="come from 2 runs"):
        compare_references([results[0], other], store=store)
    with pytest.raises(UsageError, match="given twice"):
        compare_references([results[0], results[0]], store=store)
    with pytest.raises(UsageError, match="did you mean 'pearson'"):
        compare_references(results, metrics=["pearsn"], store=store)
    with pytest.raises(UsageError, match="evaluate it too"):
        compare_references(results, maps=["energy"], store=store)
    with pytest.raises(UsageError, match="none of the results has scores"):
        compare_references([replace(results[0], status="failed")], store=store)


# -- run again -------------------------------------------------------------------------------------


def test_verify_runs_a_sample_again(
    made: tuple[list[RunResult], Store], tiny_whisper_folder: Path
) -> None:
    results, store = made
    where = {
        "model": f"whisper:{tiny_whisper_folder}",
        "data": str(store.folder.parent / "clips.jsonl"),
        "device": "cpu",
    }
    checked = verify(results[0], sample=2, tolerance=0.0, **where)
    assert len({row.id for row in checked}) == 2
    assert len(checked) == 2 * 5
    assert all(row.agrees for row in checked), [row for row in checked if not row.agrees]
    columns = {**results[0].utterances}
    columns["hypothesis"] = ["another", *columns["hypothesis"][1:]]
    columns["pearson@spes-encoder"] = [v + 0.02 for v in columns["pearson@spes-encoder"]]
    forged = verify(replace(results[0], utterances=columns), **where)
    wrong = {(row.id, row.column) for row in forged if not row.agrees}
    assert wrong == {("a", "hypothesis"), *((name, "pearson@spes-encoder") for name in CLIPS)}


def test_verify_needs_to_know_the_run(
    made: tuple[list[RunResult], Store], tiny_whisper_folder: Path
) -> None:
    results, store = made
    data = str(store.folder.parent / "clips.jsonl")
    with pytest.raises(UsageError, match="--model whisper:FOLDER"):
        plan_of(results[0], data=data)
    model = f"whisper:{tiny_whisper_folder}"
    with pytest.raises(UsageError, match="needs --data"):
        plan_of(results[0], model=model)
    with pytest.raises(UsageError, match="has nothing to verify"):
        plan_of(replace(results[0], status="failed"), model=model, data=data)
    other = replace(results[0], task=replace(results[0].task, hash="0"))
    with pytest.raises(UsageError, match="not the one of the result"):
        plan_of(other, model=model, data=data)
    # The partner of each clip, and what was learned from the test clips, hang on all of them.
    for result in results[1:3]:
        plan = plan_of(result, sample=1, model=model, data=data)
        assert not plan.spec.selection.partial
