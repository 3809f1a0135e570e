"""Rows, ranks and standings: from xbench.stats, for the right rows, in the right order."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import METHODS, head, result, write

from xbench import stats
from xbench.site.load import read_results
from xbench.site.overall import balanced, over_all, overall
from xbench.site.pages.rests import rests_of
from xbench.site.ranking import Values, _places, rank
from xbench.site.speech import speech_of
from xbench.site.tables.tabulate import Tables, tabulate

KEY = ("pearson", "spes-encoder")


def tables_of(folder: Path, results: list) -> Tables:
    accepted, refused = read_results([write(folder, results)])
    assert not refused
    return tabulate(accepted)


def test_a_board_has_the_ranks_of_stats_and_its_rows_best_first(tmp_path: Path) -> None:
    results = [result(method=method) for method in METHODS[:6]]
    tables = tables_of(tmp_path, results)
    (board,) = tables.select(metric=KEY[0], reference=KEY[1])
    by_label = {row.config.label: row for row in board.rows}
    column = "pearson@spes-encoder"
    names = [row.config.label for row in board.rows]
    compared = stats.compare(
        names,
        [by_label[name].run.data["utterances"][column] for name in names],
        results[0]["utterances"]["cluster"],
        higher_is_better=True,
        seed=0,
    )
    assert tuple(names) == compared.order
    for name, row in by_label.items():
        assert row.best == (name in compared.best_group)
        assert row.rank == row.rank_low == (1 if row.best else compared.rank_low[name])
        assert row.rank_high == compared.rank_high[name]
    assert board.rows[0].best
    assert 1 < sum(row.best for row in board.rows) < 6  # some share rank 1, some do not
    assert board.rows[-1].rank > 1


def test_where_lower_is_better_the_smallest_is_first(tmp_path: Path) -> None:
    results = [result(method=m, scores=[("sufficiency-eraser", None)]) for m in METHODS[:4]]
    (board,) = tables_of(tmp_path, results).select(metric="sufficiency-eraser")
    values = [row.value for row in board.rows]
    assert values == sorted(values)  # type: ignore[type-var]  # none is None
    assert board.rows[0].rank == 1
    ranks = [row.rank for row in board.rows if row.rank is not None]
    assert ranks == sorted(ranks)


def test_a_control_is_compared_but_takes_no_rank(tmp_path: Path) -> None:
    methods = [*METHODS[:3], METHODS[11]]
    (board,) = tables_of(tmp_path, [result(method=m) for m in methods]).select(metric=KEY[0])
    (control,) = [row for row in board.rows if row.config.control]
    assert (control.rank, control.rank_reason, control.best) == (None, "control", False)
    assert {row.rank_high for row in board.rows if row is not control} <= {1, 2, 3}
    assert sum(control.config.slug in (p.a, p.b) for p in board.pairs) == 3
    table = overall(tables_of(tmp_path, [result(method=m) for m in methods]), *KEY)
    assert [s.rank is None for s in table.standings] == [s.config.control for s in table.standings]


def test_the_leading_group_shares_rank_1_though_one_of_it_was_found_worse_than_another() -> None:
    def pair(first: str, second: str, difference: float) -> stats.Pair:
        return stats.Pair(first, second, difference, None, None, 0.01, 9, 9)

    apart = [pair("b", "c", 0.1), pair("a", "d", 0.2), pair("b", "d", 0.2), pair("x", "c", 0.3)]
    places = _places(["a", "b", "c", "d"], apart, higher=True)
    assert {name: (p.rank, p.high, p.best) for name, p in places.items()} == {
        "a": (1, 3, True),
        "b": (1, 2, True),
        "c": (1, 4, True),
        "d": (3, 4, False),
    }
    turned = _places(["d", "c", "b", "a"], apart, higher=False)
    assert [turned[name].rank for name in "dcba"] == [1, 1, 3, 2]


def test_each_pair_of_task_and_model_weighs_the_same() -> None:
    def values(*numbers: float) -> Values:
        names = tuple(map(str, range(len(numbers))))
        return Values(names, tuple("s" + name for name in names), np.array(numbers))

    given = values(1.0, 1.0, 1.0, 0.0)
    found = balanced(given, [3, 1])
    assert found.column == pytest.approx([0.5 + 2 / 3 * 0.5] * 3 + [0.5 - 2 * 0.5])
    assert found.numbers.mean() == pytest.approx(0.5)
    assert (found.names, found.clusters) == (given.names, given.clusters)
    one = values(0.1, math.nan)
    assert balanced(one, [2]) is one
    # What has no value weighs nothing, and a pair without any counts for none.
    part = values(1.0, 1.0, 1.0, math.nan, math.nan, 0.0)
    assert balanced(part, [3, 1, 2]).column == [*found.column[:3], None, None, found.column[3]]


def test_contenders_are_compared_on_the_utterances_that_they_share() -> None:
    names = tuple(f"u{n}" for n in range(8))
    a = Values(names, names, np.arange(8.0))
    turned = Values(names[::-1], names[::-1], np.arange(8.0)[::-1] - 1)
    more = Values((*names, "v"), (*names, "v"), np.array([*np.arange(8.0) - 2, 99.0]))
    found = rank({"a": a, "turned": turned, "more": more}, higher=True)
    differences = {(p.a, p.b): (p.difference, p.n) for p in found.pairs}
    assert differences == {
        ("more", "a"): (-2, 8),
        ("more", "turned"): (-1, 8),
        ("a", "turned"): (1, 8),
    }


def test_the_mean_over_pairs_and_what_the_other_weighting_would_say(tmp_path: Path) -> None:
    sizes = {"task-a": 30, "task-b": 6}
    results = [
        result(task, method=m, utterances=n) for m in METHODS[:8] for task, n in sizes.items()
    ]
    table = overall(tables_of(tmp_path, results), *KEY)
    column = "pearson@spes-encoder"
    by_pair, by_clip = {}, {}
    for standing in table.standings:
        facts = standing.config.facts
        columns = [
            r["utterances"][column]
            for r in results
            if (r["method"]["name"], r["method"]["params"])
            == (standing.config.method, dict(facts["params"]))
        ]
        by_pair[standing.config.slug] = sum(sum(c) / len(c) for c in columns) / 2
        by_clip[standing.config.slug] = sum(map(sum, columns)) / 36
        assert standing.value == pytest.approx(by_pair[standing.config.slug], abs=1e-4)
        assert standing.low < standing.value < standing.high
        assert standing.n == 36
    order = sorted(by_pair, key=by_pair.get, reverse=True)
    turned = sum(by_clip[a] < by_clip[b] for i, a in enumerate(order) for b in order[i + 1 :])
    assert table.weighting.turned == turned == 2
    assert table.weighting.of == 28
    assert table.weighting.leader.slug == max(by_clip, key=by_clip.get)


def test_what_means_rest_on_and_that_the_demo_stands_apart_from_recorded_speech(
    tmp_path: Path,
) -> None:
    demo = [result(task, method=m) for m in METHODS[:2] for task in ("task-a", "task-b")]
    tables = tables_of(tmp_path / "demo", demo)
    rests = rests_of(tables, over_all(tables, *KEY))
    assert (rests.clips, rests.speakers, rests.languages) == (12, 8, ("en",))  # in both tasks
    assert [(p.speech, p.clips, p.speakers) for p in rests.pairs] == [("synthetic", 12, 8)] * 2
    assert (rests.synthetic, rests.apart) == (2, ())
    real = [result("real", method=m, texts=("made up", "librispeech")) for m in METHODS[:2]]
    tables = tables_of(tmp_path / "both", demo + real)
    table = over_all(tables, *KEY)
    rests = rests_of(tables, table)
    assert [(p.task.name, p.speech) for p in rests.pairs] == [("real", "recorded")]
    assert [task.name for task in rests.apart] == ["task-a", "task-b"]
    assert len(overall(tables, *KEY).cells) == 3
    # The clips that this project chose are known to be speech; of others that somebody gives nobody knows.
    for name, speech in (("real-speech-asr-en", "recorded"), ("my-clips", "not stated")):
        given = [result("given", method=m) for m in METHODS[:2]]
        for one in given:
            one["task"]["dataset"]["name"] = name
        table = over_all(tables_of(tmp_path / name, given), *KEY)
        assert [speech_of(task) for task, _ in table.cells] == [speech]


def test_single_heads_oracles_and_missing_values_are_shown_but_not_ranked(tmp_path: Path) -> None:
    oracle = result(method=METHODS[3])
    oracle["method"]["fitted"] = {"split": "oracle", "n": 12, "choice": {}}
    results = [
        result(method=METHODS[0]),
        result(method=METHODS[5]),
        result(method=head(1, 2)),
        result(method=METHODS[13], missing=True),
        oracle,
    ]
    (board,) = tables_of(tmp_path, results).select(metric=KEY[0])
    reasons = {row.config.label: row.rank_reason for row in board.rows}
    assert reasons["raw-attention:head=2,layer=1"] == "single-head"
    assert reasons["value-norm (oracle)"] == "oracle"
    assert reasons["uniform"] == "no-value"
    assert board.rows[-1].config.label == "uniform"  # missing values last
    assert board.rows[-1].reason == "constant-map"
    assert sum(row.rank is not None for row in board.rows) == 2


def test_a_run_without_scores_is_a_row_with_its_reason(tmp_path: Path) -> None:
    run = result()
    run |= {"status": "unsupported", "reason": "layer 9 does not exist", "scores": []}
    run["utterances"] = {"id": [], "cluster": [], "map_hash": []}
    (row,) = tables_of(tmp_path, [run]).rows
    assert row.value is None
    assert row.reason == "layer 9 does not exist"


def test_the_same_name_with_other_clips_is_another_task(tmp_path: Path) -> None:
    results = [result(), result(method=METHODS[1]), result(utterances=20)]
    tables = tables_of(tmp_path, results)
    assert len(tables.tasks) == 2
    assert tables.tasks[0].title == "demo-asr-en"  # the variant with more runs keeps the name
    assert tables.tasks[1].title.startswith("demo-asr-en (20 clips")
    assert len({task.slug for task in tables.tasks}) == 2


def test_names_that_differ_only_in_case_get_their_own_pages(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, [result(model="Model"), result(model="model")])
    assert sorted(m.slug for m in tables.models)[0] == "model"
    assert len({m.slug for m in tables.models}) == 2


def test_gates_and_new_fields_are_optional(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, [result()])
    assert tables.runs[0].gates == ()


def test_overall_compares_on_the_largest_block_and_names_what_lies_outside(tmp_path: Path) -> None:
    # Three methods on two tasks (6 scores) beat four methods on one (4).
    results = [
        result(task, method=method) for method in METHODS[:3] for task in ("task-a", "task-b")
    ]
    results.append(result("task-a", method=METHODS[3]))
    table = overall(tables_of(tmp_path, results), *KEY)
    assert len(table.standings) == 3
    assert [task.title for task, _ in table.cells] == ["task-a", "task-b"]
    assert [(h.config.label, h.cells) for h in table.missing] == [("value-norm", 1)]
    first = table.standings[0]
    runs = [
        r
        for r in results
        if r["method"]["params"] == dict(first.config.facts["params"])
        and r["method"]["name"] == first.config.method
    ]
    values = [v for r in runs for v in r["utterances"]["pearson@spes-encoder"]]
    assert first.value == pytest.approx(sum(values) / len(values), abs=1e-4)
    assert first.n == len(values)
    assert first.n_clusters == 8  # a speaker of both tasks is one cluster


def test_many_methods_on_one_task_beat_one_method_on_two(tmp_path: Path) -> None:
    results = [result("task-a", method=method) for method in METHODS[:4]]
    results.append(result("task-b", method=METHODS[0]))
    table = overall(tables_of(tmp_path, results), *KEY)
    assert len(table.standings) == 4
    assert [task.title for task, _ in table.cells] == ["task-a"]


def test_overall_of_nothing_is_empty(tmp_path: Path) -> None:
    table = overall(tables_of(tmp_path, [result(missing=True)]), *KEY)
    assert table.standings == ()


def front(points: list[tuple[float, float]]) -> tuple[bool, ...]:
    return tuple(stats.pareto_front([c for c, _ in points], [s for _, s in points]))


def test_front_by_hand() -> None:
    points = [(1.0, 0.2), (2.0, 0.5), (2.0, 0.4), (3.0, 0.5), (4.0, 0.9), (1.0, 0.2)]
    assert front(points) == (True, True, False, False, True, True)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=15))
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    points_ = [(float(c), float(s)) for c, s in points]
    expected = tuple(
        not any((c2 <= c and s2 >= s) and (c2, s2) != (c, s) for c2, s2 in points_)
        for c, s in points_
    )
    assert front(points_) == expected


def test_the_order_of_files_changes_nothing(tmp_path: Path) -> None:
    results = [result(f"task-{t}", method=m) for t in range(2) for m in METHODS[:5]]
    shuffled = list(results)
    random.Random(1).shuffle(shuffled)
    first, second = tables_of(tmp_path / "a", results), tables_of(tmp_path / "b", shuffled)
    assert [(r.run.id, r.metric, r.rank) for r in first.rows] == [
        (r.run.id, r.metric, r.rank) for r in second.rows
    ]


def test_a_score_without_values_per_utterance_is_shown_but_never_counted_as_zero(
    tmp_path: Path,
) -> None:
    run = result(method=METHODS[1])
    run["utterances"]["pearson@spes-encoder"] = [None] * 12
    tables = tables_of(tmp_path, [result(), run])
    (board,) = tables.select(metric=KEY[0])
    (row,) = [row for row in board.rows if row.run.data["method"]["params"]["layers"] == "last"]
    assert row.value is not None
    assert row.rank_reason == "no-values-per-utterance"
    table = overall(tables, *KEY)
    assert [s.config.label for s in table.standings] == ["mean-heads"]
    assert [holes.reasons.most for holes in table.missing] == ["no-values-per-utterance"]


def test_boards_stand_by_task_in_natural_order_what_ranks_the_task_first(tmp_path: Path) -> None:
    scores = [("deletion-auc", None), *([KEY])]
    results = [result(f"task-{t}", scores=scores) for t in (10, 2)]
    boards = tables_of(tmp_path, results).boards
    assert [(b.task.title, b.metric) for b in boards] == [
        ("task-2", "pearson"),
        ("task-2", "deletion-auc"),
        ("task-10", "pearson"),
        ("task-10", "deletion-auc"),
    ]
