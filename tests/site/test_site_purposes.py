"""What the first page answers to each purpose, over everything and for one model on one task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthetic import METHODS, result, write

from xbench.site.build import build
from xbench.site.check import problems
from xbench.site.load import Result
from xbench.site.overall import over_all, overall
from xbench.site.pages.home import LEADING, leading
from xbench.site.pages.model import _lines_with_room
from xbench.site.pages.purposes import Answer, choices
from xbench.site.tables.tabulate import Tables, tabulate

AGREEMENT, DELETION, ONSET = (
    ("pearson", "spes-encoder"),
    ("deletion-auc", None),
    ("onset-error", "spes-encoder"),
)
MEAN, ALIGNED, OCCLUSION, CONTROL = METHODS[0], METHODS[4], METHODS[9], METHODS[12]
TIMING = ("whisper-timing", {"filter_width": 7}, "attention", False)


def planted(
    method: Any,
    values: tuple[float, float, float],
    passes: int = 1,
    seconds: float = 1,
    **more: Any,
) -> dict[str, Any]:
    """Return a result whose values lie closely around agreement, intervention and error of word starts."""
    keys = (AGREEMENT, DELETION, ONSET)
    run = result(method=method, scores=keys, utterances=20, clusters=10, **more)
    for score, (metric, reference), value in zip(run["scores"], keys, values, strict=True):
        column = metric if reference is None else f"{metric}@{reference}"
        run["utterances"][column] = [round(value + 0.001 * (i % 5 - 2), 6) for i in range(20)]
        score["value"] = value
    run["cost"] |= {"forward_passes": 20 * passes, "seconds_per_audio_second": seconds}
    run["cost"] |= {"seconds": seconds}
    return run


def tables(*results: dict[str, Any]) -> Tables:
    return tabulate([Result(f"{i}.json", "0" * 64, run) for i, run in enumerate(results)])


def answers(made: Tables, number: int = 0) -> dict[str, Answer]:
    given = choices(made, [over_all(made, *AGREEMENT), over_all(made, *DELETION)])
    return {answer.purpose: answer for answer in given[number].answers}


def methods(answer: Answer) -> set[str]:
    return {c.config.method for c in answer.group}


def test_each_purpose_has_its_own_answer() -> None:
    found = answers(
        tables(
            planted(MEAN, (0.5, 0.8, 0.3)),
            planted(OCCLUSION, (0.9, 0.8, 0.4), passes=50),
            planted(TIMING, (0.2, 0.2, 0.1)),
            planted(ALIGNED, (0.3, 0.3, 0.05)),
            planted(CONTROL, (0.95, 0.9, 0.01)),  # a control explains nothing and answers nothing
        )
    )
    assert methods(found["word times"]) == {"alignment-heads"}
    beside = found["word times"].beside
    assert beside is not None
    assert beside.numbers.value == 0.1
    assert methods(found["interpreting"]) == {"occlusion"}
    under = found["interpreting"].beside
    assert under is not None
    assert (under.config.method, under.numbers.value) == ("occlusion", 0.8)
    # Occlusion needs 50 passes: of the others the one with the highest mean, though it was found worse.
    assert found["every clip"].top.config.method == "mean-heads"
    assert found["every clip"].group == ()


def test_whispers_own_timing_answers_where_nothing_is_found_better() -> None:
    same = (0.5, 0.5, 0.2)
    found = answers(tables(*(planted(method, same) for method in (MEAN, ALIGNED, TIMING))))
    answer = found["word times"]
    assert answer.top.config.method == "whisper-timing"
    assert answer.beside is not None
    assert answer.beside.config.method == "alignment-heads"
    assert len(methods(answer)) == 3


def test_among_equals_the_cheapest_is_named() -> None:
    same = (0.5, 0.5, 0.2)
    found = answers(tables(planted(MEAN, same, seconds=0.5), planted(ALIGNED, same, seconds=0.1)))
    assert {found[purpose].top.config.method for purpose in ("interpreting", "every clip")} == {
        "alignment-heads"
    }
    assert methods(found["every clip"]) == {"mean-heads", "alignment-heads"}


def test_whispers_rule_to_the_letter_goes_before_what_reads_its_matrix() -> None:
    same = (0.5, 0.5, 0.2)
    letter = ("dtw-path", {"rows": "all"}, "attention", False)
    answer = answers(tables(*(planted(method, same) for method in (MEAN, TIMING, letter))))
    assert answer["word times"].top.config.label == "dtw-path:rows=all"


def test_one_than_which_another_was_found_better_is_no_answer() -> None:
    # The best mean varies so much that neither other can be told from it; of these the dearer is clearly better.
    best, better, cheap = (
        planted(method, (value, 0.5, 0.2), seconds=seconds)
        for method, value, seconds in ((MEAN, 0.6, 9), (ALIGNED, 0.55, 2), (TIMING, 0.5, 1))
    )
    column = best["utterances"]["pearson@spes-encoder"]
    best["utterances"]["pearson@spes-encoder"] = [
        value + (0.5, -0.5)[i % 2] for i, value in enumerate(column)
    ]
    found = answers(tables(best, better, cheap))
    assert "whisper-timing" in methods(found["interpreting"])
    for purpose in ("interpreting", "every clip"):
        assert found[purpose].top.config.method == "alignment-heads"


def varying(run: dict[str, Any], column: str, by: float) -> dict[str, Any]:
    """Let the values of a result vary so much between speakers that no other mean can be told from theirs."""
    values = run["utterances"][column]
    run["utterances"][column] = [value + (by, -by)[i % 2] for i, value in enumerate(values)]
    return run


def test_whispers_own_way_is_no_answer_where_another_was_found_better() -> None:
    first = varying(planted(MEAN, (0.5, 0.5, 0.6)), "onset-error@spes-encoder", 0.5)
    found = answers(
        tables(first, planted(ALIGNED, (0.5, 0.5, 0.65)), planted(TIMING, (0.5, 0.5, 0.7)))
    )["word times"]
    assert "whisper-timing" in methods(found)  # not told from the best mean, and yet beaten
    assert found.top.config.method == "mean-heads"
    assert found.beside is not None
    assert found.beside.config.method == "whisper-timing"


def test_what_leads_on_both_questions_but_was_beaten_on_one_is_no_answer() -> None:
    first = varying(planted(MEAN, (0.6, 0.1, 0.2)), "pearson@spes-encoder", 0.5)
    better = planted(ALIGNED, (0.55, 0.1, 0.2))
    beaten = planted(TIMING, (0.5, 0.9, 0.2))  # alone in leading by intervention
    found = answers(tables(first, better, beaten))["interpreting"]
    assert len(methods(found)) == 3  # so agreement alone answers
    assert found.top.unbeaten
    assert found.top.config.method in methods(found)


def test_of_about_equal_seconds_the_better_mean_is_named() -> None:
    found = answers(
        tables(planted(MEAN, (0.51, 0.5, 0.2), seconds=1.05), planted(ALIGNED, (0.5,) * 3))
    )
    assert found["every clip"].top.config.method == "mean-heads"


def test_what_learns_from_other_clips_is_not_cheap() -> None:
    learnt = planted(ALIGNED, (0.9, 0.5, 0.2), seconds=0.1)
    learnt["method"]["fitted"] = {"split": "dev", "n": 16, "choice": {"heads": [[0, 1]]}}
    found = answers(tables(learnt, planted(MEAN, (0.5, 0.5, 0.2))))
    assert found["every clip"].top.config.method == "mean-heads"
    assert found["interpreting"].top.config.method == "alignment-heads"


def test_another_model_has_another_answer(tmp_path: Path) -> None:
    runs = [
        planted(method, values, model=model)
        for model, first, second in (("m-one", 0.9, 0.1), ("m-two", 0.1, 0.8))
        for method, values in ((MEAN, (first,) * 3), (ALIGNED, (second,) * 3))
    ]
    made = tables(*runs)
    given = choices(made, [overall(made, *AGREEMENT)])
    named = {
        c.model.name: a.top.config.method
        for c in given
        for a in c.answers
        if c.model and a.purpose == "interpreting"
    }
    assert named == {"m-one": "mean-heads", "m-two": "alignment-heads"}
    assert given[0].model is None
    out = tmp_path / "site"
    build([write(tmp_path / "results", runs)], out)
    assert problems(out) == []
    home = (out / "index.html").read_text()
    assert home.count('<details name="choice"') == 3
    for choice in given[1:]:
        assert f"<bdi>{choice.model.title}</bdi>, <bdi>{choice.languages}</bdi>" in home
    assert "100 ms" in home  # the smaller error of word starts is the answer


def test_one_line_answers_for_a_model_and_language_whatever_the_task() -> None:
    translated = planted(MEAN, (0.5, 0.5, 0.5), task="demo-st")
    translated["task"]["target_language"] = "de"
    made = tables(
        *(planted(m, (v, 0.5, 0.4)) for m, v in ((MEAN, 0.3), (ALIGNED, 0.6))),
        *(planted(m, (0.1, 0.5, v), task="word-times") for m, v in ((MEAN, 0.05), (ALIGNED, 0.2))),
        translated,  # has a line of its own
    )
    given = choices(made, [over_all(made, *AGREEMENT), over_all(made, *DELETION)])
    assert [choice.languages for choice in given] == ["", "English", "English → German"]
    found = {answer.purpose: answer for answer in given[1].answers}
    tasks = {purpose: answer.task.name for purpose, answer in found.items() if answer.task}
    assert tasks == {
        "word times": "word-times",
        "interpreting": "demo-asr-en",
        "every clip": "demo-asr-en",
    }
    assert found["word times"].top.numbers.value == 0.05
    assert found["interpreting"].top.numbers.value == 0.6
    assert all(answer.task is None for answer in given[0].answers)


def test_an_interval_ends_where_values_of_its_metric_do() -> None:
    skewed = planted(MEAN, (0.5, 0.5, 0.2), task="word-times")
    skewed["utterances"]["onset-error@spes-encoder"] = [0.0] * 18 + [2.0, 2.0]
    score = skewed["scores"][2]
    score["value"], score["ci"] = 0.2, [-0.25, 0.65]
    made = tables(skewed)
    (board,) = made.select(metric="onset-error", reference="spes-encoder")
    assert (board.rows[0].low, board.rows[0].high) == (0.0, 0.65)
    (standing,) = over_all(made, *ONSET).standings
    assert standing.low == 0.0
    agreement = made.metrics["pearson"]
    assert (agreement.within(-0.5), agreement.within(1.2), agreement.within(None)) == (
        -0.5,
        1.0,
        None,
    )


def test_word_times_stand_on_the_pages_of_methods_and_models_in_seconds(tmp_path: Path) -> None:
    runs = [planted(m, (0.5, 0.5, 0.2), task="word-times") for m in (MEAN, ALIGNED, TIMING)]
    out = tmp_path / "site"
    build([write(tmp_path / "results", runs)], out)
    assert problems(out) == []
    for page in ("methods/whisper-timing", "models/xbench-tiny", "tasks/word-times"):
        text = (out / f"{page}.html").read_text()
        heading = next(line for line in text.splitlines() if "#metric-onset-error" in line)
        assert "spes-encoder" not in heading  # held against known times, not against the reference
        assert "Score</button>, s <small>" in text, page
    assert "Lower is better; in seconds." in (out / "tasks/word-times.html").read_text()
    about = (out / "about.html").read_text()
    assert "could be reached is not known: no theory for this metric." in about
    assert "no-ceiling" not in about


def test_the_page_of_the_method_for_word_times_begins_with_them(tmp_path: Path) -> None:
    runs = [
        planted(m, (0.5, 0.5, seconds), task="word-times")
        for m, seconds in ((MEAN, 0.3), (ALIGNED, 0.1))
    ]
    build([write(tmp_path / "results", runs)], tmp_path / "site")
    for name, first in (("alignment-heads", "onset-error"), ("mean-heads", "pearson")):
        text = (tmp_path / "site" / "methods" / f"{name}.html").read_text()
        heading = next(line for line in text.splitlines() if 'id="scores-1"' in line)
        assert f"#metric-{first}" in heading, name


def test_word_starts_are_answered_by_the_task_of_word_times_and_agreement_by_the_others() -> None:
    good, bad = 0.1, 0.5
    found = answers(
        tables(
            planted(MEAN, (good, 0.5, good)),
            planted(ALIGNED, (bad, 0.5, bad)),
            planted(MEAN, (bad, 0.5, bad), task="word-times"),
            planted(ALIGNED, (good, 0.5, good), task="word-times"),
        )
    )
    assert methods(found["word times"]) == {"alignment-heads"}
    assert found["word times"].top.numbers.value == good
    assert found["word times"].pairs == 1
    assert found["every clip"].pairs == 1
    # Where nothing else is scored, agreement is of these clips too.
    alone = tables(
        *(planted(m, (v, 0.5, v), task="word-times") for m, v in ((MEAN, 0.3), (ALIGNED, 0.6)))
    )
    table = over_all(alone, *AGREEMENT)
    assert [s.config.method for s in table.standings] == ["alignment-heads", "mean-heads"]


def test_too_few_speakers_are_said_and_nothing_is_called_best() -> None:
    runs = [planted(m, (0.5, 0.5, 0.2)) for m in (MEAN, ALIGNED)]
    for run in runs:
        run["utterances"]["cluster"] = ["one", "two"] * 10
    found = answers(tables(*runs))
    assert found["word times"].group == ()
    assert found["word times"].reason


def test_the_first_page_shows_the_leading_methods_and_the_floor() -> None:
    several = [("max-heads", {"heads": str(i)}, "attention", False) for i in range(LEADING + 3)]
    runs = [planted(m, (0.9 - 0.02 * i, 0.5, 0.2)) for i, m in enumerate(several)]
    table = overall(tables(*runs, planted(CONTROL, (0.0, 0.0, 0.9))), *AGREEMENT)
    shown = leading(table).standings
    assert [s.config.control for s in shown] == [False] * LEADING + [True]
    assert shown[:LEADING] == table.standings[:LEADING]


def test_every_section_of_a_model_has_the_same_number_of_lines() -> None:
    assert _lines_with_room([40, 3]) == 10_000
    assert _lines_with_room([70, 70, 70]) == 30
    assert _lines_with_room([100] * 20) == 1
    assert _lines_with_room([100] * 500) == 0
