"""Cross-attention without its sinks, by hand and against the definitions written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from composed_network import block, network
from torch import Tensor

from xbench.errors import Unsupported
from xbench.methods.attention import mean_heads
from xbench.methods.sinks import (
    doa,
    frame_divided,
    frame_zscore,
    norm_chosen_heads,
    sinks_dropped,
)
from xbench.trace import Trace

MakeTrace = Callable[..., Trace]

# Frame 0 takes half of every token; the rest says which token it is. The last row is end-of-text.
SINK = [[0.5, 0.4, 0.1, 0.0], [0.5, 0.1, 0.4, 0.0], [0.2, 0.2, 0.2, 0.4]]
OTHER = [[0.25, 0.25, 0.5, 0.0], [0.25, 0.75, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
CONTENT = (0, 1)


@pytest.fixture
def two(make_trace: MakeTrace) -> Trace:
    return make_trace(torch.tensor([[SINK, OTHER]]), CONTENT)


def check(values: Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(values, torch.tensor(expected).float(), rtol=1e-5, atol=1e-6)


def row(*values: float) -> list[float]:
    return [value / sum(values) for value in values]


def divided(trace: Trace, **given: str) -> Tensor:
    chosen = {"layers": "all", "heads": "all", "by": "mean", "rows": "content", "per": "head"}
    return frame_divided(trace, **{**chosen, **given})


def zscore(trace: Trace, **given: str) -> Tensor:
    chosen = {"layers": "all", "heads": "all", "part": "signed", "rows": "content", "per": "head"}
    return frame_zscore(trace, **{**chosen, **given})


def dropped(trace: Trace, frames: int, **given: str) -> Tensor:
    chosen = {"layers": "all", "heads": "all", "rows": "content", "per": "head"}
    return sinks_dropped(trace, frames=frames, **{**chosen, **given})


# -- frame-divided --------------------------------------------------------------------------------


def test_divided_by_the_mean_over_content_tokens_by_hand(two: Trace) -> None:
    # Means over the two content tokens: .5 .25 .25 0; end of text: over .4, .7 / 3, .7 / 3, .4 / 3.
    third = row(0.2 / 0.4, 0.2 * 3 / 0.7, 0.2 * 3 / 0.7, 3.0)
    check(divided(two, heads="0"), [row(1, 1.6, 0.4, 0), row(1, 0.4, 1.6, 0), third])


def test_divided_by_the_norm_over_tokens_by_hand(two: Trace) -> None:
    root = math.sqrt(0.17)
    first, second = divided(two, heads="0", by="norm")[:2]
    check(first, row(math.sqrt(0.5), 0.4 / root, 0.1 / root, 0.0))  # type: ignore[arg-type]
    check(second, row(math.sqrt(0.5), 0.1 / root, 0.4 / root, 0.0))  # type: ignore[arg-type]


def test_the_statistic_is_that_of_each_head_or_of_their_mean(two: Trace) -> None:
    # Means of OTHER: .25 .5 .25 0. Each head: (1 1.6 .4) + (1 .5 2), the mean: .375 .325 .3 over .375 .375 .25.
    check(divided(two, per="head")[:1], [row(2.0, 2.1, 2.4, 0.0)])
    check(divided(two, per="mean")[:1], [row(1.0, 0.325 / 0.375, 1.2, 0.0)])


def test_a_sink_of_all_tokens_tells_nothing_afterwards(make_trace: MakeTrace) -> None:
    generator = torch.Generator().manual_seed(5)
    shown = torch.rand(1, 1, 6, 20, generator=generator).softmax(-1)
    with_sink = shown * 0.1
    with_sink[..., 7] += 0.9
    before = mean_heads(make_trace(with_sink), layers="all")
    assert before[:, 7].min() > 0.9
    after = divided(make_trace(with_sink))
    assert (after[:, 7] - 1 / 20).abs().max() < 0.003  # of 20 frames it has its share


def test_more_rows_can_be_counted(two: Trace) -> None:
    # Means over all three rows: .4, .7 / 3, .7 / 3, .4 / 3.
    first = row(0.5 / 0.4, 0.4 * 3 / 0.7, 0.1 * 3 / 0.7, 0.0)
    check(divided(two, heads="0", rows="generated")[:1], [first])
    prompt = torch.tensor([[[[0.8, 0.0, 0.0, 0.2]], [[1.0, 0.0, 0.0, 0.0]]]])
    # And with the prompt: 2 / 4, .7 / 4, .7 / 4, .6 / 4.
    with_prompt = replace(two, prompt_attention=prompt)
    first = row(1.0, 0.4 * 4 / 0.7, 0.1 * 4 / 0.7, 0.0)
    check(divided(with_prompt, heads="0", rows="all")[:1], [first])
    check(divided(with_prompt, heads="0"), divided(two, heads="0").tolist())


def test_without_rows_of_the_prompt_it_says_so(two: Trace) -> None:
    with pytest.raises(Unsupported, match="no rows of the prompt; take rows=generated"):
        divided(two, rows="all")


def test_a_trace_keeps_the_prompt_rows_that_predict_nothing_generated() -> None:
    # Positions: two of the prompt, of which the second predicts token 0; frame 2 is padding.
    cross = block([[[0.1, 0.4, 0.5], [0.3, 0.5, 0.2], [0.2, 0.8, 0.0]]])
    trace = network(cross=[cross], frames=2, prompt=2)
    assert trace.prompt_attention is not None
    check(trace.prompt_attention[0, 0], [[0.2, 0.8]])
    check(trace.cross_attention[0, 0], [[0.375, 0.625], [0.2, 0.8]])


def test_without_content_all_generated_rows_count(make_trace: MakeTrace) -> None:
    shown = torch.tensor([[SINK]])
    check(divided(make_trace(shown, ())), divided(make_trace(shown, ()), rows="generated").tolist())


# -- frame-zscore ---------------------------------------------------------------------------------


def test_zscore_by_hand(two: Trace) -> None:
    # Two tokens lie one deviation to either side of their mean; a frame alike for both is 0.
    check(zscore(two, heads="0")[:2], [[0, 1, -1, 0], [0, -1, 1, 0]])
    check(zscore(two)[:2], [[0, 0, 0, 0], [0, 0, 0, 0]])  # the heads say the opposite
    check(zscore(two, per="mean")[:2], [[0, -1, 1, 0], [0, 1, -1, 0]])
    check(zscore(two, heads="0", part="positive")[:2], [[0, 1, 0, 0], [0, 0, 1, 0]])


def test_zscore_of_the_mean_is_what_pearson_paper_makes_of_mean_heads(
    make_trace: MakeTrace,
) -> None:
    generator = torch.Generator().manual_seed(2)
    trace = make_trace(torch.rand(2, 3, 5, 11, generator=generator).softmax(-1))
    mean = mean_heads(trace, layers="all").double()
    expected = (mean - mean.mean(0)) / mean.std(0, correction=0)
    torch.testing.assert_close(zscore(trace, per="mean"), expected.float(), rtol=1e-4, atol=1e-4)


def test_doa_by_hand(make_trace: MakeTrace) -> None:
    """Heads are brought together before deviations are taken, of the upper layers, and end of text counts."""
    flat = [[0.25] * 4] * 3
    more, less = [[1.5, 0.5, -1, 0], [-1, 0, 0.5, 1.5]], [[-1.5, -0.5, 1, 0], [1, 0, -0.5, -1.5]]
    first, second = (torch.tensor([*part, [0.0] * 4]) / 10 for part in (more, less))
    upper = torch.stack([torch.tensor(SINK) + first, torch.tensor(SINK) + second])
    trace = make_trace(torch.stack([torch.tensor([OTHER, flat]), upper]), CONTENT)
    z = [[0.707107, 1.336306, -1.069045, -0.707107], [0.707107, -1.069045, 1.336306, -0.707107]]
    check(doa(trace, layers="upper-half"), [*z, [-1.414214, -0.267261, -0.267261, 1.414214]])
    assert not torch.allclose(doa(trace, layers="all"), doa(trace, layers="upper-half"))


# -- sinks-dropped --------------------------------------------------------------------------------


def test_dropping_by_hand(two: Trace) -> None:
    check(dropped(two, 1, heads="0")[:2], [[0, 0.8, 0.2, 0], [0, 0.2, 0.8, 0]])
    # Each head its own frame: the other's most attended frame is 1. Rows: .25 .5 over .75; .25 over .25.
    expected = [
        [1 / 6, 0.4, 0.1 + 1 / 3, 0],
        [0.5, 0.1, 0.4, 0],
    ]
    check(dropped(two, 1)[:2], expected)
    # The mean's shares: .375 .375 .25 0; of equal frames the earlier one goes.
    check(dropped(two, 1, per="mean")[:1], [row(0, 0.325, 0.3, 0)])


def test_dropping_nothing_is_the_mean_and_one_frame_always_stays(two: Trace) -> None:
    check(dropped(two, 0), mean_heads(two, layers="all").tolist())
    check(dropped(two, 99, heads="0", rows="generated")[2], [0.0, 0.0, 0.0, 1.0])  # type: ignore[arg-type]


# -- norm-chosen-heads ----------------------------------------------------------------------------


def chosen(trace: Trace, k: int, by: str = "both", divided: bool = False) -> Tensor:
    return norm_chosen_heads(trace, k=k, by=by, divided=divided, rows="content")


EYE = torch.eye(3).tolist()  # columns 1 1 1, rows 1 1 1: 6
STUCK = [[1.0, 0, 0]] * 3  # columns sqrt(3) 0 0, rows 1 1 1: 4.73
FLAT = [[1 / 3, 1 / 3, 1 / 3]] * 3  # columns 3 / sqrt(3), rows 3 / sqrt(3): 3.46


@pytest.mark.parametrize(
    ("k", "by", "expected"),
    [
        (1, "both", [EYE]),
        (2, "both", [EYE, STUCK]),
        (9, "both", [EYE, STUCK, FLAT]),
        (1, "columns", [EYE]),
        (2, "rows", [STUCK, EYE]),
    ],
)
def test_heads_are_chosen_by_their_norms(
    make_trace: MakeTrace, k: int, by: str, expected: list[list[list[float]]]
) -> None:
    trace = make_trace(torch.tensor([[FLAT], [STUCK], [EYE]]))
    check(chosen(trace, k, by), torch.tensor(expected).mean(0).tolist())


def test_columns_tell_a_flat_head_from_a_stuck_one_by_nothing(make_trace: MakeTrace) -> None:
    # Both have column norms of sqrt(3) in all, so the first one is taken.
    trace = make_trace(torch.tensor([[FLAT], [STUCK]]))
    check(chosen(trace, 1, "columns"), FLAT)
    check(chosen(trace, 1, "rows"), STUCK)


def test_chosen_heads_are_divided_as_by_frame_divided(two: Trace) -> None:
    best = divided(two, heads="1", by="norm")  # the sharper one
    check(chosen(two, 1, divided=True), best.tolist())
    check(chosen(two, 5, divided=True), divided(two, by="norm").tolist())


# -- the fact -------------------------------------------------------------------------------------


def test_sinks_by_hand(two: Trace) -> None:
    # Means over content tokens: .5 .25 .25 0 and .25 .5 .25 0.
    check(two.sinks(1), [[0.5, 0.5]])
    check(two.sinks(2), [[0.75, 0.75]])
    check(two.sinks(), [[1.0, 1.0]])
    check(two.sinks(99), [[1.0, 1.0]])


def test_sinks_without_content_are_those_of_all_rows(make_trace: MakeTrace) -> None:
    check(make_trace(torch.tensor([[SINK]]), ()).sinks(1), [[0.4]])


def test_what_does_not_exist_is_unsupported(two: Trace) -> None:
    for method in (divided, zscore):
        with pytest.raises(Unsupported, match="layer 3 does not exist"):
            method(two, layers="3")
    with pytest.raises(Unsupported, match="head 2 does not exist"):
        dropped(two, 1, heads="2")
