from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.case import Case
from xbench.data.manifest import Utterance, Word, read_manifest
from xbench.errors import Unsupported
from xbench.maps import Layout
from xbench.methods.controls import energy, voiced
from xbench.methods.word_window import word_window, words_of_tokens
from xbench.models.protocol import Features, Hypothesis
from xbench.runner import stages
from xbench.runner.bench import Bench
from xbench.runner.keys import Decoded, Job, Spoken, map_key
from xbench.runner.plan import Method
from xbench.spec import Call
from xbench.store import Store
from xbench.tasks import load_task

# -- energy and voiced ----------------------------------------------------------------------------


@pytest.fixture
def heard(planted: Any) -> Callable[..., Case]:
    """Return a function that makes a case out of a spectrogram [melframe][mel], padding last."""

    def build(spectrogram: list[list[float]], melframes: int, rows: int = 2) -> Case:
        values = torch.tensor(spectrogram)
        features = Features(values, melframes, -(-melframes // 2), 2, 0.01)
        tokens = tuple(range(rows))
        return Case(
            planted,
            features,
            Hypothesis((0,), tokens, tuple("abcdefgh"[:rows]), tokens, "", False),
            "clip",
        )

    return build


# Five valid frames, so the last encoder frame has one: means 1, 3, -1. Padding is loud.
SPECTROGRAM = [[0.0, 1.0], [1.0, 2.0], [2.0, 4.0], [3.0, 3.0], [-2.0, 0.0], [99.0, 99.0]]


def test_energy_by_hand(heard: Callable[..., Case]) -> None:
    # Above the quietest frame: 2, 4, 0.
    expected = torch.tensor([[1 / 3, 2 / 3, 0.0]]).repeat(2, 1)
    torch.testing.assert_close(energy(heard(SPECTROGRAM, 5)), expected)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.0, [1 / 3, 1 / 3, 1 / 3]),
        (0.5, [0.5, 0.5, 0.0]),  # level -1 + 0.5 * 4 = 1: the first frame just reaches it
        (0.51, [0.0, 1.0, 0.0]),
        (1.0, [0.0, 1.0, 0.0]),
    ],
)
def test_voiced_by_hand(
    heard: Callable[..., Case], threshold: float, expected: list[float]
) -> None:
    found = voiced(heard(SPECTROGRAM, 5, rows=3), threshold=threshold)
    torch.testing.assert_close(found, torch.tensor([expected]).repeat(3, 1))


def test_without_any_difference_every_frame_counts(heard: Callable[..., Case]) -> None:
    silent = heard([[-1.0, -1.0]] * 6, 6)
    for found in (energy(silent), voiced(silent, threshold=1.0)):
        torch.testing.assert_close(found, torch.full((2, 3), 1 / 3))


@pytest.mark.parametrize("threshold", [0.1, 1 / 3, 0.7, 1.0])
def test_some_frame_is_always_voiced(heard: Callable[..., Case], threshold: float) -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        spectrogram = (torch.randn(8, 3, generator=generator) * 10**seed).tolist()
        found = voiced(heard(spectrogram, 8), threshold=threshold)
        torch.testing.assert_close(found.sum(-1), torch.ones(2))


# -- which words tokens belong to -----------------------------------------------------------------


def axes(
    texts: tuple[str, ...], content: tuple[int, ...] | None = None, frames: int = 10
) -> Layout:
    rows = tuple(range(len(texts)))
    kept = rows if content is None else content
    return Layout(rows, texts, kept, frames, 2 * frames, 2, 0.01)


def words(text: str) -> list[Word]:
    return [Word(word, i / 10, (i + 1) / 10) for i, word in enumerate(text.split())]


@pytest.mark.parametrize(
    ("texts", "text", "spoken", "expected"),
    [
        ((" the", " hap", "py", " boy"), "the happy boy", "the happy boy", [{0}, {1}, {1}, {2}]),
        # Case, punctuation, and spelling with one or several code points do not matter.
        (
            (" The", " boy", ".", " Ca", "fé"),
            "The boy. Café",
            "the BOY cafe\u0301",
            [{0}, {1}, set(), {2}, {2}],
        ),
        ((" e", "-", "mail", " I", "'m"), "e-mail I'm", "email i'm", [{0}, set(), {0}, {1}, {1}]),
        # A word that was not said has no partner; one heard instead of another has that one.
        ((" the", " big", " boy"), "the big boy", "the boy", [{0}, set(), {1}]),
        ((" the", " toy"), "the toy", "the boy", [{0}, {1}]),
        ((" the", " boy"), "the boy", "the happy boy", [{0}, {2}]),
        # Tokenizers that drop the space before a word.
        (("the", "hap", "py", "boy"), "the happy boy", "the happy boy", [{0}, {1}, {1}, {2}]),
        # A token over two words.
        ((" of the", " boy"), "of the boy", "of the boy", [{0, 1}, {2}]),
        # A character of several bytes spread over unreadable tokens.
        ((" gr", "\ufffd", "\ufffd", "n", " da"), "grün da", "grün da", [{0}, {0}, {0}, {0}, {1}]),
        ((" \ufffd", "\ufffd", "l"), "öl", "öl", [{0}, {0}, {0}]),
        # Scripts without spaces: each character is aligned, words hold several.
        (("今天", "天", "气", "好"), "今天天气好", "今天 天气 好", [{0}, {1}, {1}, {2}]),
        (("今天天", "气"), "今天天气", "今天 天气", [{0, 1}, {1}]),
        # Nothing said, or nothing written.
        ((" the",), "the", "", [set()]),
        ((".",), ".", "the", [set()]),
    ],
)
def test_tokens_find_their_words(
    texts: tuple[str, ...], text: str, spoken: str, expected: list[set[int]]
) -> None:
    assert words_of_tokens(axes(texts), text, words(spoken)) == expected


