"""Thousands of broken results: each is told in sentences, and none ends a build."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from mutations import as_bytes, mutated

from xbench.cli.validation import check_file
from xbench.site.build import build
from xbench.site.load import read_results

SUBMISSIONS = Path(__file__).parents[2] / "submissions"
SOUND = ("demo-asr-en/*/mean-heads-heads-all-layers-all-*.json", "demo-st-multi/*/uniform-*.json")


@pytest.mark.slow
def test_of_2000_broken_results_each_is_told_and_none_ends_a_build(tmp_path: Path) -> None:
    sound = [json.loads(next(SUBMISSIONS.glob(pattern)).read_text("utf-8")) for pattern in SOUND]
    generator = random.Random(0)
    accepted = tmp_path / "accepted"
    accepted.mkdir()
    for number in range(2000):
        path = tmp_path / f"{number}.json"
        path.write_bytes(as_bytes(mutated(generator.choice(sound), generator), generator))
        told = check_file(path).problems
        assert all(line.startswith(str(path)) for line in told)
        kept, refused = read_results([path])
        assert bool(told) == bool(refused) == (not kept), (path.name, told, refused)
        if told:
            path.unlink()
        else:
            path.rename(accepted / path.name)
    # What is let in is sound but for texts and what nobody can check; the site must bear all of it.
    assert len(list(accepted.iterdir())) > 20
    built = build([accepted], tmp_path / "site")
    assert built.files > 20
