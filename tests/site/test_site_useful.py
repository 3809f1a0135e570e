"""Whether scores foresee uses, as the site shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from xbench.site.render import leaderboard_folder
from xbench.site.useful import SHOWN, USES, read_usefulness


def row(judge: str, over: str, use: str, value: float | None, **tau: Any) -> dict[str, Any]:
    estimate = {"value": value, "low": None, "high": None, "n": 9, "n_clusters": 9, "reason": None}
    return {
        **{"model": "m", "task": "t", "data": "c", "over": over},
        **{"judge": judge, "use": use, "units": 5},
        "tau": {**estimate, **tau},
    }


def test_lines_are_those_of_the_judges_shown_by_use_with_a_picture_each(tmp_path: Path) -> None:
    rows = [
        row("pearson@spes-encoder", "methods", "regret", 0.4, low=0.1, high=0.6),
        row("emd@spes-encoder", "methods", "regret", 0.9),
        row("sensitivity-n", "layers", "word-times", None, reason="fewer-than-3-methods"),
    ]
    (tmp_path / "usefulness.json").write_text(json.dumps({"absent": [], "rows": rows}))
    (part,) = read_usefulness(tmp_path)
    assert (part.model, part.task, part.data) == ("m", "t", "c")
    first, second = part.lines
    assert (first.judge, first.use, first.tau) == ("sensitivity-n", "word times", None)
    assert first.reason == "fewer-than-3-methods"
    assert "<circle" not in first.svg
    assert (second.judge, second.tau, second.low, second.high) == ("pearson", 0.4, 0.1, 0.6)
    # From -1 to 1 with a margin of the axis: 0.4 lies right of the middle, and so does its interval.
    assert second.svg.count("<circle") == 1
    assert "zero" in part.axis


def test_runs_of_one_model_and_task_on_other_clips_stand_apart(tmp_path: Path) -> None:
    rows = [row("pearson", "methods", "regret", value) for value in (0.1, 0.2)]
    rows[1]["data"] = "others"
    (tmp_path / "usefulness.json").write_text(json.dumps({"absent": [], "rows": rows}))
    parts = read_usefulness(tmp_path)
    assert [(part.data, part.lines[0].tau) for part in parts] == [("c", 0.1), ("others", 0.2)]


def test_the_committed_correlations_are_complete() -> None:
    parts = read_usefulness(leaderboard_folder())
    assert parts
    for part in parts:
        assert {line.use for line in part.lines} == set(USES.values())
        assert {line.judge for line in part.lines} <= set(SHOWN)
        over = {line.over for line in part.lines}
        assert over == {"models"} if part.model == "all models" else over >= {"methods", "clips"}


def test_the_findings_say_the_same() -> None:
    page = (Path(__file__).parents[2] / "docs" / "findings.md").read_text("utf-8")
    section = page.partition("\n## Usefulness\n")[2].partition("\n## ")[0]
    for part in read_usefulness(leaderboard_folder()):
        clips = f" ({part.data.removeprefix('real-speech-')})" if part.data else ""
        heading = f"\n### {part.model}, {part.task}{clips}\n"
        own_part = section.partition(heading)[2].partition("\n### ")[0]
        for line in part.lines:
            named = re.compile(rf"\| `{line.judge}` \| \d+ {line.over} \|")
            own = [row for row in own_part.splitlines() if named.match(row)]
            assert len(own) == 1
            if line.tau is not None:
                assert f"{line.tau:.2f}" in own[0]
