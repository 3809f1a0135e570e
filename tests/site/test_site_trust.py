"""The page of the metrics' own audit: what a cell says, and that the committed audit makes a sound page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from xbench import registry
from xbench.site.audited import read_audit
from xbench.site.render import leaderboard_folder

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import audit_page
from audit_page import BY_INTERVENTION, kept, lines_of, put, table_of_rivals

SIZES = (0.1, 0.2)


def finding(ladder: str, **changes: Any) -> dict[str, Any]:
    """Return a finding as the command prints it: the first step is told apart, and 4 clips find it."""
    steps = [{"size": size, "worse_by": {"value": 0.1}, "clips_needed": 4} for size in SIZES]
    plain = {
        "start": "reference",
        "metric": "pearson",
        "reference": "spes-encoder",
        "ladder": ladder,
        "unit": "share",
        "intact": 0.8,
        "order": {"value": 1.0},
        "steps": steps,
        "blind": False,
        "sensitivity": 0.1,
        "raised": [],
    }
    return {**plain, **changes}


def cells(folder: Path, *findings: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of the one row that these findings make."""
    told = {"task": "t", "model": "m", "seed": 0, "clips": 3, "clusters": 2}
    told |= {"findings": findings, "interventions": []}
    (folder / "audit.json").write_text(json.dumps(told))
    (folder / "rivals.json").write_text("[]")
    (table,) = read_audit(folder).tables
    assert table.ladders == tuple(f["ladder"] for f in findings)
    (row,) = table.rows
    return row.cells


def test_what_a_cell_says(tmp_path: Path) -> None:
    many = [{"size": 0.1, "worse_by": {"value": 0.1}, "clips_needed": 31}]
    assert cells(
        tmp_path,
        finding("noise"),
        finding("shift", steps=many),
        finding("blur", sensitivity=None, order={"value": -0.6}, raised=[20, 40.0]),
        finding("swap", blind=True),
        finding("sink", order={"value": None}),
    ) == ("0.1", "0.1 (31 clips)", "none tau -0.60 ↑20, 40", "blind", "0.1")
    assert cells(tmp_path, finding("noise", intact=None)) == ("–",)


def test_the_committed_audit_covers_every_agreement_metric() -> None:
    audit = read_audit(leaderboard_folder())
    compares = {d.name for d in registry.metrics.descriptions() if d.takes == "reference"}
    for table in audit.tables:
        assert {row.metric.partition(":")[0] for row in table.rows} == compares
        assert all(len(row.cells) == len(table.ladders) for row in table.rows)


def test_the_page_of_the_documentation_says_the_same() -> None:
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text("utf-8")
    tables = page.split("| metric | intact | noise")[1:]
    audit = read_audit(leaderboard_folder())
    assert len(tables) == len(audit.tables) == 2
    for text, table in zip(tables, audit.tables, strict=True):
        shown = {row.metric.partition(":")[0]: row for row in table.rows}
        for line in text.partition("\n\n")[0].splitlines()[2:]:
            names, intact, *steps = line.strip("|").split(" | ")
            for name in re.findall(r"`([^`]+)`", names):
                row = shown[name]
                assert float(f"{row.intact:.3f}") == float(intact.split()[0])
                assert [told(cell) for cell in row.cells] == [told(cell) for cell in steps]


def test_the_committed_audit_covers_every_metric_by_intervention_that_can_judge_a_ladder() -> None:
    can = {
        d.name
        for d in registry.metrics.descriptions()
        if d.takes in ("curves", "effects") and d.space == "encoder"
    }
    (table,) = read_audit(leaderboard_folder()).interventions
    assert {row.metric.partition(":")[0] for row in table.rows} == can
    assert table.ladders == read_audit(leaderboard_folder()).tables[0].ladders
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text("utf-8")
    assert "\n".join(lines_of(table, BY_INTERVENTION)) in page


