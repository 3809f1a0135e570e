"""`xbench plot`: what is drawn, read back from the SVG text, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xbench import cli
from xbench.errors import UsageError
from xbench.plot.results import DRAWINGS, draw
from xbench.results import RunResult, short_labels

Make = Callable[..., RunResult]


@pytest.fixture
def results(make_result: Make) -> list[RunResult]:
    heads = [
        make_result("raw-attention", [0.1 * layer + 0.01 * head] * 6, layer=layer, head=head)
        for layer in range(2)
        for head in range(3)
    ]
    return [
        *heads,
        make_result("mean-heads", [0.5, 0.6, 0.7, 0.4, 0.5, 0.6], layers=1),
        make_result("random", [0.0] * 6, kind="control", cost=0.001),
        make_result("uniform", [None] * 6, kind="control"),
    ]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
@pytest.mark.parametrize("kind", ["forest", "heatmap", "heads", "pareto"])
def test_equal_results_give_equal_files(
    kind: str, suffix: str, results: list[RunResult], tmp_path: Path
) -> None:
    pictures = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for picture in pictures:
        draw(kind, results, str(picture))
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def svg(kind: str, results: list[RunResult], folder: Path, metric: str | None = None) -> str:
    path = folder / "figure.svg"
    draw(kind, results, str(path), metric)
    return path.read_text("utf-8")


def test_a_forest_names_methods_best_first_with_floor_and_ceiling(
    results: list[RunResult], tmp_path: Path
) -> None:
    text = svg("forest", results, tmp_path)
    named = [text.index(f">{name}<") for name in ("mean-heads", "raw-attention:head=2,layer=1")]
    assert named == sorted(named)
    assert ">floor (diagonal)<" in text
    assert ">ceiling<" in text
    assert ">uniform<" not in text, "a method without a value has no place on the axis"


def test_lower_is_better_turns_the_order(make_result: Make, tmp_path: Path) -> None:
    pair = [make_result("low", [0.1] * 5), make_result("high", [0.9] * 5)]
    text = svg("forest", pair, tmp_path)
    assert text.index(">high<") < text.index(">low<")
    pair = [make_result(n, [v] * 5, direction="lower") for n, v in (("low", 0.1), ("high", 0.9))]
    text = svg("forest", pair, tmp_path)
    assert text.index(">low<") < text.index(">high<")


def test_a_heatmap_writes_every_number_and_marks_missing_cells(
    make_result: Make, tmp_path: Path
) -> None:
    text = svg(
        "heatmap",
        [
            make_result("one", [0.25] * 5, model="m1"),
            make_result("one", [0.35] * 5, model="m2"),
            make_result("two", [0.75] * 5, model="m1"),
        ],
        tmp_path,
    )
    assert all(f">{number}<" in text for number in ("0.25", "0.35", "0.75", "–"))


def test_heads_need_single_heads(make_result: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="raw-attention:layer="):
        svg("heads", [make_result("mean-heads", [0.5] * 5)], tmp_path)


def test_only_the_front_of_a_pareto_picture_is_named(make_result: Make, tmp_path: Path) -> None:
    text = svg(
        "pareto",
        [
            make_result("cheap", [0.3] * 5, cost=0.01),
            make_result("dear", [0.6] * 5, cost=1.0),
            make_result("beaten", [0.2] * 5, cost=0.5),
        ],
        tmp_path,
    )
    assert ">cheap<" in text
    assert ">dear<" in text
    assert ">beaten<" not in text


def test_a_result_without_cost_is_left_out_or_refused(make_result: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cost"):
        svg("pareto", [make_result("a", [0.3] * 5, cost=None)], tmp_path)


def test_compare_states_the_mean_difference_over_common_utterances(
    make_result: Make, tmp_path: Path
) -> None:
    first = make_result("a", [0.5, 0.6, 0.7, 0.8, 0.9, 0.7])
    second = make_result("b", [0.4, 0.4, 0.4, 0.4, 0.4, None])
    # differences 0.1 0.2 0.3 0.4 0.5: mean 0.3, t(4) 2.776 * sqrt(0.025 / 5) = 0.196
    text = svg("compare", [first, second], tmp_path)
    assert "mean +0.300 [+0.104, +0.496]" in text


@pytest.mark.parametrize("count", [1, 3])
def test_compare_takes_two(count: int, make_result: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two results"):
        svg("compare", [make_result(f"m{i}", [0.5] * 5) for i in range(count)], tmp_path)


def test_compare_refuses_two_models_and_strangers(make_result: Make, tmp_path: Path) -> None:
    other = make_result("b", [0.5] * 5, model="n")
    with pytest.raises(UsageError, match="one task, model and metric"):
        svg("compare", [make_result("a", [0.5] * 5), other], tmp_path)
    with pytest.raises(UsageError, match="no utterance in common"):
        svg(
            "compare",
            [make_result("a", [None, 0.1]), make_result("b", [0.1, None])],
            tmp_path,
        )


@pytest.mark.parametrize("kind", DRAWINGS)
def test_nothing_to_draw_is_told(kind: str, make_result: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no result file"):
        draw(kind, [], str(tmp_path / "a.svg"))
    with pytest.raises(UsageError, match="none of the 1 results has a value"):
        draw(kind, [make_result("uniform", [None] * 5)], str(tmp_path / "a.svg"))
    with pytest.raises(UsageError, match="'auroc'"):
        draw(kind, [make_result("a", [0.1] * 5)], str(tmp_path / "a.svg"), "auroc")
    assert not list(tmp_path.iterdir())


def test_hostile_names_stay_text(make_result: Make, tmp_path: Path) -> None:
    text = svg("forest", [make_result("<script>x</script>$\\frac", [0.1] * 5)], tmp_path)
    assert "<script>" not in text


def run(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> int:
    monkeypatch.setattr(sys, "argv", ["xbench", "plot", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command_draws_files_and_folders(
    results: list[RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from xbench.results import reading

    monkeypatch.setattr(reading, "problems", lambda kind, data: [])
    monkeypatch.setattr(reading, "column_problems", lambda result: [])
    for index, result in enumerate(results):
        (tmp_path / f"{index}.json").write_text(result.to_json())
    out = tmp_path / "figure.svg"
    assert run(monkeypatch, "forest", tmp_path, "--out", out) == 0
    assert out.is_file()
    assert str(out) in capsys.readouterr().out
    assert run(monkeypatch, "pie", tmp_path, "--out", out) == 2
    assert "forest, heatmap, heads, pareto, compare" in capsys.readouterr().err
    assert run(monkeypatch, "forest", tmp_path / "none", "--out", out) == 2
    assert run(monkeypatch, "forest", tmp_path, "--out", "figure.gif") == 2


def test_labels_keep_the_parameters_that_tell_methods_apart(make_result: Make) -> None:
    methods = [
        make_result("raw-attention", [0.1], layer=0, head=1, scale=2).method,
        make_result("raw-attention", [0.1], layer=1, head=1, scale=2).method,
        make_result("mean-heads", [0.1], layers=3).method,
        make_result("rollout", [0.1]).method,
        make_result("rollout", [0.1], alpha=0.5).method,
    ]
    assert short_labels(methods) == [
        "raw-attention:layer=0",
        "raw-attention:layer=1",
        "mean-heads",
        "rollout",
        "rollout:alpha=0.5",
    ]


def of_revision(result: RunResult, revision: str) -> RunResult:
    return replace(result, model=replace(result.model, revision=revision))


@pytest.fixture
def namesakes(make_result: Make) -> list[RunResult]:
    """Return results of two checkpoints with one name: the second is worse by 0.5."""
    return [
        of_revision(make_result(name, [value] * 6), revision)
        for revision, drop in (("0123456789ab", 0.0), ("0123456789cd", 0.5))
        for name, value in (("mean-heads", 0.75 - drop), ("rollout", 0.65 - drop))
    ]


def test_two_models_of_one_name_stay_two(namesakes: list[RunResult], tmp_path: Path) -> None:
    drawn = svg("heatmap", namesakes, tmp_path)
    for number in ("0.75", "0.65", "0.25", "0.15"):
        assert f">{number}<" in drawn
    assert ">(0123456789a)<" in drawn
    assert ">(0123456789c)<" in drawn
    assert svg("forest", namesakes, tmp_path).count(">mean-heads<") == 2


def test_columns_of_a_heatmap_are_as_wide_as_the_names_of_their_models(
    namesakes: list[RunResult], tmp_path: Path
) -> None:
    name = "whisper:" + "checkpoint-1000-" * 3
    long = [replace(r, model=replace(r.model, name=name)) for r in namesakes]

    def points(results: list[RunResult]) -> float:
        return float(svg("heatmap", results, tmp_path).split('width="')[1].split("pt")[0])

    letters = 2 * len(name) - 2 * 15  # of two columns, beyond what a narrow one has room for
    assert points(long) - points(namesakes) > letters * 4  # points of a letter


def test_a_name_that_one_model_has_stays_as_it_is(results: list[RunResult], tmp_path: Path) -> None:
    assert ">t | m<" in svg("forest", results, tmp_path)
