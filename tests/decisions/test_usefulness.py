"""Whether judges foresee uses: by hand on planted tables, and through the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from command_line import Run
from small_run import Made, made_in
from xbench import Call, ExecutionOptions, RunSpec, evaluate
from xbench.data.manifest import Manifest
from xbench.decisions.heads import check_purpose, heads_for
from xbench.decisions.tables import RunTables, mean_known
from xbench.decisions.usefulness import (
    correlations,
    over_models,
    tau_of_models,
    usefulness,
    within_methods,
)
from xbench.errors import UsageError
from xbench.results import load_results

CLIPS = 12
CLUSTERS = tuple(f"s{clip % 6}" for clip in range(CLIPS))


def column(mean: float) -> list[float | None]:
    """The values of a method: its mean, and what a clip adds to all of them."""
    return [mean + 0.01 * clip for clip in range(CLIPS)]


def tables(model: str = "m", turned: bool = False) -> RunTables:
    """Four methods whose use follows the judge (or turns it round), and heads of two layers; a control is left out."""
    kinds = (
        {f"m{i}": "method" for i in range(4)} | {f"h{i}": "head" for i in range(4)} | {"c": "other"}
    )
    judge = {name: column(float(name[1:] or 99)) for name in kinds}
    sign = -1 if turned else 1
    use = {name: [None if v is None else sign * v for v in row] for name, row in judge.items()}
    heads = {"h0": (0, 0), "h1": (0, 1), "h2": (1, 0), "h3": (1, 1)}
    return RunTables(
        model, "t", "clips", "asr", 0, CLUSTERS, kinds, heads, {"pearson": judge}, {"regret": use}
    )


def test_a_use_that_follows_its_judge_has_tau_one_and_one_that_is_turned_minus_one() -> None:
    for turned, expected in ((False, 1.0), (True, -1.0)):
        rows = {row.over: row for row in correlations(tables(turned=turned))}
        assert {over: row.units for over, row in rows.items()} == {
            "methods": 4,
            "heads": 4,
            "layers": 2,
            "clips": CLIPS,
        }
        for over in ("methods", "heads", "clips"):
            tau = rows[over].tau
            assert (tau.value, tau.low, tau.high) == pytest.approx((expected,) * 3)
        # Two layers are no order.
        assert rows["layers"].tau.reason == "fewer-than-3-methods"


def test_over_clips_is_the_mean_of_each_methods_own_tau_with_a_jackknife() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.normal(size=(2, 3, CLIPS))
    second += first
    found = within_methods(first.tolist(), second.tolist(), CLUSTERS)
    mean = np.mean([kendalltau(a, b).statistic for a, b in zip(first, second, strict=True)])
    assert found.value == pytest.approx(mean)
    names = np.array(CLUSTERS)
    left = np.array(
        [
            np.mean(
                [
                    kendalltau(a[names != c], b[names != c]).statistic
                    for a, b in zip(first, second, strict=True)
                ]
            )
            for c in sorted(set(CLUSTERS))
        ]
    )
    error = np.sqrt(5 / 6 * ((left - left.mean()) ** 2).sum())
    assert (found.low, found.high) == pytest.approx(
        (mean - 2.5706 * error, min(mean + 2.5706 * error, 1.0)), abs=1e-4
    )


def test_clips_without_a_value_are_left_out_and_few_say_nothing() -> None:
    rows: list[list[float | None]] = [[1.0, 2, None, 3], [3.0, 1, 2, 4]]
    found = within_methods(rows, rows, list("abcd"))
    assert (found.value, found.n, found.ci_reason) == (1.0, 3, "fewer-than-5-clusters")
    assert within_methods([[1.0, 2]], [[1.0, 2]], list("ab")).reason == "fewer-than-3-clips"
    assert within_methods([], [], []).reason == "fewer-than-3-clips"
    assert within_methods([[1.0] * 4], [[2.0] * 4], list("abcd")).reason == "all-tied"


def moved(model: str, judged: float, used: float, kind: str = "asr") -> RunTables:
    """The tables with what a model adds to judge and use of all methods."""
    own = tables(model)

    def more(add: float) -> dict[str, list[float | None]]:
        rows = own.judges["pearson"].items()
        return {name: [v + add for v in row if v is not None] for name, row in rows}

    return replace(own, kind=kind, judges={"pearson": more(judged)}, uses={"regret": more(used)})


def test_three_models_have_an_order_and_two_have_none() -> None:
    runs = [moved("a", 0.0, 0.0), moved("b", 1.0, 2.0), moved("c", 2.0, 1.0)]
    (row,) = over_models(runs)
    assert (row.model, row.task, row.over, row.units) == ("all models", "asr", "models", 3)
    # Two of three pairs are in order.
    assert row.tau.value == pytest.approx(1 / 3)
    assert (row.tau.low, row.tau.ci_reason) == (None, "fewer-than-5-models")
    (row,) = over_models(runs[:2])
    assert row.tau.reason == "fewer-than-3-models"
    assert over_models(runs[:1]) == []


def test_a_model_counts_once_whatever_runs_it_has_and_translation_stands_apart() -> None:
    twice = [
        *(moved("a", 0.0, 0.0), moved("b", 1.0, 1.0), moved("c", 2.0, 2.0)),
        # The mean of both runs of "c" puts it first by the judge, and leaves it last by the use.
        *(moved("c", -6.0, 2.0), moved("a", 0.0, 0.0, "st"), moved("b", 1.0, 1.0, "st")),
    ]
    rows = {row.task: row.tau for row in over_models(twice)}
    assert rows["asr"].value == pytest.approx(-1 / 3)
    assert rows["asr"].n == 3
    assert rows["st"].reason == "fewer-than-3-models"


def test_a_correlation_names_its_clips_unless_models_are_ordered() -> None:
    assert {row.data for row in correlations(tables())} == {"clips"}
    (row,) = over_models([tables(model) for model in "abc"])
    assert row.data == ""


def test_over_models_only_what_all_runs_have_is_compared() -> None:
    runs = [moved("a", 0.0, 0.0), moved("b", 1.0, 1.0), moved("c", 2.0, 2.0)]
    # A method of one model alone, whose judge would turn the order round.
    alone = {**runs[0].judges["pearson"], "m9": [99.0] * CLIPS}
    kinds = {**runs[0].kinds, "m9": "method"}
    used = {**runs[0].uses["regret"], "m9": [-99.0] * CLIPS}
    more = replace(runs[0], kinds=kinds, judges={"pearson": alone}, uses={"regret": used})
    (row,) = over_models([more, *runs[1:]])
    assert row.tau.value == 1.0
    # A run without a use says nothing of it: two models are left, then one.
    (row,) = over_models([replace(runs[0], uses={}), *runs[1:]])
    assert (row.units, row.tau.reason) == (2, "fewer-than-3-models")
    assert over_models([*(replace(run, uses={}) for run in runs[:2]), runs[2]]) == []


def test_an_interval_over_models_is_a_jackknife_from_five_on() -> None:
    first, second = [1.0, 2, 3, 4, 5, 6, None], [1.0, 3, 2, 4, 6, 5, 7]
    found = tau_of_models(first, second)
    one, other = np.array(first[:6], dtype=float), np.array(second[:6], dtype=float)
    left = np.array(
        [kendalltau(np.delete(one, i), np.delete(other, i)).statistic for i in range(6)]
    )
    error = np.sqrt(5 / 6 * ((left - left.mean()) ** 2).sum())
    value = kendalltau(one, other).statistic
    assert found.n == 6
    assert (found.value, found.low) == pytest.approx((value, value - 2.5706 * error), abs=1e-4)
    assert tau_of_models([1.0] * 5, first[:5]).reason == "all-tied"


def test_a_mean_is_over_what_is_known() -> None:
    assert mean_known([1.0, None, 3.0]) == 2.0
    assert mean_known([None]) is None


@pytest.fixture(scope="module")
def made(tiny_whisper_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The small run with word times, and all single heads beside its two methods."""
    folder = tmp_path_factory.mktemp("useful")
    small = made_in(folder, f"whisper:{tiny_whisper_folder}", words=[("one", 0.0, 1.0)])
    spec = RunSpec(
        model=small.model,
        methods=(Call.parse("raw-attention:layer=*,head=*"),),
        tasks=("asr",),
        data=str(folder / "clips.jsonl"),
        masks=24,
        metrics=(Call("pearson"), Call("emd")),
    )
    evaluate(spec, ExecutionOptions(str(small.results), str(small.cache), "cpu"))
    return small


