from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from xbench.errors import Unsupported
from xbench.methods.attention import (
    entropy_weighted,
    max_heads,
    mean_heads,
    median_heads,
    min_heads,
    product_heads,
    raw_attention,
    variance_weighted,
)
from xbench.trace import Trace

MakeTrace = Callable[..., Trace]
OVER_HEADS = (
    mean_heads,
    max_heads,
    median_heads,
    min_heads,
    product_heads,
    entropy_weighted,
    variance_weighted,
)
# [layer][head][token][frame], one token; every row sums to one.
FOUR = [[[[0.6, 0.3, 0.1]], [[0.2, 0.2, 0.6]]], [[[0.1, 0.8, 0.1]], [[0.3, 0.3, 0.4]]]]


@pytest.fixture
def four(make_trace: MakeTrace) -> Trace:
    return make_trace(torch.tensor(FOUR))


def heads(make_trace: MakeTrace, *rows: list[list[float]], content: object = None) -> Trace:
    """Make a trace of one layer from [head][token][frame]."""
    return make_trace(torch.tensor([rows]), content)


def check(values: Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(values, torch.tensor(expected))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (mean_heads, [0.3, 0.4, 0.3]),
        (max_heads, [0.3, 0.4, 0.3]),  # 0.6, 0.8, 0.6 over 2
        (min_heads, [0.25, 0.5, 0.25]),  # 0.1, 0.2, 0.1 over 0.4
        (median_heads, [0.3125, 0.375, 0.3125]),  # 0.25, 0.3, 0.25 over 0.8
        (product_heads, [3 / 17, 12 / 17, 2 / 17]),  # 36, 144, 24 over 204
    ],
)
def test_four_heads_by_hand(
    four: Trace, method: Callable[..., Tensor], expected: list[float]
) -> None:
    check(method(four, layers="all", heads="all"), [expected])


@pytest.mark.parametrize(
    ("layers", "heads", "expected"),
    [
        ("0", "all", [0.6, 0.3, 0.6]),
        ("last", "0+1", [0.3, 0.8, 0.4]),
        ("lower-half", "1", [0.2, 0.2, 0.6]),
        ("upper-half", "last", [0.3, 0.3, 0.4]),
        ("all", "0", [0.6, 0.8, 0.1]),
        ("0+1", "1", [0.3, 0.3, 0.6]),
    ],
)
def test_layers_and_heads_choose_by_hand(
    four: Trace, layers: str, heads: str, expected: list[float]
) -> None:
    total = sum(expected)
    check(max_heads(four, layers=layers, heads=heads), [[e / total for e in expected]])


def test_the_median_of_an_odd_number_is_the_middle_one(make_trace: MakeTrace) -> None:
    trace = heads(make_trace, [[0.6, 0.3, 0.1]], [[0.2, 0.2, 0.6]], [[0.1, 0.8, 0.1]])
    check(median_heads(trace, layers="all", heads="all"), [[1 / 3, 1 / 2, 1 / 6]])


@pytest.mark.parametrize("method", OVER_HEADS)
def test_one_chosen_head_is_raw_attention(four: Trace, method: Callable[..., Tensor]) -> None:
    found = method(four, layers="1", heads="0")
    torch.testing.assert_close(found, raw_attention(four, layer=1, head=0))


@pytest.mark.parametrize("method", OVER_HEADS)
def test_rows_are_distributions_and_the_order_of_heads_does_not_matter(
    make_trace: MakeTrace, method: Callable[..., Tensor]
) -> None:
    generator = torch.Generator().manual_seed(3)
    attention = torch.rand(3, 4, 5, 17, generator=generator).softmax(-1)
    found = method(make_trace(attention), layers="all", heads="all")
    assert found.shape == (5, 17)
    assert found.dtype == torch.float32
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(5))
    shuffled = make_trace(attention.flip(0).flip(1))
    torch.testing.assert_close(method(shuffled, layers="all", heads="all"), found)


@pytest.mark.parametrize("method", OVER_HEADS)
@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"layers": "0+2", "heads": "all"},
            "layer 2 does not exist: the decoder has layers 0 to 1",
        ),
        ({"layers": "all", "heads": "3"}, "head 3 does not exist: the decoder has heads 0 to 1"),
    ],
)
def test_what_does_not_exist_is_unsupported(
    four: Trace, method: Callable[..., Tensor], chosen: dict[str, str], message: str
) -> None:
    with pytest.raises(Unsupported, match=message):
        method(four, **chosen)


