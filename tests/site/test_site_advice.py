"""What the first page advises, and which costs share a front."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from synthetic import METHODS, result, write

from xbench.site.build import Options, build, slim
from xbench.site.check import problems
from xbench.site.load import Result
from xbench.site.overall import overall
from xbench.site.pages.cost import peak_memory
from xbench.site.pages.fronts import cost_fronts
from xbench.site.pages.home import advice
from xbench.site.pages.purposes import choices
from xbench.site.render import leaderboard_folder
from xbench.site.tables.tabulate import Tables, tabulate

SCORES = (("pearson", "spes-encoder"), ("deletion-auc", None))
AGREEMENT, INTERVENTION = SCORES
FAST, SLOW, OTHER, CONTROL = METHODS[0], METHODS[9], METHODS[5], METHODS[12]


def tables(*results: dict[str, Any]) -> Tables:
    return tabulate([Result(f"{i}.json", "0" * 64, run) for i, run in enumerate(results)])


def planted(
    method: Any, seconds: float, scores: dict[str, float], device: str = "cpu", **more: Any
) -> dict[str, Any]:
    """Return a result whose values per utterance lie closely around the wanted scores."""
    run = result(method=method, scores=SCORES, utterances=20, clusters=10, **more)
    for score in run["scores"]:
        name = score["metric"] + (f"@{score['reference']}" if score["reference"] else "")
        value = scores[score["metric"]]
        run["utterances"][name] = [
            round(value + 0.001 * (i % 5 - 2) + 0.0001 * len(method[0]), 6) for i in range(20)
        ]
        score["value"] = value
    run["cost"] |= {"seconds": seconds, "seconds_per_audio_second": seconds, "device": device}
    return run


def both(agreement: float, intervention: float) -> dict[str, float]:
    return {"pearson": agreement, "deletion-auc": intervention}


def advised(*results: dict[str, Any]) -> Any:
    made = tables(*results)
    return advice([overall(made, *key) for key in SCORES])


def test_the_advice_is_the_cheapest_of_those_that_lead_on_every_score() -> None:
    # Equal values: nobody can be told apart, so price decides; the control is cheaper and no explanation.
    same = [both(0.6, 0.8)] * 3
    found = advised(
        planted(SLOW, 3.0, same[0]), planted(FAST, 0.01, same[1]), planted(CONTROL, 1e-4, same[2])
    )
    leaders = {s.config.method for s in found.tops}
    assert found.device == "cpu"
    assert len(leaders) == 1
    assert leaders <= {"mean-heads", "occlusion"}
    assert [s.n for s in found.tops] == [20, 20]


def test_no_advice_where_the_scores_disagree() -> None:
    found = advised(planted(FAST, 0.01, both(0.9, 0.1)), planted(SLOW, 3.0, both(0.1, 0.9)))
    assert found.tops == []
    assert len(found.tables) == 2
    # So each question has its own answer.
    assert [(s.config.method, leading) for s, leading in found.each] == [
        ("mean-heads", 1),
        ("occlusion", 1),
    ]


def test_the_first_page_names_a_method_for_each_question_where_the_scores_disagree(
    tmp_path: Path,
) -> None:
    runs = [planted(FAST, 0.01, both(0.9, 0.1)), planted(SLOW, 3.0, both(0.1, 0.9))]
    build([write(tmp_path / "results", runs)], tmp_path / "site", Options())
    home = (tmp_path / "site" / "index.html").read_text()
    told = home[home.index("No method leads on both questions") :].partition("</p>")[0]
    first, second = told.split("begin with")[1:]
    assert "methods/mean-heads.html" in first
    assert "methods/occlusion.html" in second


def test_a_dearer_method_that_leads_alone_is_advised() -> None:
    found = advised(planted(FAST, 0.01, both(0.3, 0.3)), planted(SLOW, 3.0, both(0.6, 0.8)))
    assert [s.config.method for s in found.tops] == ["occlusion", "occlusion"]
    assert found.unbeaten == 1


def test_without_results_there_is_no_advice() -> None:
    assert advice([]) is None


def test_the_reference_drawn_again_leads_nothing_against_itself() -> None:
    again = ("spes-encoder", {"masks": 2000}, "perturbation", False)
    made = tables(
        planted(again, 0.1, both(0.9, 0.9)),
        planted(FAST, 0.5, both(0.5, 0.5)),
        planted(SLOW, 0.2, both(0.3, 0.3)),
    )
    board = made.select(metric=AGREEMENT[0], reference=AGREEMENT[1])[0]
    assert board.rows[0].config.method == "spes-encoder"
    assert board.rows[0].rank_reason == "the-reference-drawn-again"
    agreement = overall(made, *AGREEMENT)
    assert [(s.config.method, s.rank) for s in agreement.standings] == [
        ("spes-encoder", None),
        ("mean-heads", 1),
        ("occlusion", 2),
    ]
    assert [s.config.method for s in agreement.best] == ["mean-heads"]
    answers = {answer.purpose: answer for answer in choices(made, [agreement])[0].answers}
    assert answers["interpreting"].top.config.method == "mean-heads"
    # It costs less than both and scores higher, and still both stand on the front.
    chart = cost_fronts(agreement)[0]
    assert {line.standing.config.method: line.front for line in chart.lines} == {
        "spes-encoder": False,
        "mean-heads": True,
        "occlusion": True,
    }
    assert all(line.beaten_by is None for line in chart.lines[1:])
    # What happens to the output is another question, and there it is a method like others.
    intervention = overall(made, *INTERVENTION)
    assert [s.config.method for s in intervention.best] == ["spes-encoder"]


def test_seconds_of_two_devices_never_share_a_front() -> None:
    made = tables(
        planted(FAST, 0.5, both(0.5, 0.5)),
        planted(OTHER, 0.9, both(0.4, 0.5)),  # beaten on its own device
        planted(SLOW, 0.2, both(0.6, 0.5), device="gpu"),  # would beat both, elsewhere
        planted(CONTROL, 0.0001, both(0.1, 0.5)),
    )
    charts = cost_fronts(overall(made, *AGREEMENT))
    assert [c.label.partition(" on ")[2] for c in charts] == [
        "cpu (log scale)",
        "gpu (log scale)",
        "",
    ]
    on = [{line.standing.config.method: line.front for line in c.lines} for c in charts]
    assert on[0] == {"mean-heads": True, "chefer": False, "random": False}
    assert on[1] == {"occlusion": True}
    said = {s.config.method: why for s, why in charts[0].unpriced}
    assert said == {"occlusion": "timed on gpu"}
    beaten = {line.standing.config.method: line.beaten_by for line in charts[0].lines}
    assert beaten["chefer"].config.method == "mean-heads"


def test_floor_and_ceiling_are_means_that_weigh_tasks_equally() -> None:
    first = planted(FAST, 0.1, both(0.5, 0.5))
    second = planted(FAST, 0.1, both(0.5, 0.5), task="demo-st")
    name = "pearson@spes-encoder"
    second["utterances"][f"floor:{name}"] = [0.3] * 5 + [None] * 15
    second["utterances"][f"ceiling:{name}"] = [0.6] * 20
    (standing,) = overall(tables(first, second), *AGREEMENT).standings
    # By clip the floor would be (20 x 0.12 + 5 x 0.3) / 25 = 0.156.
    assert (standing.floor, standing.ceiling) == (0.21, 0.735)
    second["utterances"][f"floor:{name}"] = first["utterances"][f"floor:{name}"] = [None] * 20
    (standing,) = overall(tables(first, second), *AGREEMENT).standings
    assert (standing.floor, standing.ceiling) == (None, 0.735)


def test_a_few_clips_that_another_run_of_the_model_holds_are_not_counted_again() -> None:
    def few(method: Any, agreement: float, **other: Any) -> dict[str, Any]:
        run = planted(method, 0.1, both(agreement, 0.5), **other)
        run["task"]["dataset"] |= {"name": "few", "fingerprint": "f" * 64, "n": 8}
        run["utterances"] = {name: cells[:8] for name, cells in run["utterances"].items()}
        return run

    whole = [planted(FAST, 0.1, both(0.5, 0.5)), planted(SLOW, 0.1, both(0.6, 0.5))]
    for others, value, n in (
        ([few(FAST, 0.9), few(SLOW, 0.1)], 0.5, 20),
        ([few(FAST, 0.9, texts=["other words"]), few(SLOW, 0.1, texts=["other words"])], 0.7, 28),
        ([few(FAST, 0.9, model="another"), few(SLOW, 0.1, model="another")], 0.7, 28),
        ([few(FAST, 0.9, task="another"), few(SLOW, 0.1, task="another")], 0.7, 28),
    ):
        table = overall(tables(*whole, *others), *AGREEMENT)
        (fast,) = [s for s in table.standings if s.config.method == FAST[0]]
        assert (round(fast.value, 2), fast.n) == (value, n)
        assert not table.missing


def test_a_method_timed_on_two_devices_is_on_no_front_of_seconds() -> None:
    results = [
        planted(method, 0.5, both(0.5, 0.5), device=device, task=task)
        for method in (FAST, SLOW)
        for task, device in (
            ("demo-asr-en", "cpu"),
            ("demo-st", "gpu" if method is SLOW else "cpu"),
        )
    ]
    table = overall(tables(*results), *AGREEMENT)
    assert {s.config.method: s.devices for s in table.standings} == {
        "mean-heads": ("cpu",),
        "occlusion": ("cpu", "gpu"),
    }
    seconds, passes = cost_fronts(table)
    assert [line.standing.config.method for line in seconds.lines] == ["mean-heads"]
    assert len(passes.lines) == 2


@pytest.mark.parametrize("devices", [("cpu", "cpu"), ("cpu", "gpu")])
def test_the_pages_say_so(tmp_path: Path, devices: tuple[str, str]) -> None:
    runs = [
        planted(method, 0.1, both(0.5, 0.5), device=device)
        for method, device in zip((FAST, SLOW), devices, strict=True)
    ]
    build([write(tmp_path / "results", runs)], tmp_path / "site", Options())
    home = (tmp_path / "site" / "index.html").read_text()
    assert "Begin with " in home
    assert "20 clips of 10 speakers, few" in home
    cost = (tmp_path / "site" / "cost.html").read_text()
    # One chart of seconds per device and one of passes, for each of the two scores.
    assert cost.count('<svg class="pareto"') == 2 * (len(set(devices)) + 1)


def test_a_chart_without_room_keeps_its_front_and_the_best() -> None:
    made = tables(
        planted(FAST, 0.1, both(0.3, 0.5)),  # cheapest, so on the front
        planted(OTHER, 0.5, both(0.4, 0.5)),
        planted(SLOW, 0.9, both(0.2, 0.5)),
        planted(METHODS[2], 0.8, both(0.6, 0.5)),
    )
    chart = cost_fronts(overall(made, *AGREEMENT), most=1)[0]
    shown = {line.standing.config.method: line.front for line in chart.lines}
    assert shown == {"mean-heads": True, "chefer": True, "max-heads": True}
    assert chart.left_out == 1
    assert cost_fronts(overall(made, *AGREEMENT))[0].left_out == 0


def test_seconds_of_several_runs_have_a_range() -> None:
    results = [
        planted(FAST, seconds, both(0.5, 0.5), task=task)
        for task, seconds in (("demo-asr-en", 0.5), ("demo-st", 0.7))
    ]
    (standing,) = overall(tables(*results), *AGREEMENT).standings
    assert standing.seconds_range == (0.5, 0.7)
    (one,) = overall(tables(results[0]), *AGREEMENT).standings
    assert one.seconds_range is None


UNKNOWN = dict.fromkeys(
    (
        "forward_passes",
        "backward_passes",
        "seconds",
        "seconds_per_audio_second",
        "peak_memory_bytes",
    )
)


def test_maps_that_others_made_have_no_cost_and_the_pages_say_so(tmp_path: Path) -> None:
    runs = [planted(method, 0.1, both(0.5, 0.5)) for method in (FAST, OTHER)]
    runs[1]["cost"] |= UNKNOWN
    out = tmp_path / "site"
    build([write(tmp_path / "results", runs)], out, Options())
    assert problems(out) == []
    cost = (out / "cost.html").read_text()
    assert cost.count("<bdi>chefer</bdi> (not recorded)") == 4  # seconds and passes, of two scores
    table = json.loads((out / "data/results.json").read_text())["runs"]
    known = dict(zip(table["id"]["v"], table["memory"]["v"], strict=True))
    assert sorted(known.values(), key=str) == [590, None]
    assert sorted(map(str, table["passes"]["v"])) == ["1.0", "None"]


def test_one_run_without_a_count_leaves_passes_and_seconds_unknown() -> None:
    results = [planted(FAST, 0.5, both(0.5, 0.5), task=task) for task in ("demo-asr-en", "demo-st")]
    results[1]["cost"] |= UNKNOWN
    (standing,) = overall(tables(*results), *AGREEMENT).standings
    assert (standing.seconds, standing.passes) == (None, None)


def test_peak_memory_is_that_of_a_command_and_makes_no_front() -> None:
    shared = [planted(method, 0.1, both(0.5, 0.5)) for method in (FAST, OTHER)]
    alone = planted(SLOW, 0.1, both(0.5, 0.5), task="demo-st")
    silent = planted(SLOW, 0.1, both(0.5, 0.5), task="demo-multi")
    shared[1]["cost"]["peak_memory_bytes"] = 700_000_000
    alone["cost"]["peak_memory_bytes"] = 2_000_000_000
    silent["cost"]["peak_memory_bytes"] = None
    lines = peak_memory(tables(*shared, alone, silent))
    assert [(x.submission.task.title, x.methods, x.peak) for x in lines] == [
        ("demo-st", 1, 2000),
        ("demo-asr-en", 2, 700),
        ("demo-multi", 1, None),
    ]


def test_scripts_are_shipped_without_comments_and_white_space() -> None:
    given = "// why\nconst a = 1;   // no\n\n  if (a) {\n    b('// stays', `x  ${a}\n  y`);\n  }\n"
    assert slim("a.js", given) == "const a=1;if(a){b('// stays',`x  ${a}\n  y`);}"
    assert slim("a.css", "/* box */\n  a > b { c: calc(1px + 2px); }\n") == "a>b{c:calc(1px + 2px)}"
    assert slim("a.svg", "<svg> </svg>") == "<svg> </svg>"


def test_no_script_holds_a_template_within_a_template() -> None:
    """White space of the inner one would be lost when scripts are shipped."""
    for script in (leaderboard_folder() / "assets").glob("*.js"):
        assert not re.search(r"`[^`\n]*\$\{[^}`\n]*`", script.read_text("utf-8")), script.name
