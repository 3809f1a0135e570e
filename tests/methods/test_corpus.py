"""Methods that look beyond their own utterance: selection, stretching, swapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xbench.case import Case
from xbench.errors import Unsupported
from xbench.fitting import FitCase, FitSplit, Fitted, Learned
from xbench.maps import GridMap
from xbench.methods.corpus import (
    best_head,
    corpus_mean,
    fit_best_head,
    fit_corpus_mean,
    fit_greedy_heads,
    fit_heads,
    randomised_model,
    shuffled,
    stretch,
    top_k_heads,
)
from xbench.metrics import Score
from xbench.trace import Trace

MakeTrace = Callable[..., Trace]

# One layer, three heads, two tokens, four frames.
ATTENTION = torch.tensor(
    [
        [
            [[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]],
            [[0.1, 0.1, 0.1, 0.7], [0.1, 0.1, 0.7, 0.1]],
            [[0.4, 0.2, 0.2, 0.2], [0.2, 0.4, 0.2, 0.2]],
        ]
    ]
)
REFERENCE = np.array([[5.0, 1.0, 1.0, 1.0], [2.0, 8.0, 2.0, 2.0]])


def overlap(grid: GridMap, case: FitCase) -> Score:
    """A score by hand: the mean product of map and reference, constant maps have none."""
    if np.ptp(grid.values) == 0:
        return Score(None, "constant-map")
    return Score(float((grid.values * case.reference.values).mean()))


def split_of(*traces: Trace) -> FitSplit:
    return FitSplit(tuple(FitCase(t, GridMap(REFERENCE)) for t in traces), overlap)


def test_heads_are_ranked_by_their_mean_score(make_trace: MakeTrace) -> None:
    learned = fit_heads(split_of(make_trace(ATTENTION)), k=2)
    assert learned.facts["heads"] == [[0, 0], [0, 2]]
    # head 0: row 0: 3.5 + 3 x 0.1, row 1: 0.2 + 5.6 + 2 x 0.2; over 8 cells
    assert learned.facts["scores"][0] == pytest.approx((3.8 + 6.2) / 8)


def test_the_mean_is_over_utterances(make_trace: MakeTrace) -> None:
    # in the second utterance heads 0 and 1 change places, and head 2 is as before
    swapped = ATTENTION[:, [1, 0, 2]]
    learned = fit_heads(split_of(make_trace(ATTENTION), make_trace(swapped)), k=3)
    scores = dict(zip(map(tuple, learned.facts["heads"]), learned.facts["scores"], strict=True))
    assert scores[0, 0] == pytest.approx(scores[0, 1])


def test_heads_without_any_score_are_never_chosen(make_trace: MakeTrace) -> None:
    constant = ATTENTION.clone()
    constant[0, 0] = 0.25
    split = split_of(make_trace(constant))
    assert fit_best_head(split).facts["heads"] == [[0, 2]]
    with pytest.raises(Unsupported, match="only 2 heads have a score"):
        fit_heads(split, k=3)


def test_more_heads_than_there_are_is_told(make_trace: MakeTrace) -> None:
    with pytest.raises(Unsupported, match="k=4 is more than the 3 heads"):
        fit_heads(split_of(make_trace(ATTENTION)), k=4)


# Head 0 is right for the first token, head 1 for the second; head 2 is the best alone, and both at once are better.
HALVES = torch.tensor(
    [
        [
            [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
            [[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]],
            [[0.6, 0.1, 0.2, 0.1], [0.1, 0.6, 0.2, 0.1]],
        ]
    ]
)


def correlation(grid: GridMap, case: FitCase) -> Score:
    return Score(float(np.corrcoef(grid.values.ravel(), case.reference.values.ravel())[0, 1]))


def greedy(trace: Trace, k: int) -> Learned:
    return fit_greedy_heads(FitSplit((FitCase(trace, GridMap(REFERENCE)),), correlation), k=k)


def test_a_set_grows_by_the_head_that_helps_most_until_none_does(make_trace: MakeTrace) -> None:
    def of(*heads: int) -> float:
        return float(np.corrcoef(HALVES[0, list(heads)].mean(0).ravel(), REFERENCE.ravel())[0, 1])

    learned = greedy(make_trace(HALVES), 3)
    assert of(2) > max(of(0), of(1))
    assert learned.facts["heads"][0] == [0, 2]
    best = max((0, 1), key=lambda head: of(2, head))
    expected = [[0, 2]] + ([[0, best]] if of(2, best) > of(2) else [])
    assert learned.facts["heads"][:2] == expected
    scores = learned.facts["scores"]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(of(2))
    assert scores[-1] == pytest.approx(of(*(head for _, head in learned.facts["heads"])))


def test_no_head_joins_that_does_not_help_and_no_more_than_k(make_trace: MakeTrace) -> None:
    alike = ATTENTION[:, [0, 0, 1]]  # the second head is the first one again, the third is wrong
    assert greedy(make_trace(alike), 3).facts["heads"] == [[0, 0]]
    assert len(greedy(make_trace(HALVES), 1).facts["heads"]) == 1


def test_selected_heads_are_used(make_trace: MakeTrace) -> None:
    fitted = Fitted(Learned({"heads": [[0, 2], [0, 0]]}), "dev", 1)
    trace = make_trace(ATTENTION)
    expected = (ATTENTION[0, 0] + ATTENTION[0, 2]) / 2
    torch.testing.assert_close(top_k_heads(trace, k=2, fitted=fitted), expected)
    only = Fitted(Learned({"heads": [[0, 1]]}), "dev", 1)
    torch.testing.assert_close(best_head(trace, fitted=only), ATTENTION[0, 1])


def test_what_was_learned_determines_the_digest() -> None:
    def digest(heads: list[list[int]], values: float) -> str:
        return Fitted(Learned({"heads": heads}, {"m": np.full(3, values)}), "dev", 1).digest

    assert digest([[0, 1]], 1.0) == digest([[0, 1]], 1.0)
    assert len({digest([[0, 1]], 1.0), digest([[1, 0]], 1.0), digest([[0, 1]], 2.0)}) == 3


def test_stretch_by_hand() -> None:
    # two cells to four: centres at -0.25, 0.25, 0.75, 1.25 of the old cells, cut to 0..1
    np.testing.assert_allclose(stretch(np.array([[0.0, 4.0]]), 1, 4), [[0, 1, 3, 4]])
    np.testing.assert_allclose(stretch(np.array([[0.0], [4.0]]), 4, 1).T, [[0, 1, 3, 4]])


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 12), st.integers(1, 15))
def test_stretch_keeps_constants_bounds_and_its_own_size(a: int, b: int, c: int, d: int) -> None:
    values = np.random.default_rng(a * 100 + b).random((a, b))
    stretched = stretch(values, c, d)
    assert stretched.shape == (c, d)
    assert values.min() - 1e-12 <= stretched.min()
    assert stretched.max() <= values.max() + 1e-12
    np.testing.assert_allclose(stretch(values, a, b), values)
    np.testing.assert_allclose(stretch(np.full((a, b), 3.0), c, d), 3.0)


def test_corpus_mean_is_the_mean_reference_as_rows_that_sum_to_one(make_trace: MakeTrace) -> None:
    trace = make_trace(ATTENTION)
    learned = fit_corpus_mean(split_of(trace, trace))
    assert learned.facts == {"utterances": 2}
    values = corpus_mean(trace, fitted=Fitted(learned, "dev", 2))
    torch.testing.assert_close(values.sum(1), torch.ones(2))
    # its rows peak where the reference rows peak
    assert values.argmax(1).tolist() == [0, 1]


def test_special_tokens_take_the_row_before_them(make_trace: MakeTrace) -> None:
    attention = torch.cat([ATTENTION, ATTENTION[:, :, :1]], dim=2)
    trace = make_trace(attention, (0, 1))
    learned = fit_corpus_mean(split_of(make_trace(ATTENTION)))
    values = corpus_mean(trace, fitted=Fitted(learned, "dev", 1))
    assert values.shape == (3, 4)
    torch.testing.assert_close(values[2], values[1])


def test_a_swapped_map_is_the_partners_map_stretched(
    tiny: Any, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]
) -> None:
    case, other = (case_of(tiny, clip(seconds, seed)) for seconds, seed in ((0.9, 3), (1.3, 5)))
    traced = [
        replace(c, trace=tiny.trace(c.features, c.hypothesis, frozenset())) for c in (case, other)
    ]
    swapped = shuffled(replace(traced[0], partner=traced[1]), method="mean-heads").numpy()
    theirs = traced[1].trace.cross_attention.mean((0, 1))[list(other.layout.content)].numpy()
    expected = stretch(theirs, len(case.layout.content), case.layout.frames)
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(swapped[list(case.layout.content)], expected, atol=1e-6)


def test_a_randomised_map_is_the_methods_map_of_other_weights(
    tiny: Any, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]
) -> None:
    case = case_of(tiny, clip(0.9, 3))
    found = randomised_model(case, method="mean-heads", seed=4)
    trace = tiny.randomised(4).trace(case.features, case.hypothesis, frozenset())
    torch.testing.assert_close(found, trace.cross_attention.mean((0, 1)))


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("grad-attention", "whose rows sum to one"),
        ("saliency", "whose rows sum to one"),
        ("best-head", "itself looks at other utterances"),
        ("shuffled", "itself looks at other utterances"),
    ],
)
def test_only_distributions_stand_in_for_a_control(
    tiny: Any,
    case_of: Callable[..., Case],
    clip: Callable[..., np.ndarray],
    method: str,
    reason: str,
) -> None:
    case = case_of(tiny, clip(0.9, 3))
    with pytest.raises(Unsupported, match=reason):
        randomised_model(case, method=method, seed=0)
    with pytest.raises(Unsupported, match=reason):
        shuffled(replace(case, partner=case), method=method)
