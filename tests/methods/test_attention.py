from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from xbench.errors import Unsupported
from xbench.methods.attention import mean_heads, mean_layers, raw_attention
from xbench.trace import Trace

# [layer][head][token][frame]; every row sums to one.
ATTENTION = [
    [
        [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]],
        [[0.0, 0.5, 0.5], [0.0, 0.0, 1.0]],
    ],
    [
        [[0.25, 0.25, 0.5], [0.0, 1.0, 0.0]],
        [[0.25, 0.75, 0.0], [0.5, 0.25, 0.25]],
    ],
]


@pytest.fixture
def trace(make_trace: Callable[..., Trace]) -> Trace:
    return make_trace(torch.tensor(ATTENTION))


def check(values: torch.Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(values, torch.tensor(expected))
    torch.testing.assert_close(values.sum(-1), torch.ones(2))


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("head", [0, 1])
def test_raw_attention_is_one_head_of_one_layer(trace: Trace, layer: int, head: int) -> None:
    check(raw_attention(trace, layer=layer, head=head), ATTENTION[layer][head])


def test_mean_heads_over_all_layers_by_hand(trace: Trace) -> None:
    expected = [[0.375, 0.375, 0.25], [0.25, 0.4375, 0.3125]]
    check(mean_heads(trace, layers="all"), expected)
    check(mean_heads(trace, layers="0+1"), expected)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("0", [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]),
        ("1", [[0.25, 0.5, 0.25], [0.25, 0.625, 0.125]]),
    ],
)
def test_mean_heads_of_one_layer_by_hand(
    trace: Trace, layers: str, expected: list[list[float]]
) -> None:
    check(mean_heads(trace, layers=layers), expected)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (0, [[0.625, 0.125, 0.25], [0.25, 0.75, 0.0]]),
        (1, [[0.125, 0.625, 0.25], [0.25, 0.125, 0.625]]),
    ],
)
def test_mean_layers_by_hand(trace: Trace, head: int, expected: list[list[float]]) -> None:
    check(mean_layers(trace, head=head), expected)


@pytest.mark.parametrize(
    ("explain", "message"),
    [
        (lambda t: raw_attention(t, layer=2, head=0), "layer 2 does not exist: .* layers 0 to 1"),
        (lambda t: raw_attention(t, layer=0, head=2), "head 2 does not exist: .* heads 0 to 1"),
        (lambda t: mean_heads(t, layers="0+5"), "layer 5 does not exist"),
        (lambda t: mean_layers(t, head=7), "head 7 does not exist"),
    ],
)
def test_an_index_outside_the_model_is_unsupported(
    trace: Trace, explain: Callable[[Trace], torch.Tensor], message: str
) -> None:
    with pytest.raises(Unsupported, match=message):
        explain(trace)
