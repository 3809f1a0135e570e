"""`xbench diff` and `xbench export hub` on results of the repository."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResultEntry  # noqa: F401  # the hub knows such files
from huggingface_hub._eval_results import parse_eval_result_entries

from command_line import Run
from xbench.cli.difference import changes, outcome_changes, score_changes
from xbench.cli.hub_export import eval_results
from xbench.errors import UsageError
from xbench.results import RunResult, read_result

FOLDER = Path(__file__).parents[1] / "submissions" / "demo-asr-en" / "xbench-tiny"


def file_of(method: str) -> Path:
    return next(
        f for f in sorted(FOLDER.glob(f"{method}-*.json")) if read_result(f).method.name == method
    )


@pytest.fixture(scope="module")
def best() -> RunResult:
    return read_result(file_of("mean-heads"))


@pytest.fixture(scope="module")
def control() -> RunResult:
    return read_result(file_of("random"))


def shifted(result: RunResult, column: str, by: float) -> RunResult:
    values = [value and value + by for value in result.utterances[column]]
    return replace(result, utterances={**result.utterances, column: values})


def test_a_result_does_not_differ_from_itself(best: RunResult) -> None:
    assert changes(best, best) == []
    assert outcome_changes(best, best) == []
    for row in score_changes(best, best):
        assert (row.difference, row.verdict) == (0.0, "within noise")


def test_what_was_run_and_what_was_found_are_told(best: RunResult, control: RunResult) -> None:
    facts = {change.what: (change.first, change.second) for change in changes(best, control)}
    assert facts["method.name"] == ("mean-heads", "random")
    assert not [what for what in facts if what.startswith(("scores", "cost", "references"))]
    row = next(r for r in score_changes(best, control) if r.score == "pearson@spes-encoder")
    assert row.first is not None
    assert row.second is not None
    assert row.difference == pytest.approx(row.second - row.first, abs=1e-6)
    assert row.difference < -0.3
    assert row.verdict == "more than noise"
    assert row.ci is not None
    assert row.ci[0] < row.difference < row.ci[1] < 0
    back = next(r for r in score_changes(control, best) if r.score == row.score)
    assert back.difference == pytest.approx(-row.difference)
    assert back.ci == pytest.approx((-row.ci[1], -row.ci[0]), abs=1e-6)


def test_a_constant_gain_is_more_than_noise_and_a_missing_value_is_told(best: RunResult) -> None:
    column = "pearson@spes-encoder"
    found = {r.score: r for r in score_changes(best, shifted(best, column, 0.01))}
    assert found[column].difference == pytest.approx(0.01)
    assert found[column].verdict == "more than noise"
    nothing = replace(
        best, utterances={**best.utterances, column: [None] * len(best.utterances["id"])}
    )
    scores = [replace(s, value=None) if s.metric == "pearson" else s for s in best.scores]
    found = {r.score: r for r in score_changes(best, replace(nothing, scores=scores))}
    assert found[column].verdict == "not known: one of them has no value"
    other = {**best.utterances, "id": [f"x{id_}" for id_ in best.utterances["id"]]}
    found = {r.score: r for r in score_changes(best, replace(best, utterances=other))}
    assert found[column].n == 0
    assert found[column].verdict.startswith("not known: ")


def test_what_came_out_otherwise_beside_the_scores_is_told(best: RunResult) -> None:
    score, *others = best.scores
    assert score.skill.value is not None
    assert best.quality.value is not None
    texts = ["other", "other", *best.utterances["hypothesis"][2:]]
    changed = replace(
        best,
        scores=[
            replace(
                score,
                floor=replace(score.floor, value=0.02),
                ceiling=replace(score.ceiling, value=None),
                skill=replace(score.skill, value=score.skill.value * (1 + 1e-8)),
            ),
            *others,
        ],
        quality=replace(best.quality, value=best.quality.value + 1),
        cost=replace(best.cost, forward_passes=1),
        utterances={**best.utterances, "hypothesis": texts},
    )
    assert [(c.what, c.first, c.second) for c in outcome_changes(best, changed)] == [
        ("floor pearson@spes-encoder", score.floor.value, 0.02),
        ("ceiling pearson@spes-encoder", score.ceiling.value, None),
        ("quality wer", best.quality.value, best.quality.value + 1),
        ("cost forward_passes", best.cost.forward_passes, 1),
        ("hypotheses that differ, of 32 in common", None, 2),
    ]
    dearer = replace(best, cost=replace(best.cost, seconds_per_audio_second=9.0))
    assert [c.what for c in outcome_changes(best, dearer)] == ["cost seconds_per_audio_second"]


def test_results_of_other_clips_are_not_compared(best: RunResult) -> None:
    ids = [f"other-{id_}" for id_ in best.utterances["id"]]
    elsewhere = replace(best, utterances={**best.utterances, "id": ids})
    for row in score_changes(best, elsewhere):
        assert (row.n, row.verdict) == (0, "not known: they have no utterance in common")


def test_the_commands(run: Run, tmp_path: Path) -> None:
    best, control = str(file_of("mean-heads")), str(file_of("random"))
    code, out, _ = run("diff", best, control, "--json")
    assert code == 0
    assert {row["verdict"] for row in json.loads(out)["scores"]} >= {"more than noise"}
    assert "skill pearson@spes-encoder" in {row["what"] for row in json.loads(out)["outcomes"]}
    code, out, _ = run("diff", best, control)
    assert code == 0
    assert "more than noise" in out
    assert "cost forward_passes" in out
    code, out, _ = run("diff", best, best)
    assert code == 0
    assert "no changes in bounds, quality, hypotheses and costs" in out
    code, out, _ = run("export", "hub", best, "--benchmark", "a/b", "--out", tmp_path)
    assert code == 0
    (file,) = (tmp_path / ".eval_results").glob("*.yaml")
    assert str(file) == out.strip()
    code, _, err = run("export", "hub", best, "--benchmark", "a")
    assert code == 2
    assert "write OWNER/NAME" in err


def entry(result: RunResult, **more: Any) -> Any:
    (found,) = parse_eval_result_entries(
        yaml.safe_load(eval_results(result, "someone/xbench", more.get("url")))
    )
    return found


def test_the_file_of_the_hub_is_what_the_hub_reads(best: RunResult) -> None:
    found = entry(best, url="https://example.org/r")
    assert (found.dataset_id, found.task_id) == ("someone/xbench", "demo-asr-en-1")
    assert found.value == round(best.score("pearson", "spes-encoder").value or 0, 4)
    assert (found.source_url, found.date) == ("https://example.org/r", best.provenance.finished)
    assert "pearson of mean-heads:heads=all,layers=all" in found.notes


def test_the_row_says_whether_it_is_ranked(best: RunResult) -> None:
    partial = replace(best, status="partial", reason="2 of 32 utterances")
    assert "not ranked: status: partial" in entry(partial).notes
    with pytest.raises(UsageError, match="the result is unsupported"):
        eval_results(replace(best, status="unsupported", reason="no"), "a/b", None)
