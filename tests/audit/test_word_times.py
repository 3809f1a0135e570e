"""Top-3 hits on word times: by hand, by chance, and through the command."""

from __future__ import annotations

import json
from math import comb
from pathlib import Path

import numpy as np
import pytest

from command_line import Run
from small_run import Made, made_in
from xbench.audit.word_times import hit_rate
from xbench.results import load_results

WORD = np.zeros((1, 10), dtype=bool)
WORD[0, 4:6] = True


def rate(*values: float, top: int = 3) -> float:
    return hit_rate(np.array([values], dtype=np.float64), WORD, top)


def test_one_of_three_in_the_word_is_a_hit() -> None:
    assert rate(9, 8, 0, 0, 7, 0, 1, 1, 1, 1) == 1
    assert rate(9, 8, 7, 0, 6, 5, 1, 1, 1, 1) == 0
    assert rate(9, 8, 0, 0, 7, 0, 1, 1, 1, 1, top=2) == 0


def test_equal_values_share_the_places_that_are_left() -> None:
    # Two places are taken; frames 4, 6 and 7 share the third.
    assert rate(9, 8, 0, 0, 7, 0, 7, 7, 1, 1) == pytest.approx(1 / 3)
    # All frames share all three places: chance.
    assert rate(*[1] * 10) == pytest.approx(1 - comb(8, 3) / comb(10, 3))


def test_chance_is_what_random_maps_hit() -> None:
    generator = np.random.default_rng(0)
    found = [rate(*generator.random(10)) for _ in range(20_000)]
    assert np.mean(found) == pytest.approx(1 - comb(8, 3) / comb(10, 3), abs=0.015)


def test_tokens_without_a_word_do_not_count() -> None:
    rows = np.array([[9.0, 8, 7, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 9, 0, 0, 0, 0, 0]])
    words = np.vstack([np.zeros((1, 10), dtype=bool), WORD])
    assert hit_rate(rows, words, 1) == 1


@pytest.fixture(scope="module")
def timed(tiny_whisper_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The small run again, on clips whose whole second is one word."""
    return made_in(
        tmp_path_factory.mktemp("timed"),
        f"whisper:{tiny_whisper_folder}",
        words=[("one", 0.0, 1.0)],
    )


def test_the_command_shows_references_methods_and_chance(run: Run, timed: Made) -> None:
    arguments = ("audit", "words", timed.results, "--cache", timed.cache)
    rows = json.loads(run(*arguments, "--json").out)
    named = [(row["kind"], row["name"].partition(":")[0]) for row in rows]
    assert sorted(named) == [
        ("chance", "chance"),
        ("method", "diagonal"),
        ("method", "mean-heads"),
        ("reference", "spes-encoder"),
        ("reference", "spes-input"),
    ]
    # The word is the whole clip, so nothing can miss it.
    assert {row["hit"]["value"] for row in rows} == {1.0}
    assert {row["hit"]["n_clusters"] for row in rows} == {6}
    done = run(*arguments, "--top", 1)
    assert done.code == 0
    assert "one of the 1 highest frames" in done.out


def test_clips_without_word_times_are_refused(run: Run, made: Made, tmp_path: Path) -> None:
    done = run("audit", "words", made.results, "--cache", made.cache)
    assert done.code == 2
    assert "`words`" in done.err
    made.evaluate(tmp_path / "other", "spes-encoder")
    both = (made.results, tmp_path / "other")
    assert len({r.task.hash for r in load_results(*both)}) == 2
    done = run("audit", "words", *both, "--cache", made.cache)
    assert done.code == 2
    assert "2 runs" in done.err
