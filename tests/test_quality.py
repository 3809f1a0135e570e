from __future__ import annotations

import pytest

from xbench.metrics.quality import corpus_quality, is_poor, loops, utterance_quality
from xbench.spec import Quality

WER, BLEU, CHRF = Quality("wer", 50.0), Quality("bleu", 10.0), Quality("chrf", 30.0)


@pytest.mark.parametrize(
    ("hypothesis", "target", "language", "expected"),
    [
        ("buy books", "buy pens", "en", 50),  # 1 substitution of 2 words
        ("two seven", "two eight", "en", 100),  # the English normaliser writes 27 and 28
        ("Two, seven!", "two seven", "en", 0),  # case and punctuation do not count
        ("", "two eight", "en", 100),
        ("a b c d", "a", "it", 300),  # three insertions on one word
        ("uno due tre", "uno due", "it", 50),
        ("老师昨天买书", "老师 昨天 买 三 书", "zh", 100 / 7),  # 1 deletion of 7 characters
        ("老師", "老师", "zh", 50),
        ("don't", "do not", "en", 0),  # the English normaliser writes contractions out
    ],
)
def test_word_error_rate_by_hand(
    hypothesis: str, target: str, language: str, expected: float
) -> None:
    assert utterance_quality(WER, hypothesis, target, language) == pytest.approx(expected)


def test_corpus_word_error_rate_weighs_words_not_clips() -> None:
    # 1 error on 1 word and 0 errors on 3 words: 25, where the mean of the clips is 50.
    value = corpus_quality(WER, ["no", "buy three books"], ["yes", "buy three books"], ["en", "en"])
    assert value == pytest.approx(25)


def test_each_clip_is_normalised_in_its_own_language() -> None:
    value = corpus_quality(WER, ["买", "two"], ["买书", "two"], ["zh", "en"])
    assert value == pytest.approx(100 / 3)


def test_clips_without_words_are_left_out() -> None:
    assert corpus_quality(WER, ["noise", "yes"], ["...", "yes"], ["en", "en"]) == 0
    assert corpus_quality(WER, ["noise"], ["..."], ["en"]) is None
    assert corpus_quality(WER, [], [], []) is None


@pytest.mark.parametrize("quality", [BLEU, CHRF])
def test_identical_translations_score_100(quality: Quality) -> None:
    text = "the teacher bought three books yesterday"
    assert utterance_quality(quality, text, text, "en") == pytest.approx(100)
    assert corpus_quality(quality, [text], [text], ["en"]) == pytest.approx(100)


@pytest.mark.parametrize("quality", [BLEU, CHRF])
def test_translations_without_a_common_letter_score_near_0(quality: Quality) -> None:
    value = utterance_quality(quality, "zzzz", "the teacher bought books", "en")
    assert value == pytest.approx(0, abs=1e-9)
    assert utterance_quality(quality, "", "the teacher", "en") == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("quality", [BLEU, CHRF])
def test_translations_without_target_have_no_quality(quality: Quality) -> None:
    assert utterance_quality(quality, "words", "  ", "en") is None
    assert corpus_quality(quality, ["words"], [""], ["en"]) is None


def test_chrf_of_a_pair_is_that_of_sacrebleu() -> None:
    from sacrebleu import sentence_chrf

    pair = "teacher buys three books", "teacher bought three books"
    value = utterance_quality(CHRF, *pair, "en")
    assert value == pytest.approx(sentence_chrf(pair[0], [pair[1]]).score)
    assert 50 < value < 90


@pytest.mark.parametrize(
    ("quality", "value", "poor"),
    [
        (WER, 50.0, True),
        (WER, 49.9, False),
        (BLEU, 10.0, True),
        (BLEU, 10.1, False),
        (CHRF, 30.0, True),
        (CHRF, 80.0, False),
        (WER, None, False),
    ],
)
def test_poor_hypotheses_lie_at_or_beyond_the_threshold(
    quality: Quality, value: float | None, poor: bool
) -> None:
    assert is_poor(quality, value) is poor


@pytest.mark.parametrize(
    ("text", "looping"),
    [
        ("He He He He He", True),
        ("He He He He", False),  # four times
        ("no no no no no", True),
        ("ja ja ja", False),
        ("so thanks for watching. " * 6, True),
        ("我的我的我的我的我的", True),
        ("a a a a a", False),  # too short to be more than chance
        ("one two three four five six seven eight nine ten", False),
        ("He said that he was tired, and then: go go go go go", False),  # less than half
        ("", False),
    ],
)
def test_a_text_loops_where_one_piece_is_most_of_it(text: str, looping: bool) -> None:
    assert loops(text) == looping
