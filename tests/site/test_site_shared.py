"""Facts that many results state and a page shows once: from those that have them, disagreement shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sites import check_site
from synthetic import METHODS, SCORES, head, result, unsupported

from xbench.site.load import Result
from xbench.site.overall import overall
from xbench.site.seen import seen
from xbench.site.shared import (
    MOST_STATEMENTS,
    Statement,
    masks_of,
    most_stated,
    reference_of,
    shared,
    shared_padding,
    shared_quality,
    shared_references,
    was_made,
)
from xbench.site.tables.heads import head_scores
from xbench.site.tables.tabulate import Tables, tabulate

TASK, MODEL = "demo-asr-en", "xbench-tiny"
FIRST = ("alignment-heads", {}, "attention", False)  # its name comes first in every order
KEY = ("pearson", "spes-encoder")


def tables(*results: dict[str, Any]) -> Tables:
    return tabulate([Result(f"{i}.json", "0" * 64, run) for i, run in enumerate(results)])


def shown(site: Path, page: str, subject: str) -> list[dict[str, str]]:
    """Return what a page says of a subject."""
    return seen(site / page).statements[subject]


# -- a first result without outcomes ---------------------------------------------------------------


def test_a_first_result_that_is_unsupported_hides_nothing(tmp_path: Path) -> None:
    results = [unsupported(method=FIRST), result(method=METHODS[0]), result(method=METHODS[5])]
    for run in results[1:]:
        run["references"][0]["masks_per_utterance"] = {"min": 1000, "median": 1500.0, "max": 2000}
    site = check_site(tmp_path, results)
    pair = f"{TASK}@{MODEL}"
    (run_page,) = (site / "runs").glob("*.html")
    for page, where in ((f"tasks/{TASK}.html", pair), (f"runs/{run_page.name}", run_page.stem)):
        (quality,) = shown(site, page, f"quality {where}")
        assert (quality["measure"], quality["quality"], quality["n"]) == (
            "word error rate",
            "4.2 %",
            "12",
        )
        assert shown(site, page, f"reference {where} spes-encoder") == [
            {
                "version": "v0",
                "masks": "1,000 to 2,000, median 1,500",
                "reliability": "0.83",
                "audio-tokens": "not recorded",
                "ceilings": "pearson 0.87",
                "hidden": "zero vector",
                "computation": "masked-mean",
            }
        ]
    page = f"models/{MODEL}.html"
    assert shown(site, page, f"quality {pair}") == [
        {"measure": "word error rate", "quality": "4.2 %"}
    ]
    assert shown(site, page, f"padding {pair}") == [{"padding": "7.0"}]
    method = (site / "methods/alignment-heads.html").read_text()
    assert "no such layer" in method


def test_second_ceilings_stand_beside_the_first() -> None:
    reference = result(method=METHODS[0])["references"][0]
    ceiling = {"value": 0.736, "ci": None, "reason": None, "ci_reason": "fewer-than-5-clusters"}
    reference["rivals"] = [{"reference": "spes-encoder-drop", "score": ceiling, "ceiling": ceiling}]
    assert reference_of(reference).ceilings == (
        ("pearson", "0.87", None),
        ("pearson of spes-encoder-drop (second)", "0.74", None),
    )


def test_the_leading_group_says_what_it_could_not_tell(tmp_path: Path) -> None:
    told = "cannot be told from chance"
    enough = check_site(tmp_path / "8", [result(method=method) for method in METHODS[:4]])
    assert told in (enough / f"tasks/{TASK}.html").read_text()
    few = check_site(tmp_path / "4", [result(method=m, clusters=4) for m in METHODS[:4]])
    assert told not in (few / f"tasks/{TASK}.html").read_text()


def test_without_any_outcome_the_page_says_why(tmp_path: Path) -> None:
    site = check_site(tmp_path, [unsupported(method=FIRST), unsupported(method=METHODS[0])])
    (quality,) = shown(site, f"tasks/{TASK}.html", f"quality {TASK}@{MODEL}")
    assert (quality["quality"], quality["n"]) == ("– (no target text)", "0")
    (line,) = shown(site, f"tasks/{TASK}.html", f"reference {TASK}@{MODEL} spes-encoder")
    assert (line["masks"], line["reliability"]) == ("none", "– (no defined value)")
    assert line["ceilings"] == "pearson – (no defined value)"
    assert "not recorded" in (site / f"models/{MODEL}.html").read_text()


def test_the_command_of_a_method_is_of_a_run_with_scores(tmp_path: Path) -> None:
    runs = [unsupported(model="a-model", method=FIRST), result(model="b-model", method=FIRST)]
    page = (check_site(tmp_path, runs) / "methods/alignment-heads.html").read_text()
    assert "xbench eval --model b-model " in page


def test_the_command_of_a_method_can_be_run_as_printed(tmp_path: Path) -> None:
    everybodys = result(method=METHODS[0])
    own = result(model="whisper:mine", method=METHODS[0], texts=("made up", "clips"))
    own["task"]["preset"] = "paper"
    star = ("raw-attention", {"head": 0, "layer": "last one"}, "attention", False)
    site = check_site(tmp_path, [everybodys, own, result(method=star)])
    page = (site / "methods/mean-heads.html").read_text()
    command = "xbench eval --model xbench-tiny --task demo-asr-en --method mean-heads:heads=all,layers=all"
    assert command in page
    page = (site / "methods/raw-attention.html").read_text()
    assert "--method &#39;raw-attention:head=0,layer=last one&#39;" in page
    only = check_site(tmp_path / "only", [own])
    assert (
        "xbench eval --model whisper:FOLDER --task demo-asr-en --data CLIPS.jsonl --preset paper"
    ) in (only / "methods/mean-heads.html").read_text()


# -- results that disagree -------------------------------------------------------------------------


def disagreeing() -> list[dict[str, Any]]:
    """Return three results of one pair: two say one thing, the first says another, everywhere."""
    results = [result(method=method) for method in (FIRST, METHODS[0], METHODS[5])]
    first = results[0]
    first["quality"] |= {"value": 5.0, "poor": 1}
    first["references"][0]["reliability"]["value"] = 0.7
    first["references"][0]["masks"] = [500, 500]
    first["padding_mass"] = 0.1
    first["task"]["dataset"]["name"] = "other"
    first["model"]["architecture"] = "Other"
    first["provenance"] |= {"seed": 3, "git": {"commit": "abc", "dirty": True}}
    return results


def test_what_results_state_differently_is_shown_with_how_many_state_it(tmp_path: Path) -> None:
    site = check_site(tmp_path, disagreeing())
    pair = f"{TASK}@{MODEL}"
    page = f"tasks/{TASK}.html"
    most, one = "(2 of 3 results)", "(1 of 3 results)"
    lines = [(q["quality"], q["poor"], q["share"]) for q in shown(site, page, f"quality {pair}")]
    assert lines == [("4.2 %", "0", most), ("5.0 %", "1", one)]
    lines = [
        (r["masks"], r["reliability"], r["share"])
        for r in shown(site, page, f"reference {pair} spes-encoder")
    ]
    assert lines == [("2,000", "0.83", most), ("1,000", "0.70", one)]
    task = told(site / page)
    assert "Results disagree about this task: dataset name demo (2 of 3 results); other" in task
    model = told(site / f"models/{MODEL}.html")
    stated = "word error rate 4.2 % (2 of 3 results); word error rate 5.0 %, 1 poor clip (1 of 3 results)"
    assert f"demo-asr-en: {stated}" in model
    assert "demo-asr-en: 7.0 % (2 of 3 results), 10.0 % (1 of 3 results)" in model
    assert (
        "about this model: architecture WhisperForConditionalGeneration (2 of 3 results)" in model
    )
    (run,) = (site / "runs").glob("*.html")
    origin = told(run)
    assert "0.1.0, no commit recorded (2 of 3 results); commit abc with local changes" in origin
    assert "Seed 0 (2 of 3 results); 3 (1 of 3 results)" in origin


def told(page: Path) -> str:
    """Return the text of a page as a reader sees it."""
    text = re.sub(r"</?(a|abbr|bdi|code|i|small|span|strong)\b[^>]*>", "", page.read_text())
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_a_fact_is_that_of_most_results_whatever_their_order() -> None:
    for results in (disagreeing(), disagreeing()[::-1]):
        made = tables(*results)
        assert made.tasks[0].facts["dataset"]["name"] == "demo"
        assert made.models[0].facts["architecture"] == "WhisperForConditionalGeneration"
        assert [d.fact for d in made.tasks[0].disputes] == ["dataset.name"]


def test_what_may_differ_is_no_dispute() -> None:
    runs = [result(method=METHODS[0]), result(method=METHODS[5])]
    runs[0]["task"]["selection"] = {"ids": ["clip-0000"], "limit": None}
    assert tables(*runs).tasks[0].disputes == ()


def test_a_method_is_what_most_results_say_and_its_page_names_the_others(tmp_path: Path) -> None:
    runs = [result(model=f"model-{i}", method=("mine", {}, "gradient", True)) for i in range(3)]
    runs[0]["method"] |= {"kind": "control", "space": "input"}
    made = tables(*runs)
    assert [(m.family, c.family) for m in made.methods for c in m.configs] == [("gradient",) * 2]
    page = told(check_site(tmp_path, runs) / "methods/mine.html")
    assert "Family gradient (2 of 3 results); control (1 of 3 results)" in page
    assert "Map on encoder frames, rows sum to one, needs gradients (2 of 3 results);" in page


def test_the_direction_of_an_unknown_metric_is_that_of_most_scores(tmp_path: Path) -> None:
    runs = [result(method=method, scores=[("mine", None)]) for method in METHODS[:3]]
    for run, direction in zip(runs, ("higher", "lower", "lower"), strict=True):
        run["scores"][0]["direction"] = direction
    assert not tables(*runs).metrics["mine"].higher
    page = told(check_site(tmp_path, runs) / "about.html")
    assert "lower (2 of 3 scores); higher (1 of 3 scores)" in page


def test_more_statements_than_find_room_are_counted() -> None:
    found = shared(["a", "a", *(f"b{i}" for i in range(MOST_STATEMENTS + 1))])
    assert found.statements[0] == Statement("a", 2, MOST_STATEMENTS + 3)
    assert len(found.statements) == MOST_STATEMENTS
    assert found.left_out == 2


def test_statements_that_read_the_same_are_one() -> None:
    runs = [result(), result(method=METHODS[5])]
    runs[0]["references"][0]["reliability"]["value"] += 1e-5
    (reference,) = shared_references(runs).values()
    assert [(s.what.reliability, s.disputed) for s in reference.statements] == [("0.83", False)]


def test_an_outcome_counts_whatever_the_status_of_its_run() -> None:
    failed = result() | {"status": "failed", "reason": "no map", "scores": []}
    assert [s.what.value for s in shared_quality([failed]).statements] == ["4.2 %"]
    assert shared_padding([failed, unsupported()]).statements == (Statement("7.0", 1, 1),)


@pytest.mark.parametrize(
    "evidence",
    [
        {"masks": [1, 1]},
        {"forward_passes": 1},
        {"reliability": {"value": 0.5, "reason": None}},
        {"ceiling": {"pearson": {"value": 0.9, "reason": None}}},
    ],
)
def test_a_reference_was_made_if_a_result_knows_anything_of_it(evidence: dict[str, Any]) -> None:
    (nothing,) = unsupported()["references"]
    assert not was_made(nothing)
    assert was_made(nothing | evidence)


def test_the_record_of_most_wins_and_nested_differences_are_named() -> None:
    records = [{"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}]
    most, disputes = most_stated(records)
    assert most == records[0]
    assert [(d.fact, [(s.what, s.count) for s in d.said.statements]) for d in disputes] == [
        ("a.b", [("1", 2), ("3", 1)])
    ]


# -- masks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"masks_per_utterance": {"min": 1000, "median": 2000.0, "max": 3500}},
            "1,000 to 3,500, median 2,000",
        ),
        (
            {"masks_per_utterance": {"min": 999, "median": 1250.5, "max": 1_000_000}},
            "999 to 1,000,000, median 1,250.5",
        ),
        ({"masks_per_utterance": {"min": 2000, "median": 2000.0, "max": 2000}}, "2,000"),
        ({"masks": [1750, 1750], "converged": None}, "3,500"),
        ({"masks": [1750, 1750], "converged": True}, "at most 3,500"),
        ({"masks": [0, 0], "masks_per_utterance": None}, "none"),
        ({"masks": []}, "none"),
    ],
)
def test_masks_are_worded_per_utterance(fields: dict[str, Any], words: str) -> None:
    reference = result()["references"][0] | fields
    assert masks_of(reference) == words
    assert reference_of(reference).masks == words


# -- several runs of one configured method ---------------------------------------------------------


def test_of_a_single_head_that_ran_twice_the_newest_run_is_shown() -> None:
    old = result(method=head(0, 1), date="2026-01-01", seed=1)
    new = result(method=head(0, 1), date="2026-02-01", seed=2)
    for run, value in ((old, 0.9), (new, 0.2)):
        run["scores"][0]["value"] = value
    for runs in ((old, new), (new, old)):
        made = tables(*runs)
        found = head_scores(made, made.models[0], made.tasks[0], *KEY)
        assert found is not None
        assert found.values == {(0, 1): 0.2}


def test_a_newer_run_without_a_value_replaces_an_older_one() -> None:
    old = result(date="2026-01-01", seed=1)
    new = unsupported(date="2026-02-01", seed=2)
    (board,) = tables(old, new).select(metric=KEY[0], reference=KEY[1])
    reasons = {row.run.date: row.rank_reason for row in board.rows}
    assert reasons == {"2026-01-01": "superseded", "2026-02-01": "no-value"}


# -- over several tasks and models -----------------------------------------------------------------


def test_a_method_that_misses_cells_says_all_reasons(tmp_path: Path) -> None:
    full = [result(f"task-{t}", method=m) for t in range(4) for m in METHODS[:3]]
    part = [
        unsupported("task-0", method=FIRST),
        result("task-1", method=FIRST, missing=True),
        result("task-2", method=FIRST),
    ]
    (holes,) = overall(tables(*full, *part), *KEY).missing
    assert (holes.config.label, holes.cells) == ("alignment-heads", 3)
    assert {(s.what, s.count) for s in holes.reasons.statements} == {
        ("no such layer", 1),
        ("constant-map", 1),
        ("not run", 1),
    }
    home = told(check_site(tmp_path, [*full, *part]) / "index.html")
    assert "(3 of 4: constant map in 1, no such layer in 1, not run in 1)" in home


def test_heads_whose_floors_differ_show_the_range(tmp_path: Path) -> None:
    runs = [result(method=head(0, number)) for number in range(3)]
    for run, floor in zip(runs, (0.11, 0.14, 0.12), strict=True):
        run["scores"][0]["floor"]["value"] = floor
    text = told(check_site(tmp_path, runs) / f"models/{MODEL}.html")
    assert "floor 0.11 to 0.14" in text


def test_the_heads_page_shows_the_sinks_that_most_results_state(tmp_path: Path) -> None:
    results = disagreeing()
    for run, top in zip(results, (0.9, 0.6, 0.6), strict=True):
        run["sinks"] = {"frames": 3, "mean": (top + 0.2) / 2, "heads": [[0.2], [top]]}
    site = check_site(tmp_path, results)
    page = told(site / "heads.html")
    assert "Attention sinks" in page
    assert "40.0 % of attention on 3 frames; most: layer 1, head 0, 60.0 %; runs differ" in page
    file = json.loads((site / f"data/heads/{MODEL}.json").read_text())
    assert file["sinks"] == {TASK: {"frames": 3, "mean": 0.4, "v": [[0.2], [0.6]]}}


def test_without_a_statement_nothing_is_said_of_sinks(tmp_path: Path) -> None:
    site = check_site(tmp_path, disagreeing())
    assert "sinks" not in told(site / "heads.html").lower()


# -- data files ------------------------------------------------------------------------------------


def test_the_file_of_a_submission_states_what_its_results_state(tmp_path: Path) -> None:
    results = [unsupported(method=("aaa", {}, "control", False)), *disagreeing()]
    site = check_site(tmp_path, results)
    (file,) = (site / "data/runs").glob("*.json")
    told = json.loads(file.read_text())
    assert "architecture" not in told["model"]  # not all agree: each run has its own
    assert told["task"]["name"] == TASK
    assert "seed" not in told["provenance"]
    assert len(told["references"]) == 3
    by_hash = {run["provenance"]["spec_hash"]: run for run in results}
    for run in told["runs"]:
        source = by_hash[run["provenance"]["spec_hash"]]
        assert {**told["provenance"], **run["provenance"]} == source["provenance"]
        assert {**told["model"], **run["model"]} == source["model"]
        assert {**told["task"], **run["task"]} == source["task"]
        assert [told["references"][i] for i in run["references"]] == source["references"]
        for name in ("quality", "cost", "padding_mass", "status", "method"):
            assert run[name] == source[name]
        assert run["utterances"] == len(source["utterances"]["id"])


def test_the_file_of_standings_has_block_and_numbers(tmp_path: Path) -> None:
    runs = [result(task, method=m) for task in ("task-a", "task-b") for m in METHODS[:3]]
    site = check_site(tmp_path, runs)
    told = json.loads((site / "data/standings.json").read_text())
    table = overall(tables(*runs), *SCORES[0])
    found = told["scores"]["pearson@spes-encoder"]
    assert found["cells"] == [["task-a", MODEL], ["task-b", MODEL]]
    assert list(found["methods"]) == [s.config.slug for s in table.standings]
    best = table.standings[0]
    first = found["methods"][best.config.slug]
    assert (first["value"], first["n"]) == (best.value, 24)
    mine = [
        r
        for r in runs
        if (r["method"]["name"], r["method"]["params"])
        == (best.config.method, best.config.facts["params"])
    ]
    assert len(mine) == 2
    seconds = sum(r["cost"]["seconds"] for r in mine)
    audio = sum(r["cost"]["seconds"] / r["cost"]["seconds_per_audio_second"] for r in mine)
    assert first["seconds"] == pytest.approx(seconds / audio, rel=1e-3)
    assert first["passes"] == 1.0
