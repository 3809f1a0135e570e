"""`xbench report replication`: which result fills which row, and the arithmetic of hours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from xbench import tasks
from xbench.cli import replication as report
from xbench.errors import UsageError
from xbench.results import (
    CeilingRecord,
    Cost,
    DatasetRecord,
    Interval,
    MethodRecord,
    ModelRecord,
    Provenance,
    QualityRecord,
    ReferenceRecord,
    RunResult,
    ScoreRecord,
    TaskRecord,
)

NONE = Interval(None, None, "no-values", None)
CEILING = CeilingRecord(None, None, "no-values", None, None, None)


def result(
    task: str = "paper-asr-en",
    method: str = "mean-heads",
    rho: Mapping[str, float | None] | None = None,
    masks: int = 20_000,
    **params: str,
) -> RunResult:
    rho = {"spes-input": 0.5, "spes-encoder": 0.6} if rho is None else rho
    return RunResult(
        status="complete",
        reason=None,
        task=TaskRecord(
            *(task, 1, "h", "asr", ["en"], None, "paper", "test"),
            *({"ids": [], "limit": None}, {"window": "block"}, {"beams": 5}),
            *({"metric": "pearson-paper", "reference": "spes-input"}, "diagonal"),
            DatasetRecord("europarl-st", None, "f", 1130),
        ),
        model=ModelRecord("fama-small", "FBK-MT/fama-small", "1", "A", 1, "float32", False),
        method=MethodRecord(
            method,
            "1",
            {"heads": "all", "layers": "all", **params},
            "attention",
            "encoder",
            False,
            False,
            True,
        ),
        references=[
            ReferenceRecord(
                *(name, "1", {}, "masked-mean", [masks // 2, masks // 2], None, NONE, {}),
                *(None, None, masks, 1.0),
            )
            for name in rho
        ],
        quality=QualityRecord("wer", 11.74, 1130, 0, 50.0, None),
        scores=[
            ScoreRecord(
                *("pearson-paper", name, value, None, None, None, 1, 1, False, {}, NONE, CEILING),
                *(NONE, NONE, "higher"),
            )
            for name, value in rho.items()
        ],
        utterances={"id": [], "cluster": [], "map_hash": []},
        failures=[],
        cost=Cost(1, 0, 0.0, None, 1, "cpu"),
        provenance=Provenance(
            *("0", "3", {}, None, [], ["xbench"], 0, "0" * 16),
            *("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00"),
        ),
    )


def cells(table: str, start: str) -> list[str]:
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def test_without_results_the_column_is_empty() -> None:
    table = report.replication([])
    assert cells(table, "quantity")[-1] == "this run"
    assert cells(table, "WER, en ASR") == [
        "WER, en ASR",
        "base 9.5, small 11.7, large 11.1",
        "digest",
        "–",
    ]


def test_a_run_fills_its_rows() -> None:
    layer = result(rho={"spes-input": 0.58, "spes-encoder": 0.7}, layers="5")
    table = report.replication([result(), layer])
    assert cells(table, "quantity")[-1] == "fama-small"
    assert cells(table, "WER, en ASR")[-1] == "11.7"
    assert cells(table, "WER, it ASR")[-1] == "–"
    assert cells(table, "rho(CA, SM^X), all layers and heads, en ASR")[-1] == (
        "0.500 `mean-heads:heads=all,layers=all`"
    )
    assert (
        cells(table, "rho(CA, SM^X), best aggregate")[-1] == "0.580 `mean-heads:heads=all,layers=5`"
    )
    assert cells(table, "rho(CA, SM^H), best aggregate, en ASR")[-1] == (
        "0.700 `mean-heads:heads=all,layers=5`"
    )
    assert cells(table, "context mixing")[-1] == "+0.100"
    assert cells(table, "deletion, CA")[-1] == "–"


def deletion(method: str, value: float, **params: str) -> RunResult:
    made = result(method=method)
    if method == "spes":
        made = replace(made, method=replace(made.method, params={"masks": 20_000}))
    given = {"rows": "generated", "text": "plain", **params}
    score = replace(
        made.scores[0],
        metric="deletion-auc-free-input",
        reference=None,
        value=value,
        metric_params=given,
    )
    return replace(made, scores=[score])


def test_deletion_as_published_fills_its_rows_and_no_other_deletion_does() -> None:
    table = report.replication(
        [
            deletion("spes", 91.26, resolution="cells"),
            deletion("spes", 52.91, resolution="frames"),
            deletion("mean-heads", 41.17, resolution="frames"),
            deletion("mean-heads", 99.0, resolution="frames", text="normalised"),
            deletion("alti", 98.0, resolution="frames"),
        ]
    )
    assert cells(table, "deletion, SM^X at full resolution")[-1] == "91.3"
    assert cells(table, "deletion, SM^X on encoder frames")[-1] == "52.9"
    assert cells(table, "deletion, CA")[-1] == "41.2"


def test_two_models_of_one_name_are_two_columns() -> None:
    one = result(rho={"spes-input": 0.58})
    other = replace(
        result(rho={"spes-input": 0.11}), model=replace(one.model, revision="abcdefghij")
    )
    row = cells(report.replication([one, other]), "rho(CA, SM^X), all layers and heads, en ASR")
    assert sorted(row[-2:]) == [
        "0.110 `mean-heads:heads=all,layers=all`",
        "0.580 `mean-heads:heads=all,layers=all`",
    ]


def test_a_map_of_spes_from_fewer_masks_is_marked() -> None:
    made = deletion("spes", 91.26, resolution="cells")
    few = replace(made, method=replace(made.method, params={"masks": 2000}))
    table = report.replication([few])
    assert cells(table, "deletion, SM^X at full resolution")[-1] == "91.3 (fewer masks)"


def test_another_method_is_no_aggregate_of_the_paper() -> None:
    contender = result(method="alti", rho={"spes-input": 0.9})
    table = report.replication([result(), contender])
    assert cells(table, "rho(CA, SM^X), best aggregate")[-1].startswith("0.500")


def test_a_departure_from_the_protocol_stands_beside_the_number() -> None:
    few = result(masks=100)
    assert cells(report.replication([few]), "context mixing")[-1] == "+0.100 (fewer masks)"
    partial = replace(few, status="partial", task=replace(few.task, preset="fast"))
    assert cells(report.replication([partial]), "WER, en")[-1] == (
        "11.7 (preset fast; partial, 1130 clips)"
    )


def test_a_missing_score_is_no_number() -> None:
    table = report.replication([result(rho={"spes-input": None})])
    assert cells(table, "rho(CA, SM^X), best")[-1] == "–"
    assert cells(table, "context mixing")[-1] == "–"


def test_results_of_other_tasks_are_refused() -> None:
    with pytest.raises(UsageError, match="none of the 1 results is of the paper's tasks"):
        report.replication([result(task="demo-asr-en")])


def test_every_row_is_about_a_task_of_the_suite() -> None:
    rows = report.facts()["published"]
    assert {row["task"] for row in rows} == set(tasks.load_suite("paper"))
    assert {row["measure"] for row in rows} == set(report._MEASURES)


def test_operations_of_a_pass_by_hand() -> None:
    model = {
        "width": 2,
        "feed_forward": 3,
        "vocabulary": 5,
        "encoder_layers": 2,
        "decoder_layers": 1,
    }
    # encoder layer: 2*7*(4*2*3 + 8*4) + 4*49*2 = 784 + 392
    # decoder layer: 2*4*(6*4 + 2*2*3) + 4*7*4 + 4*4*(4 + 7)*2 = 288 + 112 + 352; vocabulary: 2*4*2*5
    alone = 288 + 112 + 352 + 80
    assert report.pass_gigaflop(model, 7, 4) == pytest.approx(
        ((2 * 1176 + alone) / 1e9, alone / 1e9)
    )


def test_hours_follow_the_published_rate() -> None:
    table = report.hours({"paper": {"spes-input": 20_000, "spes-encoder": 0}})
    assert cells(table, "base")[-1] == "27.0 + 0.0"
    half = report.hours({"half": {"spes-input": 10_000, "spes-encoder": 0}})
    assert cells(half, "large")[-1] == "84.0 + 0.0"


def test_the_page_holds_the_tables_that_the_code_makes() -> None:
    page = (Path(__file__).parents[1] / "docs" / "replication.md").read_text("utf-8")
    assert report.replication([]) in page
    paper = {"spes-input": 20_000, "spes-encoder": 20_000}
    example = {"spes-input": 3_000, "spes-encoder": 2_000}
    assert report.hours({"paper": paper, "example": example}) in page


def test_the_command_writes_the_table(tmp_path: Path) -> None:
    result().write(tmp_path / "results")
    code = "from xbench.cli import main; main()"
    command = [sys.executable, "-c", code, "report", "replication", "results"]
    done = subprocess.run(
        [*command, "--out", "t.md"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "table: t.md"
    assert (tmp_path / "t.md").read_text("utf-8") == report.replication([result()])
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "0.500 `mean-heads:heads=all,layers=all`" in shown.stdout
