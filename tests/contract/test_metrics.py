"""Every registered metric passes the battery that plugins run, and the battery catches what it promises."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xbench import registry
from xbench.cli import main
from xbench.description import MetricDescription, Parameter
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout
from xbench.metrics import Score
from xbench.metrics.agreement import pearson
from xbench.metrics.batch import Judged
from xbench.metrics.pearson_batch import pearson_of_many
from xbench.references.reliability import Ceiling
from xbench.spec import Scoring
from xbench.testing import CheckResult, check_metric
from xbench.testing.metrics import CHECKS

OTHER_PARAMETERS = (
    *("auroc:labels=words", "auprc:labels=words", "relevance-mass:labels=words"),
    *("relevance-rank:labels=words", "topk-overlap:share=0.5", "topk-iou:share=0"),
    *("auroc:share=0.5", "auprc:share=0", "onset-error:point=centroid"),
)


@pytest.mark.parametrize("name", [*registry.metrics.names(), *OTHER_PARAMETERS])
def test_every_registered_metric_keeps_the_contract(name: str) -> None:
    results = check_metric(name)
    assert [r.check for r in results] == list(CHECKS)
    assert [r for r in results if not r.ok] == []
    description = registry.metrics.get(name.partition(":")[0])
    if description.family == "agreement":
        skipped = {r.check for r in results if r.status == "skipped"}
        assert skipped == (set() if description.needs else {"words"})
    else:
        assert [r.status for r in results] == ["passed"] + ["skipped"] * (len(CHECKS) - 1)


# -- the battery can fail -------------------------------------------------------------------------


def plain(method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring) -> Score:
    return pearson(method, reference, layout, scoring)


def half_of(mean: GridMap, a: GridMap, b: GridMap, layout: Layout, scoring: Scoring) -> Ceiling:
    missing = not (np.isfinite(a.values).all() and np.isfinite(b.values).all())
    missing |= not (a.values.any() and b.values.any())
    return Ceiling(None, reason="missing-half") if missing else Ceiling(0.5)


def check(
    monkeypatch: pytest.MonkeyPatch, implementation: Callable[..., Any] = plain, **more: Any
) -> dict[str, CheckResult]:
    planted = {"planted_metric": implementation, **{f"planted_{k}": v for k, v in more.items()}}
    for name in ("batched", "ceiling"):
        if name in more:
            monkeypatch.setattr(f"xbench.testing.planted_{name}", more[name], raising=False)
            more[name] = f"xbench.testing:planted_{name}"
    monkeypatch.setattr("xbench.testing.planted_metric", planted["planted_metric"], raising=False)
    options: dict[str, Any] = {
        "family": "agreement",
        "higher_is_better": True,
        "range": (-1.0, 1.0),
        "no_ceiling": "no-theory",
    }
    description = MetricDescription(
        name="planted-metric",
        version="1",
        summary="",
        source="",
        implementation="xbench.testing:planted_metric",
        **(options | more),
    )
    return {result.check: result for result in check_metric(description)}


def broken(results: dict[str, CheckResult]) -> set[str]:
    return {name for name, result in results.items() if not result.ok}


def test_a_good_metric_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = check(monkeypatch)
    assert broken(found) == set()
    assert {n for n, r in found.items() if r.status == "skipped"} == {"words", "batched"}
    assert broken(check(monkeypatch, batched=pearson_of_many, ceiling=half_of)) == set()


def zero_for_nothing(*arguments: Any) -> Score:
    score = pearson(*arguments)
    return Score(0.0) if score.reason == "constant-map" else score


def zero_for_a_hollow_reference(*arguments: Any) -> Score:
    score = pearson(*arguments)
    return Score(0.0) if score.reason == "constant-reference" else score


def crashing_on_nan(method: GridMap, *rest: Any) -> Score:
    if np.isnan(method.values).any():
        raise FloatingPointError("NaN")
    return pearson(method, *rest)


def warning(method: GridMap, *rest: Any) -> Score:
    if not method.values.any():
        warnings.warn("mean of empty slice", RuntimeWarning, stacklevel=1)
    return pearson(method, *rest)


def bare(*arguments: Any) -> Any:
    return pearson(*arguments).value


def wordy(*arguments: Any) -> Score:
    score = pearson(*arguments)
    return Score(None, "There is nothing!") if score.reason else score


def too_large(*arguments: Any) -> Score:
    score = pearson(*arguments)
    return score if score.value is None else Score(2 * score.value)


def backwards(*arguments: Any) -> Score:
    score = pearson(*arguments)
    return score if score.value is None else Score(-score.value)


def jittery(*arguments: Any) -> Score:
    score = pearson(*arguments)
    return score if score.value is None else Score(score.value * np.random.default_rng().uniform())


def scribbling(method: GridMap, *rest: Any) -> Score:
    score = pearson(method, *rest)
    method.values[...] = np.sort(method.values, axis=1)
    return score


def of_all_rows(method: GridMap, reference: GridMap, layout: Layout, scoring: Scoring) -> Score:
    if len(layout.content) == 0:
        return Score(None, "empty-hypothesis")
    everything = Layout(
        layout.tokens,
        layout.texts,
        tuple(range(len(layout.tokens))),
        layout.frames,
        layout.melframes,
        layout.stride,
        layout.melframe_seconds,
    )
    return pearson(method, reference, everything, scoring)


def afraid_of_small_values(method: GridMap, reference: GridMap, *rest: Any) -> Score:
    if np.abs(reference.values).max() < 1e-12:
        return Score(None, "constant-reference")
    return pearson(method, reference, *rest)


@pytest.mark.parametrize(
    ("implementation", "expected"),
    [
        (zero_for_nothing, {"degenerate"}),
        (zero_for_a_hollow_reference, {"degenerate"}),
        (crashing_on_nan, {"degenerate"}),
        (warning, {"degenerate"}),
        (wordy, {"degenerate"}),
        (too_large, {"range"}),
        (backwards, {"direction"}),
        (of_all_rows, {"content"}),
        (afraid_of_small_values, {"magnitude"}),
    ],
)
def test_what_the_battery_catches(
    implementation: Callable[..., Any], expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert broken(check(monkeypatch, implementation)) == expected


def test_what_breaks_several_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "deterministic" in broken(check(monkeypatch, jittery))
    assert "pure" in broken(check(monkeypatch, scribbling))
    found = check(monkeypatch, bare)
    assert "value" in broken(found)
    assert found["value"].detail == "the reference itself: it returns a float, not a Score"


def test_a_batched_form_that_differs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(*arguments: Any, **params: Any) -> Judged:
        scores = pearson_of_many(*arguments).scores
        return Judged(tuple(s if s.value is None else Score(s.value * 0.999) for s in scores))

    def in_company(maps: Any, *rest: Any) -> Judged:
        scores = pearson_of_many(maps, *rest).scores
        by_company = 1 - 1e-13 * maps.size
        return Judged(tuple(s if s.value is None else Score(s.value * by_company) for s in scores))

    assert broken(check(monkeypatch, batched=shifted)) == {"batched"}
    found = check(monkeypatch, batched=in_company)
    assert broken(found) == {"batched"}
    assert "depends on the other maps" in found["batched"].detail


def test_ceilings_that_guess_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def guessing(*arguments: Any) -> Ceiling:
        return Ceiling(0.9)

    def too_high(*arguments: Any) -> Ceiling:
        found = half_of(*arguments)
        return found if found.upper is None else Ceiling(1.5)

    assert broken(check(monkeypatch, ceiling=guessing)) == {"ceiling"}
    assert broken(check(monkeypatch, ceiling=too_high)) == {"ceiling"}
    assert broken(check(monkeypatch, no_ceiling="")) == {"ceiling"}
    assert broken(check(monkeypatch, no_ceiling="No theory.")) == {"ceiling"}


def test_guessing_words_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def guessing(*arguments: Any, spans: Any) -> Score:
        score = pearson(*arguments)
        return Score(None, "no-word-time") if spans is None else score

    found = check(monkeypatch, guessing, needs=frozenset({"words"}))
    assert broken(found) == {"words"}


def test_other_families_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    found = check(monkeypatch, family="intervention")
    assert {name for name, r in found.items() if r.status != "skipped"} == {"signature"}
    found = check(monkeypatch, family="intervention", takes="curves")
    assert broken(found) == {"signature"}


def test_a_parameter_that_the_function_does_not_take_is_found_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share = Parameter("share", "float", "", default=0.1)
    found = check(monkeypatch, parameters=(share,))
    assert broken(found) == {"signature"}
    assert "has no keyword 'share'" in found["signature"].detail
    assert found["value"].detail == "the description does not fit the function it names"


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="unknown metric 'spearmann'"):
        check_metric("spearmann")
    with pytest.raises(UsageError, match="must be >= 0"):
        check_metric("topk-iou:share=0.7")


def test_the_command_line_checks_a_metric(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["xbench", "check", "metric", "emd", "--json"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in (0, None)
    assert '"check": "degenerate"' in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["xbench", "check", "preset", "demo"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    known = "there is a battery for: method, metric, model, reference, dataset, task"
    assert known in capsys.readouterr().err