def test_special_tokens_have_no_word() -> None:
    layout = axes((" the", " boy", "<|endoftext|>"), content=(0, 1))
    assert words_of_tokens(layout, "the boy", words("the boy")) == [{0}, {1}, set()]


# -- word-window ----------------------------------------------------------------------------------


@pytest.fixture
def said(planted: Any) -> Callable[..., Case]:
    """Return a function that makes a case of 10 frames of 20 ms with these words."""

    def build(spoken: tuple[Word, ...] | None, texts: tuple[str, ...], text: str) -> Case:
        features = Features(torch.zeros(24, 4), 20, 10, 2, 0.01)
        rows = tuple(range(len(texts)))
        hypothesis = Hypothesis((0,), rows, texts, rows[:-1], text, False)
        return Case(planted, features, hypothesis, "clip", words=spoken)

    return build


def row(*frames: int) -> list[float]:
    return [1 / len(frames) if j in frames else 0.0 for j in range(10)]


def test_word_window_by_hand(said: Callable[..., Case]) -> None:
    # Frame j covers [0.02 j, 0.02 (j + 1)). The second word touches frames 3 (from 0.06), 4 and 5.
    spoken = (Word("the", 0.0, 0.04), Word("boy", 0.06, 0.101), Word("runs", 0.12, 0.12))
    texts = (" the", " b", "oy", " runs", " away", "<|endoftext|>")
    found = word_window(said(spoken, texts, "the boy runs away"))
    flat = [0.1] * 10
    expected = [row(0, 1), row(3, 4, 5), row(3, 4, 5), row(6), flat, flat]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_windows_end_with_the_audio(said: Callable[..., Case]) -> None:
    spoken = (Word("a", 0.17, 5.0), Word("b", 0.25, 0.3))
    found = word_window(said(spoken, (" a", " b", "<|endoftext|>"), "a b"))
    torch.testing.assert_close(found, torch.tensor([row(8, 9), [0.1] * 10, [0.1] * 10]))


@pytest.mark.parametrize("frame", range(10))
def test_a_word_on_a_frame_has_that_frame_alone(said: Callable[..., Case], frame: int) -> None:
    spoken = (Word("a", frame * 0.02, (frame + 1) * 0.02),)
    found = word_window(said(spoken, (" a", "<|endoftext|>"), "a"))
    torch.testing.assert_close(found[0], torch.tensor(row(frame)))


def test_without_word_times_it_is_unsupported(said: Callable[..., Case]) -> None:
    with pytest.raises(Unsupported, match="the manifest has no 'words'"):
        word_window(said(None, (" a", "<|endoftext|>"), "a"))


# -- words on their way through the runner --------------------------------------------------------

WORDS = [{"word": "1", "start": 0.0, "end": 0.1}, {"word": "3", "start": 0.1, "end": 0.2}]


@pytest.fixture
def utterance(make_manifest: Callable[..., Path]) -> Utterance:
    fields = {"clip": {"words": WORDS, "translation_en": "eins drei"}}
    return read_manifest(make_manifest({"clip": 0.24}, fields)).utterances[0]


def method(name: str) -> Method:
    return Method.registered(Call(name))


def explained(planted: Any, store: Store, utterance: Utterance, task: str) -> dict[str, Any]:
    """Run word-window and uniform through the explain stage; return maps or reasons."""
    job = Job(load_task(task), utterance, 0)
    bench = Bench(planted, store)
    spoken = Spoken(job, stages.decode(bench, job))
    methods = [method("word-window"), method("uniform")]
    unsupported = stages.explain(bench, spoken, methods)
    found: dict[str, Any] = {call.name: reason for call, reason in unsupported.items()}
    for each in methods:
        stored = store.get(map_key(planted.info, spoken, each))
        if stored is not None:
            found[each.call.name] = torch.from_numpy(stored.arrays["values"])
    return found


def test_the_runner_hands_over_the_words_of_a_transcription(
    planted: Any, utterance: Utterance, tmp_path: Path
) -> None:
    # The planted model writes "1 2 3" on 12 frames of 20 ms; "1" and "3" were said.
    found = explained(planted, Store(tmp_path / "store"), utterance, "demo-asr-en")
    first = torch.tensor([0.2] * 5 + [0.0] * 7)
    torch.testing.assert_close(found["word-window"][0], first)
    torch.testing.assert_close(found["word-window"][1], torch.full((12,), 1 / 12))
    torch.testing.assert_close(found["word-window"][2], first.roll(5))


def test_a_translation_has_no_words(planted: Any, utterance: Utterance, tmp_path: Path) -> None:
    found = explained(planted, Store(tmp_path / "store"), utterance, "demo-st-multi")
    assert "is a translation" in found["word-window"]
    assert isinstance(found["uniform"], Tensor)


def test_only_the_key_of_a_method_that_uses_words_depends_on_them(
    planted: Any, utterance: Utterance
) -> None:
    moved = replace(utterance, words=(Word("1", 0.0, 0.1), Word("3", 0.1, 0.21)))
    silent = replace(utterance, words=None)
    task = load_task("demo-asr-en")
    hypothesis = planted.decode(
        planted.features(np.zeros(1, np.float32)), "en", None, task.decoding
    )
    decoded = Decoded(hypothesis, axes(hypothesis.texts), 1.0)

    def digests(name: str) -> set[str]:
        spoken = [Spoken(Job(task, u, 0), decoded) for u in (utterance, moved, silent)]
        return {map_key(planted.info, each, method(name)).digest for each in spoken}

    assert len(digests("word-window")) == 3
    assert len(digests("voiced")) == 1
