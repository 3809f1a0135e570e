"""`xbench audit metrics` on a small run: what is scored, from what, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Run
from small_run import Made
from xbench import registry
from xbench.audit.judged import judged
from xbench.runner import bench


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(bench, "load_located", refuse)


@pytest.mark.usefixtures("no_model")
def test_json_holds_every_metric_reference_and_ladder(run: Run, made: Made) -> None:
    done = run("audit", "metrics", made.results, "--cache", made.cache, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["task"], told["clips"], told["clusters"]) == ("asr", 6, 6)
    takes = {d.name for d in registry.metrics.descriptions() if d.takes == "reference"}
    found = {
        (row["metric"].partition(":")[0], row["reference"], row["ladder"])
        for row in told["findings"]
    }
    ladders = ("noise", "shift", "blur", "swap", "shuffle", "sink", "sharpen")
    assert found == {
        (metric, reference, ladder)
        for metric in takes
        for reference in ("spes-encoder", "spes-input")
        for ladder in ladders
    }
    assert {row["start"] for row in told["findings"]} == {"reference"}


def test_the_table_names_metrics_and_ladders(run: Run, made: Made) -> None:
    done = run("audit", "metrics", made.results, "--cache", made.cache, "--metric", "spearman")
    assert done.code == 0, done.err
    assert "half of spes-encoder, judged by the other half" in done.out
    assert "spearman" in done.out
    assert "pearson" not in done.out
    # Ranks do not see a power of the values.
    assert "blind" in done.out


def test_a_method_as_it_was_has_the_score_of_its_result(made: Made) -> None:
    found = judged(
        made.given, metrics=["pearson", "emd"], starts=["mean-heads", "diagonal"], store=made.store
    )
    by_method = {result.method.name: result for result in made.given}
    for steps in found.steps:
        result = by_method[steps.start.partition(":")[0]]
        column = result.utterances[f"{steps.metric.name}@{steps.reference}"]
        assert [*steps.values[0]] == column
        assert [*found.ids] == result.utterances["id"]
        assert len(steps.values) == 1 + len(steps.ladder.sizes)


def test_the_start_is_one_half_judged_by_the_other(made: Made) -> None:
    from xbench.metrics.agreement import pearson
    from xbench.runner.compare import on_grid, read_reference
    from xbench.runner.keys import reference_key
    from xbench.runner.rescore import Change, stored_run

    found = judged(made.given, metrics=["pearson"], store=made.store)
    stored = stored_run(made.given, made.store, Change())
    for steps in found.steps:
        for value, id_ in zip(steps.values[0], found.ids, strict=True):
            spoken = stored.spoken[id_]
            layout, task = spoken.decoded.layout, spoken.job.task
            (call,) = [c for c in task.references if c.name == steps.reference]
            artefact = stored.shelf.artefact(reference_key(stored.record.info, spoken, call))
            halves = on_grid(read_reference(call, artefact).halves(), layout, task.scoring)
            assert halves is not None
            assert value == pytest.approx(pearson(*halves, layout, task.scoring).value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metric", "deletion-auc", "--metric", "emd"), "needs new passes of the model"),
        (("--metric", "size"), "it hides nothing"),
        (("--metric", "deletion-auc", "--start", "mean-heads"), "start from the reference"),
        (("--metric", "pearsn"), "did you mean"),
        (("--start", "max-heads"), "not among the results"),
        (("--start", "refrence"), "did you mean"),
    ],
)
def test_what_cannot_be_audited_is_refused(
    run: Run, made: Made, options: tuple[str, ...], message: str
) -> None:
    done = run("audit", "metrics", made.results, "--cache", made.cache, *options)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_store_that_lacks_the_run_and_a_folder_without_results(
    run: Run, made: Made, tmp_path: Path
) -> None:
    done = run("audit", "metrics", made.results, "--cache", tmp_path)
    assert done.code == 2
    assert "evaluate again" in done.err
    (tmp_path / "empty").mkdir()
    done = run("audit", "metrics", tmp_path / "empty")
    assert done.code == 2
    assert "holds no result file" in done.err
