"""`xbench validate` of manifests: clips that a run will refuse, and files of other tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from command_line import Run


def test_clips_that_a_run_will_refuse_are_told(
    run: Run, make_manifest: Callable[..., Path]
) -> None:
    done = run("validate", make_manifest({"good": 0.6, "quiet": np.zeros(8000)}))
    assert (done.code, done.out.strip()) == (0, "1 file valid")
    assert "clip 'quiet' will be refused (silent-audio)" in done.err
    assert "good" not in done.err


def test_of_many_problems_the_first_are_told_and_all_are_counted(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    lines = [
        {"id": f"c{n}", "audio": f"{n}.wav", "language": "en", "transcript": ""}
        for n in range(1000)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    done = run("validate", path)
    assert done.code == 2
    assert done.err.count("error:") == 21
    assert "and 980 more problems" in done.err


@pytest.mark.parametrize("name", ["m.tsv", "m.csv", "m.json"])
def test_a_table_and_a_list_are_told_as_no_json_lines(run: Run, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('[{"id": "a"}]' if name == "m.json" else "id\taudio\na\ta.wav")
    done = run("validate", path)
    assert done.code == 2
    assert done.err.count("error:") == 1
    assert "one JSON object per line" in " ".join(done.err.split())
