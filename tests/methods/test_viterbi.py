"""The best path through tokens and pauses, by hand and against all paths."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from xbench.case import Case
from xbench.errors import Unsupported
from xbench.methods.viterbi import best_path, token_scores, viterbi_path
from xbench.models.protocol import Features, Hypothesis
from xbench.trace import Trace

FRAMES, STRIDE, MELS = 6, 2, 3


def states(count: int, frames: int) -> Iterator[tuple[int, ...]]:
    """Yield every path: 0 pause, 1 token, 2 pause and so on."""
    last = 2 * count
    for path in itertools.product(range(last + 1), repeat=frames):
        steps = itertools.pairwise(path)
        allowed = all(b - a in (0, 1) or (b - a == 2 and b % 2) for a, b in steps)
        if path[0] <= 1 and path[-1] >= last - 1 and allowed:
            yield path


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("count", "frames"), [(1, 1), (1, 4), (2, 5), (3, 3), (2, 2)])
def test_the_path_is_the_best_of_all(count: int, frames: int, seed: int) -> None:
    generator = np.random.default_rng([seed, count, frames])
    tokens = generator.normal(size=(count, frames))
    pauses = generator.normal(size=frames)

    def total(path: tuple[int, ...]) -> float:
        return sum(tokens[s // 2, j] if s % 2 else pauses[j] for j, s in enumerate(path))

    best = max(states(count, frames), key=total)
    expected = np.array([[s == 2 * i + 1 for s in best] for i in range(count)])
    np.testing.assert_array_equal(best_path(tokens, pauses), expected)


def test_the_path_by_hand() -> None:
    tokens = np.array([[9.0, 9, 0, 0, 0, 0], [0, 0, 0, 9, 9, 0]])
    quiet = np.array([1.0, 1, 1, 1, 1, 1])
    found = best_path(tokens, quiet)
    np.testing.assert_array_equal(found, [[1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0]])
    # Without pauses worth anything, each frame goes to a token.
    assert best_path(tokens, np.full(6, -99.0)).sum(0).tolist() == [1] * 6


def test_more_tokens_than_frames_have_no_path() -> None:
    with pytest.raises(ValueError, match="3 tokens have no path through 2 frames"):
        best_path(np.zeros((3, 2)), np.zeros(2))


def test_token_scores_are_logarithms_of_sharpened_rows() -> None:
    found = token_scores(np.array([[0.2, 0.4, 0.4], [0.0, 0.0, 0.0]]), 2.0)
    expected = np.log(np.array([[1 / 9, 4 / 9, 4 / 9], [0, 0, 0]]) + 1e-8)
    np.testing.assert_allclose(found, expected)


@pytest.fixture
def heard(planted: Any, make_trace: Callable[..., Trace]) -> Callable[..., Case]:
    """Return a function that makes a case from [token][frame] attention and the energy of each frame."""

    def build(
        weights: list[list[float]], energy: list[float], content: tuple[int, ...], padding: int = 0
    ) -> Case:
        frames, rows = len(energy), len(weights)
        padded = torch.tensor([*energy, *[0.0] * padding])
        values = padded.repeat_interleave(STRIDE)[:, None].expand(-1, MELS).contiguous()
        features = Features(values, STRIDE * frames, frames, STRIDE, 0.01)
        tokens = tuple(range(rows))
        hypothesis = Hypothesis((0,), tokens, tuple("abcdef"[:rows]), content, "", False)
        trace = make_trace(torch.tensor([[weights]]), content)
        return replace(Case(planted, features, hypothesis, "clip"), trace=trace)

    return build


# Both tokens also look at frame 3, which is silent.
LOOKS = [
    [0.4, 0.3, 0.05, 0.15, 0.05, 0.05],
    [0.05, 0.05, 0.05, 0.15, 0.4, 0.3],
    [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
]
LOUD = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]


def path(case: Case, **given: Any) -> list[list[int]]:
    asked = {"method": "mean-heads", "sharpen": 1.0, "gamma": 1.0, "penalty": 0.0, **given}
    return viterbi_path(case, **asked).int().tolist()


def test_pauses_lie_where_it_is_quiet(heard: Callable[..., Case]) -> None:
    case = heard(LOOKS, LOUD, (0, 1))
    assert path(case) == [[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0] * 6]
    # A penalty makes pauses dear: the quiet frames go to the tokens.
    columns = np.array(path(case, penalty=9.0)).sum(0)
    assert columns.tolist() == [1] * 6


def test_what_is_quiet_follows_from_the_whole_window(heard: Callable[..., Case]) -> None:
    # The same clip, with its quiet frames at half the level of its loud ones: next to silence they are no pause.
    half = [1.0, 1.0, 0.5, 0.5, 1.0, 1.0]
    assert np.array(path(heard(LOOKS, half, (0, 1)))).sum() == 4
    padded = heard(LOOKS, half, (0, 1), padding=10)
    assert np.array(path(padded, gamma=6.0)).sum() == 6


def test_special_rows_are_zero_and_too_few_frames_give_no_path(heard: Callable[..., Case]) -> None:
    few = heard([row[:1] for row in LOOKS], [1.0], (0, 1))
    assert path(few) == [[0], [0], [0]]
    assert path(heard(LOOKS, LOUD, ())) == [[0] * 6] * 3


def test_only_maps_that_are_distributions_are_aligned(heard: Callable[..., Case]) -> None:
    case = heard(LOOKS, LOUD, (0, 1))
    with pytest.raises(Unsupported, match="'whisper-timing' has no encoder-frame map"):
        path(case, method="whisper-timing")
    with pytest.raises(Unsupported, match="publishes no alignment heads"):
        path(case, method="alignment-heads")
