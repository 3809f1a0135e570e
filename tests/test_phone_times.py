"""Exact phone times of the demo's Italian clips: which phones a token has, and what espeak-ng tells."""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from espeak_speech import Phone, Synthesiser
from make_demo_data import Clip
from phone_hits import inside, single, spelt, times_of_tokens

SCRIPTS = Path(__file__).parents[1] / "scripts"


def phones(names: str) -> list[Phone]:
    """Return phones of a tenth of a second each."""
    return [Phone(name, n / 10, (n + 1) / 10) for n, name in enumerate(names.split())]


def letters(word: str, names: str) -> list[int] | None:
    """Return the number of the phone that each letter stands for."""
    spans = spelt(word, phones(names))
    return None if spans is None else [round(10 * start) for start, _ in spans]


def test_each_letter_has_its_phone() -> None:
    assert letters("domani", "d o m a n I") == [0, 1, 2, 3, 4, 5]
    # Two letters for one sound: double letters, ch, gli, gi before a vowel.
    assert letters("bottiglia", "b o t i l^ a") == [0, 1, 2, 2, 3, 4, 4, 4, 5]
    assert letters("chiave", "k j a v e") == [0, 0, 1, 2, 3, 4]
    assert letters("giovane", "dZ o v a n e") == [0, 0, 1, 2, 3, 4, 5]
    assert letters("cucina", "k U tS i n a") == [0, 1, 2, 3, 4, 5]
    # Two phones for one sound: a long consonant, r, z before i.
    assert letters("donna", "d O n n a") == [0, 1, 2, 2, 4]
    assert letters("rotta", "@- * o t a") == [0, 2, 3, 3, 4]
    assert letters("stazione", "s t a ts i ; o n e") == [0, 1, 2, 3, 4, 6, 7, 8]


def test_a_sound_of_two_phones_lasts_as_long_as_both() -> None:
    assert single(phones("@- * o n n")) == [
        Phone("@-*", 0, 0.2),
        Phone("o", 0.2, 0.3),
        Phone("n", 0.3, 0.5),
    ]


def test_words_whose_spelling_does_not_follow_their_sound_are_left_out() -> None:
    assert letters("ha", "a") is None


def test_a_token_has_the_phones_of_its_letters_and_its_whole_word() -> None:
    clip = SimpleNamespace(
        words=[
            {"word": "ha", "start": 0.0, "end": 0.1},
            {"word": "rotta", "start": 0.2, "end": 0.7},
        ],
        phones=[
            [Phone("a", 0.0, 0.1)],
            [Phone(p.name, p.start + 0.2, p.end + 0.2) for p in phones("* o t a")],
        ],
    )
    own, words = times_of_tokens([" ha", " ro", "t", "t", "a"], cast(Clip, clip))
    assert own[0] is None
    assert own[1:] == [
        pytest.approx((0.2, 0.4)),
        *[pytest.approx((0.4, 0.5))] * 2,
        pytest.approx((0.5, 0.6)),
    ]
    assert words == [(0.0, 0.1), *[(0.2, 0.7)] * 4]


def test_a_frame_lies_where_its_middle_does_and_no_phone_is_without_one() -> None:
    found = inside([(0.04, 0.12), (0.051, 0.053), None], 5, 0.04)
    assert found.tolist() == [[0, 1, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="needs espeak-ng")
def test_espeak_tells_the_phones_of_each_word_in_order() -> None:
    spoken: Any = Synthesiser().speak(["la", "bottiglia"], "it+m1", 175, 50, 50)
    assert [[p.name for p in own] for own in spoken.phones] == [
        ["l", "a"],
        ["b", "o", "t", "i", "l^", "a"],
    ]
    every = [phone for own in spoken.phones for phone in own]
    assert all(a.start < a.end <= b.start for a, b in pairwise(every))
    assert every[-1].end <= len(spoken.samples) / 22_050 + 1e-9


@pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="needs espeak-ng")
def test_the_packaged_clips_are_spoken_again_sample_by_sample() -> None:
    # In a process of its own: the library carries state from what it said before.
    code = (
        "from make_demo_data import *\n"
        "synthesiser = Synthesiser()\n"
        "name, clip = next(packaged_clips('test', synthesiser))\n"
        "packaged, _ = soundfile.read(DEMO / 'audio' / f'{name}.flac', dtype='float32')\n"
        "print(synthesiser.version, np.abs(packaged - clip.samples).max() <= 2**-15)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    version, same = done.stdout.split()
    if version != "1.51":
        pytest.skip(f"the clips are from espeak-ng 1.51, this is {version}")
    assert same == "True"