def test_the_command_correlates_every_judge_with_every_use(run: Run, made: Made) -> None:
    call = ("decisions", "usefulness", str(made.results), "--cache", str(made.cache))
    found = run(*call, "--json")
    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert {row["use"] for row in report["rows"]} == {"word-times", "regret", "delay", "detection"}
    judges = {row["judge"].partition("@")[0] for row in report["rows"]}
    assert judges == {"pearson", "emd"}
    heads = [row for row in report["rows"] if row["over"] == "heads"]
    assert all(row["units"] >= 3 for row in heads)
    assert any(row["tau"]["value"] is not None for row in heads)
    kinds = {mean["method"].partition(":")[0]: mean["kind"] for mean in report["means"]}
    assert kinds == {"mean-heads": "method", "diagonal": "other", "raw-attention": "head"}
    assert "Kendall's tau-b" in run(*call).out


def test_a_use_that_the_clips_do_not_tell_is_left_out_with_its_reason(
    tiny_whisper_folder: Path, tmp_path: Path
) -> None:
    small = made_in(tmp_path, f"whisper:{tiny_whisper_folder}")
    found = usefulness(load_results(small.results), store=small.store)
    assert {row.use for row in found.rows} == {"regret", "delay", "detection"}
    assert any("word-times: no clip has word times" in reason for reason in found.absent)


def test_heads_are_ordered_by_any_purpose_and_the_purposes_compared(made: Made) -> None:
    single = [r for r in made.given if r.method.name == "raw-attention"]
    orders = {}
    for purpose in ("explanation", "timing", "streaming"):
        found = heads_for(single, purpose, store=made.store)
        assert [head.places[purpose] for head in found.heads] == list(range(1, len(single) + 1))
        values = [head.values[purpose] for head in found.heads]
        assert values == sorted(values, reverse=True)
        orders[purpose] = (found.heads[0].layer, found.heads[0].head)
        assert found.best[purpose] == orders[purpose]
    assert found.agree == (len(set(orders.values())) == 1)
    assert set(found.tau) == {
        "explanation and timing",
        "explanation and streaming",
        "timing and streaming",
    }


def test_purposes_that_are_none_or_cannot_be_told_are_refused() -> None:
    nothing = Manifest((), "0" * 64, "clips")
    with pytest.raises(UsageError, match="did you mean 'timing'"):
        check_purpose("timig", nothing)
    with pytest.raises(UsageError, match="no clip has word times"):
        check_purpose("timing", nothing)
    check_purpose("streaming", nothing)