@pytest.mark.parametrize("method", [min_heads, product_heads])
def test_a_row_without_common_frames_stays_zero(
    make_trace: MakeTrace, method: Callable[..., Tensor]
) -> None:
    trace = heads(
        make_trace, [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], [[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]]
    )
    check(method(trace, layers="all", heads="all"), [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def test_the_product_of_many_heads_does_not_underflow(make_trace: MakeTrace) -> None:
    # 0.9^2000 0.1^2000 on both frames, below the smallest float64; one more head decides.
    attention = torch.tensor([0.9, 0.1]).repeat(4001, 1)
    attention[2000:] = attention[2000:].flip(-1)
    for share in (0.75, 0.7, 0.6, 0.501):
        attention[4000] = torch.tensor([share, 1 - share])
        trace = make_trace(attention.reshape(1, 4001, 1, 2))
        check(product_heads(trace, layers="all", heads="all"), [[share, 1 - share]])


# -- weights --------------------------------------------------------------------------------------

SHARP = [1.0, 0.0, 0.0, 0.0]  # entropy 0: weight 1
HALF = [0.0, 0.0, 0.5, 0.5]  # entropy log 2 of log 4: weight 1/2
FLAT = [0.25, 0.25, 0.25, 0.25]  # weight 0


def test_entropy_weights_by_hand(make_trace: MakeTrace) -> None:
    trace = heads(make_trace, [SHARP], [HALF], [FLAT])
    # (1 * SHARP + 1/2 * HALF) / (3/2)
    check(entropy_weighted(trace, layers="all", heads="all"), [[2 / 3, 0.0, 1 / 6, 1 / 6]])
    check(entropy_weighted(trace, layers="all", heads="1+2"), [HALF])


def test_entropy_is_averaged_over_content_rows(make_trace: MakeTrace) -> None:
    # Weights (1 + 0)/2 and (1/2 + 1/2)/2: alike. The third row is end of text and must not count.
    rows = ([SHARP, FLAT, SHARP], [HALF, HALF, FLAT])
    trace = heads(make_trace, *rows, content=(0, 1))
    expected = torch.tensor(rows).mean(0)
    torch.testing.assert_close(entropy_weighted(trace, layers="all", heads="all"), expected)


def test_heads_that_weigh_nothing_weigh_alike(make_trace: MakeTrace) -> None:
    trace = heads(make_trace, [FLAT], [FLAT])
    check(entropy_weighted(trace, layers="all", heads="all"), [FLAT])
    still = heads(make_trace, [SHARP, SHARP], [HALF, HALF])
    expected = [[0.5, 0.0, 0.25, 0.25]] * 2
    check(variance_weighted(still, layers="all", heads="all"), expected)


def test_rounding_is_no_weight(make_trace: MakeTrace) -> None:
    # The second head varies with the token by rounding alone, the first really, if little.
    few = torch.full((1, 2, 2, 4), 0.25)
    few[0, 0, 0, :2] += torch.tensor([1e-4, -1e-4])
    few[0, 1, 0, :2] += torch.tensor([6e-8, -6e-8])
    trace = make_trace(few)
    assert torch.equal(variance_weighted(trace, layers="all", heads="all"), few[0, 0])
    still = torch.tensor([0.7, 0.1, 0.1, 0.1]).repeat(2, 1)
    alike = make_trace(torch.stack([few[0, 1], still])[None])
    expected = (few[0, 1] + still) / 2
    torch.testing.assert_close(variance_weighted(alike, layers="all", heads="all"), expected)


def test_a_single_frame_or_no_content_is_no_trouble(make_trace: MakeTrace) -> None:
    single = heads(make_trace, [[1.0]], [[1.0]])
    bare = heads(make_trace, [SHARP], [FLAT], content=())
    for method in (entropy_weighted, variance_weighted):
        check(method(single, layers="all", heads="all"), [[1.0]])
    check(entropy_weighted(bare, layers="all", heads="all"), [SHARP])


def test_variance_weights_by_hand(make_trace: MakeTrace) -> None:
    # Variance over the two tokens: 1/4 per frame and 1/16 per frame, so weights 4 : 1 : 0.
    trace = heads(
        make_trace,
        [[1.0, 0.0], [0.0, 1.0]],
        [[0.75, 0.25], [0.25, 0.75]],
        [[0.9, 0.1], [0.9, 0.1]],
    )
    found = variance_weighted(trace, layers="all", heads="all")
    check(found, [[0.95, 0.05], [0.05, 0.95]])


def test_end_of_text_does_not_make_a_head_vary(make_trace: MakeTrace) -> None:
    trace = heads(
        make_trace,
        [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]],
        [[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]],
        content=(0, 1),
    )
    found = variance_weighted(trace, layers="all", heads="all")
    check(found, [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])


def test_entropy_of_real_rows_is_that_of_scipy(make_trace: MakeTrace) -> None:
    from scipy.stats import entropy

    generator = torch.Generator().manual_seed(5)
    attention = (3 * torch.randn(1, 3, 4, 20, generator=generator)).softmax(-1)
    weights = [1 - entropy(head.numpy(), axis=-1).mean() / math.log(20) for head in attention[0]]
    shares = torch.tensor(weights) / sum(weights)
    expected = (shares[:, None, None] * attention[0]).sum(0)
    found = entropy_weighted(make_trace(attention), layers="all", heads="all")
    torch.testing.assert_close(found, expected.float())
