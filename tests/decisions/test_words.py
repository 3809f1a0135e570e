"""Word times by hand, and through the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from command_line import Run
from small_run import Made, made_in
from xbench.audit.stored_maps import one_run
from xbench.data.manifest import Utterance, Word
from xbench.decisions import words as words_module
from xbench.decisions.words import (
    TimedClip,
    TimedClips,
    _judged,
    _Truth,
    _truth,
    boundaries,
    stops,
    timed_clips,
    word_times,
)
from xbench.errors import UsageError
from xbench.maps import GridMap, Layout
from xbench.methods.word_window import share_spoken
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
    clip = _Truth([0, 2], [1, 2], np.array([0.1, 0.5]), np.array([0.4, 0.9]), 3, 0)
    onsets, ends = np.array([0.12, 0.3, 0.3]), np.array([0.2, 0.4, 1.0])
    found = _judged(onsets, ends, clip, 0.05)
    assert found.onset == pytest.approx([0.02, -0.2])
    assert found.end == pytest.approx([0.0, 0.1])
    # Two of four claimed boundaries are right, of six to be found.
    assert found.f1 == pytest.approx(2 * 2 / (4 + 6))
    # A word that nobody said claims two boundaries more.
    assert _judged(onsets, ends, replace(clip, inserted=1), 0.05).f1 == pytest.approx(4 / (6 + 6))


def test_peak_and_centroid_read_one_time_of_a_row() -> None:
    maps = of([0.0, 4, 0, 0], [0, 1, 1, 2])
    for point, times in (("peak", [0.03, 0.07]), ("centroid", [0.03, 0.02 * (1.5 + 2.5 + 7) / 4])):
        onsets, ends = boundaries(maps, point)
        assert onsets[0] == pytest.approx(times)
        assert ends[0] == pytest.approx(times)


def spoken_as(
    texts: tuple[str, ...], text: str, words: tuple[Word, ...], language: str = "en"
) -> Spoken:
    """A clip whose words are known, and what a model wrote for it, a special token at either end."""
    said = " ".join(word.word for word in words)
    clip = Utterance("a", Path("a.wav"), language, said, (), "a", True, words, "0" * 64)
    full = ("", *texts, "")
    content = tuple(range(1, len(full) - 1))
    hypothesis = Hypothesis((), tuple(range(len(full))), full, content, text, False)
    axes = Layout(hypothesis.tokens, full, content, 60, 120, 2, 0.01)
    return Spoken(Job(load_task("asr"), clip, 0), Decoded(hypothesis, axes, 1.2))


HELLO = (Word("hello", 0.1, 0.5), Word("big", 0.5, 0.7), Word("world", 0.7, 1.1))


def test_a_word_goes_from_its_first_token_to_its_last_and_a_missing_one_is_not_covered() -> None:
    truth = _truth(spoken_as((" hel", "lo", " world"), " hello world", HELLO))
    assert truth is not None
    # Rows of content tokens: "hello" is of rows 0 and 1, "world" of row 2, "big" of none.
    assert (truth.first, truth.last, truth.known, truth.inserted) == ([0, 2], [1, 2], 3, 0)
    assert truth.onsets.tolist() == [0.1, 0.7]
    assert truth.ends.tolist() == [0.5, 1.1]
    assert truth.covered == pytest.approx(2 / 3)


def test_words_that_nobody_said_are_counted_and_have_no_time() -> None:
    texts = (" oh", " hello", " big", " wide", " world", ".")
    truth = _truth(spoken_as(texts, "oh hello big wide world.", HELLO))
    assert truth is not None
    assert (truth.first, truth.covered, truth.inserted) == ([1, 2, 4], 1.0, 2)


def test_where_nothing_was_written_or_a_loop_no_word_is_covered() -> None:
    written = spoken_as((" hello", " hello"), " hello hello", HELLO)
    looping = replace(written, decoded=replace(written.decoded, loops=True))
    for spoken in (spoken_as((), "", HELLO), looping):
        truth = _truth(spoken)
        assert truth is not None
        assert (truth.known, truth.covered, truth.inserted) == (3, 0.0, 0)
        none = _judged(np.zeros(0), np.zeros(0), truth, 0.05)
        assert (none.onset.size, none.f1) == (0, 0.0)


def test_a_language_without_spaces_is_aligned_by_characters() -> None:
    words = (Word("妈妈", 0.0, 0.4), Word("喜欢", 0.4, 0.8), Word("苹果", 0.8, 1.2))
    truth = _truth(spoken_as(("妈", "妈", "欢", "苹果", "了"), "妈妈欢苹果了", words, "zh"))
    assert truth is not None
    # The model left out one of two characters: the word begins where the other one does.
    assert (truth.first, truth.last, truth.covered) == ([0, 2, 3], [1, 2, 3], 1.0)
    assert truth.inserted == 1


def test_words_are_told_from_those_of_another_text() -> None:
    assert share_spoken("Hello, big world!", HELLO) == 1.0
    assert share_spoken("hello world", HELLO) == 1.0
    assert share_spoken("hello there my dear world", HELLO) == pytest.approx(2 / 5)
    assert share_spoken("quite another text", HELLO) == 0.0
    assert share_spoken("", HELLO) == 1.0
    assert share_spoken("妈妈喜欢", (Word("妈妈", 0.0, 0.4), Word("喜欢", 0.4, 0.8))) == 1.0


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
        for part in ("within", "end_within"):
            shares = [row[part][bound]["value"] for bound in ("0.02", "0.05", "0.1", "0.2")]
            assert shares == sorted(shares)
        assert set(row["end_quantiles"]) == {"0.5", "0.9", "0.95"}
        assert 0 <= row["f1"]["value"] <= 1
    shown = run("decisions", "words", str(timed.results), "--cache", str(timed.cache))
    assert "6 words in 6 clips of 6 speakers" in " ".join(shown.out.split())


def test_a_clip_without_a_token_counts_against_coverage_and_has_no_error(timed: Made) -> None:
    stored = one_run(timed.given, timed.store)
    whole = timed_clips(stored, tolerance=0.05, point="run")
    (first, spoken), *others = stored.spoken.items()
    silent = replace(spoken.decoded, hypothesis=replace(spoken.decoded.hypothesis, content=()))
    changed = {first: replace(spoken, decoded=silent), **dict(others)}
    found = timed_clips(replace(stored, spoken=changed), tolerance=0.05, point="run")
    assert (found.words, found.ids) == (whole.words, whole.ids)
    assert found.covered == (0.0, *whole.covered[1:])
    for name, (clip, *rest) in found.of_method.items():
        assert (clip.onset.size, clip.f1) == (0, 0.0)
        assert [c.f1 for c in rest] == [c.f1 for c in whole.of_method[name][1:]]


def test_clips_whose_words_are_of_another_text_are_left_out_and_told(
    run: Run, tiny_whisper_folder: Path, tmp_path: Path
) -> None:
    model = f"whisper:{tiny_whisper_folder}"
    made = made_in(tmp_path, model, words=[("quite", 0.0, 0.5), ("another", 0.5, 1.0)])
    with pytest.raises(UsageError, match="the words of 6 clips, such as 'a', are not those"):
        word_times(made.given, tolerance=0.05, store=made.store)
    refused = run("decisions", "words", str(made.results), "--cache", str(made.cache))
    assert refused.code == 2


def test_one_language_of_a_run_can_be_judged_alone(timed: Made) -> None:
    stored = one_run(timed.given, timed.store)
    (first, spoken), *others = stored.spoken.items()
    own = replace(spoken.job.utterance, language="xx")
    changed = {first: replace(spoken, job=replace(spoken.job, utterance=own)), **dict(others)}
    both = replace(stored, spoken=changed)
    kept = {"tolerance": 0.05, "point": "run"}
    whole = timed_clips(both, **kept)
    alone = timed_clips(both, **kept, language="xx")
    assert alone.ids == (own.id,)
    rest = timed_clips(both, **kept, language=others[0][1].job.utterance.language)
    assert (*alone.ids, *rest.ids) == whole.ids
    assert alone.words + rest.words == whole.words
    with pytest.raises(UsageError, match=r"no clip of the run is in 'yy'; its clips are in .*xx"):
        timed_clips(both, **kept, language="yy")


def test_an_interval_ends_where_no_mean_can_be(
    timed: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Six speakers with errors of 10 ms and one with 1.2 s: the interval of the mean would begin below 0.
    late = [np.array([0.01])] * 6 + [np.array([1.2])]
    clips = tuple(TimedClip(each, each, 0.3 if each > 1 else 1.0) for each in late)
    seven = tuple("abcdefg")
    skewed = TimedClips(seven, seven, (1.0,) * 6 + (0.3,), 7, 0, (), {"m": clips})
    monkeypatch.setattr(words_module, "timed_clips", lambda *_, **__: skewed)
    found = word_times(timed.given, tolerance=0.05, store=timed.store)
    (row,) = found.rows
    assert (row.onset.low, row.end.low) == (0.0, 0.0)
    assert row.onset.high is not None
    assert row.onset.high > 1
    assert (row.f1.high, found.covered.high) == (1.0, 1.0)
    # Six of seven onsets are right: a share is cut at 1, a signed error nowhere.
    assert row.within["0.05"].high == 1.0
    assert row.onset_bias.low is not None
    assert row.onset_bias.low < 0


def test_points_and_tolerances_that_are_none_are_refused(timed: Made) -> None:
    with pytest.raises(UsageError, match="seconds from 0"):
        word_times(timed.given, tolerance=-1, store=timed.store)
    with pytest.raises(UsageError, match="did you mean 'peak'"):
        word_times(timed.given, tolerance=0.05, point="peek", store=timed.store)


def test_without_word_times_it_says_what_is_missing(
    tiny_whisper_folder: Path, tmp_path: Path
) -> None:
    made = made_in(tmp_path, f"whisper:{tiny_whisper_folder}")
    with pytest.raises(UsageError, match="the manifest needs `words`"):
        word_times(made.given, tolerance=0.05, store=made.store)
