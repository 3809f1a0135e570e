from __future__ import annotations

from pathlib import Path

from xbench.data.manifest import Utterance, Word
from xbench.maps import Layout
from xbench.models.protocol import Hypothesis
from xbench.runner.compare import word_spans
from xbench.runner.keys import Decoded, Job, Spoken
from xbench.tasks import load_task

TEXTS = ("the", " hap", "py", " boy", ".", "")
WORDS = (Word("the", 0.0, 0.1), Word("happy", 0.1, 0.45), Word("boy", 0.45, 0.7))


def spans(words: tuple[Word, ...] | None):
    utterance = Utterance("a", Path("a.wav"), "en", "the happy boy", (), "a", True, words, "0" * 64)
    rows = tuple(range(len(TEXTS)))
    axes = Layout(rows, TEXTS, rows[:-1], 50, 100, 2, 0.01)
    hypothesis = Hypothesis((), rows, TEXTS, rows[:-1], "".join(TEXTS), False)
    job = Job(load_task("demo-asr-en"), utterance, 0)
    return word_spans(Spoken(job, Decoded(hypothesis, axes, 1.0)))


def test_every_token_has_the_time_of_its_word() -> None:
    happy = (0.1, 0.45)
    assert spans(WORDS) == ((0.0, 0.1), happy, happy, (0.45, 0.7), None, None)


def test_without_word_times_there_are_no_spans() -> None:
    assert spans(None) is None