def test_a_table_takes_the_place_of_the_one_with_its_head() -> None:
    table = ["| a | b |", "|---|---|", "| new | 1 |", "| newer | 2 |"]
    page = (
        "text\n\n| x | b |\n|---|---|\n| kept | 0 |\n\n| a | b |\n|---|---|\n| old | 0 |\n\nend\n"
    )
    assert put(page, table) == (
        "text\n\n| x | b |\n|---|---|\n| kept | 0 |\n\n"
        "| a | b |\n|---|---|\n| new | 1 |\n| newer | 2 |\n\nend\n"
    )
    with pytest.raises(SystemExit, match=r"no table with the head \| a \| b \|"):
        put("text\n", table)


def test_both_parts_of_an_audit_are_of_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_page, "FILE", tmp_path / "audit.json")
    run = {"task": "t", "model": "m", "seed": 0, "clips": 3, "clusters": 2}
    (tmp_path / "audit.json").write_text(json.dumps({**run, "findings": [], "interventions": []}))
    (tmp_path / "rivals.json").write_text("[]")
    audit_page.write_audit({**run, "findings": [finding("noise")]}, "findings")
    hidden = finding("noise", metric="deletion-auc")
    audit_page.write_audit({**run, "findings": [hidden]}, "interventions")
    audit = read_audit(tmp_path)
    assert [row.metric for row in audit.tables[0].rows] == ["pearson"]
    assert [row.metric for row in audit.interventions[0].rows] == ["deletion-auc"]
    with pytest.raises(SystemExit, match="make both of one run"):
        audit_page.write_audit({**run, "clips": 4, "findings": [hidden]}, "interventions")
    audit_page.write_audit({**run, "clips": 4, "findings": [finding("noise")]}, "findings")
    assert not read_audit(tmp_path).interventions


def told(cell: str) -> tuple[str, list[str], list[float]]:
    """Return of a cell the smallest step, the clips it needs, and tau."""
    smallest = cell.strip().partition(" ")[0].rstrip(",")
    taus = [float(tau) for tau in re.findall(r"tau (-?[\d.]+)", cell)]
    return smallest, re.findall(r"\((\d+)", cell), taus


def test_scripts_keep_what_the_page_shows() -> None:
    whole = finding("noise", unit="share")
    assert kept(whole)["steps"] == [{"size": 0.1, "clips_needed": 4}]
    assert kept(whole)["order"] == {"value": 1.0}
    assert "unit" not in kept(whole)


def rivalry(metric: str, judge: str, rival: str, score: float) -> dict[str, Any]:
    """Return a rivalry as the command prints it."""
    whole = {"value": score, "low": score - 0.1, "high": score + 0.1, "n": 8, "n_clusters": 6}
    above = {**whole, "value": score + 0.05}
    return {
        "metric": metric,
        "judge": judge,
        "rival": rival,
        "score": whole,
        "ceiling": above,
        "sampling": above,
    }


def test_what_the_page_says_of_rivals(tmp_path: Path) -> None:
    given = [rivalry("pearson", "a", "b", 0.5), rivalry("spearman", "a", "b", 0.3)]
    table = table_of_rivals(given, "m")
    assert (table["model"], table["clips"], table["clusters"]) == ("m", 8, 6)
    cells(tmp_path, finding("noise"))
    (tmp_path / "rivals.json").write_text(json.dumps([table]))
    (read,) = read_audit(tmp_path).rivals
    (row,) = read.rows
    assert (row.judge, row.rival, row.score.value, row.score.low) == ("a", "b", 0.5, 0.4)
    assert row.ceiling.value == row.sampling.value == 0.55


def test_the_documentation_says_the_same_of_rivals() -> None:
    page = (Path(__file__).parents[2] / "docs" / "validity.md").read_text("utf-8")
    section = page.partition("### References of equal right")[2].partition("\n### ")[0]
    tables = read_audit(leaderboard_folder()).rivals
    assert tables
    for table in tables:
        for row in table.rows:
            assert row.score.value is not None
            assert row.ceiling.value is not None
            assert f"{row.score.value:.3f}" in section, row
            assert f"{row.ceiling.value:.3f}" in section, row
