"""Word times by hand, and through the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command_line import Run
from small_run import Made, made_in
from xbench.data.manifest import Utterance, Word
from xbench.decisions.words import _judged, _Truth, _truth, stops, word_times
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout
from xbench.metrics.batch import Maps
from xbench.metrics.timing import starts
from xbench.models.protocol import Hypothesis
from xbench.runner.keys import Decoded, Job, Spoken
from xbench.tasks import load_task


def of(*rows: list[float]) -> Maps:
    """Make one map of 20 ms frames from its rows."""
    values = np.array(rows, dtype=np.float64)
    count, frames = values.shape
    names = tuple(str(row) for row in range(count))
    axes = Layout(tuple(range(count)), names, tuple(range(count)), frames, 2 * frames, 2, 0.01)
    return Maps.of([GridMap(values)], axes)


def test_a_run_ends_where_half_of_the_height_is_no_more_reached() -> None:
    rows = [[1.0, 5, 3, 1], [1, 5, 2.9, 1], [5, 5, 1, 4], [1, 1, 4, 5]]
    assert stops(of(*rows))[0] == pytest.approx([0.06, 0.04, 0.04, 0.08])


def test_stops_are_starts_with_time_reversed() -> None:
    rows = np.random.default_rng(0).gamma(0.5, size=(8, 30))
    mirrored = of(*rows[:, ::-1].tolist())
    assert stops(of(*rows.tolist())) == pytest.approx(30 * 0.02 - starts(mirrored))


def test_errors_and_f1_by_hand() -> None:
    # Word 0 of tokens 0 and 1, word 1 of token 2; a third known word is in no token.
    clip = _Truth([0, 2], [1, 2], np.array([0.1, 0.5]), np.array([0.4, 0.9]), 3)
    onsets, ends = np.array([0.12, 0.3, 0.3]), np.array([0.2, 0.4, 1.0])
    found = _judged(onsets, ends, clip, 0.05)
    assert found.onset == pytest.approx([0.02, -0.2])
    assert found.end == pytest.approx([0.0, 0.1])
    # Two of four claimed boundaries are right, of six to be found.
    assert found.f1 == pytest.approx(2 * 2 / (4 + 6))


def test_a_word_goes_from_its_first_token_to_its_last_and_a_missing_one_is_not_covered() -> None:
    said = (Word("hello", 0.1, 0.5), Word("big", 0.5, 0.7), Word("world", 0.7, 1.1))
    clip = Utterance("a", Path("a.wav"), "en", "hello big world", (), "a", True, said, "0" * 64)
    texts = ("", " hel", "lo", " world", "")  # the special tokens at both ends are no content
    hypothesis = Hypothesis((), (9, 1, 2, 3, 9), texts, (1, 2, 3), " hello world", False)
    axes = Layout(hypothesis.tokens, texts, hypothesis.content, 60, 120, 2, 0.01)
    spoken = Spoken(Job(load_task("asr"), clip, 0), Decoded(hypothesis, axes, 1.2))
    truth = _truth(spoken)
    assert truth is not None
    # Rows of content tokens: "hello" is of rows 0 and 1, "world" of row 2, "big" of none.
    assert (truth.first, truth.last, truth.known) == ([0, 2], [1, 2], 3)
    assert truth.onsets.tolist() == [0.1, 0.7]
    assert truth.ends.tolist() == [0.5, 1.1]
    assert truth.covered == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def timed(tiny_whisper_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The small run on clips whose whole second is one word."""
    return made_in(
        tmp_path_factory.mktemp("timed"),
        f"whisper:{tiny_whisper_folder}",
        words=[("one", 0.0, 1.0)],
    )


def test_the_command_tells_every_method(run: Run, timed: Made) -> None:
    found = run("decisions", "words", str(timed.results), "--cache", str(timed.cache), "--json")
    assert found.code == 0, found.err
    report = json.loads(found.out)
    names = {row["method"].partition(":")[0] for row in report["rows"]}
    assert names == {"mean-heads", "diagonal"}
    assert report["words"] == 6
    for row in report["rows"]:
        shares = [row["within"][bound]["value"] for bound in ("0.02", "0.05", "0.1", "0.2")]
        assert shares == sorted(shares)
        assert 0 <= row["f1"]["value"] <= 1
    shown = run("decisions", "words", str(timed.results), "--cache", str(timed.cache))
    assert "6 words in 6 clips of 6 speakers" in " ".join(shown.out.split())


def test_without_word_times_it_says_what_is_missing(
    tiny_whisper_folder: Path, tmp_path: Path
) -> None:
    made = made_in(tmp_path, f"whisper:{tiny_whisper_folder}")
    with pytest.raises(UsageError, match="the manifest needs `words`"):
        word_times(made.given, tolerance=0.05, store=made.store)
    with pytest.raises(UsageError, match="seconds from 0"):
        word_times(made.given, tolerance=-1, store=made.store)
