from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx
import numpy as np
import pytest
import torch
from composed_network import ALL, block, close, network

from xbench.methods.flow import attention_flow, group_of
from xbench.methods.rollout import full_rollout
from xbench.trace import AttentionBlock

CROSS = block([[[0.8, 0.2]]])  # capacities .4 and .1
OWN = block([[[1.0]]], causal=True)


def test_flow_by_hand() -> None:
    # E' = .95 .05 / .25 .75. To frame 0: min(.4, .95) + min(.1, .25) = .5;
    # to frame 1: min(.4, .05) + min(.1, .75) = .15.
    encoder = block([[[0.9, 0.1], [0.5, 0.5]]])
    trace = network(cross=[CROSS], decoder=[OWN], encoder=[encoder])
    close(attention_flow(trace, frames=50), [[10 / 13, 3 / 13]])
    # Rollout multiplies where flow takes the narrowest pipe: .4 * .95 + .1 * .25 = .405 of .5.
    close(full_rollout(trace), [[0.81, 0.19]])


def test_flow_through_two_decoder_layers_by_hand() -> None:
    # From the second position: its own cross-attention brings .5 to frame 0. Below, S' = .1 .9 and a pipe of
    # 1/2 in front: min(.1, 1/2) to position 0 of layer 0, which looks at frame 1 (pipe .5), and min(.9, ...)
    # to itself, which looks at frame 0 (pipe .5), but together no more than 1/2.
    # Frame 0: .5 + min(.5, .9, .5) = 1; frame 1: min(.1, .5) = .1.
    first = block([[[0.0, 1.0], [1.0, 0.0]]])
    second = block([[[1.0, 0.0], [1.0, 0.0]]])
    own = block([[[1.0, 0.0], [0.2, 0.8]]], causal=True)
    still = block(torch.eye(2)[None])
    trace = network(cross=[first, second], decoder=[own, own], encoder=[still])
    close(attention_flow(trace, frames=50)[1], [1 / 1.1, 0.1 / 1.1])


def test_frames_are_pooled_and_spread_again() -> None:
    # Four frames in two groups; the first frame of each looks at the second group only.
    look = [0.0, 0.0, 0.5, 0.5]
    encoder = block([[look, [1.0, 0, 0, 0], look, [0.0, 1.0, 0, 0]]])
    cross = block([[[0.6, 0.2, 0.1, 0.1]]])
    trace = network(cross=[cross], decoder=[OWN], encoder=[encoder])
    # Pooled E: .5 .5 / .5 .5, with the residual .75 .25 / .25 .75; cross .4 .1.
    # First group: .4 + .1; second: min(.4, .25) + min(.1, .75) = .35; each half per frame.
    close(attention_flow(trace, frames=2), [[0.25 / 0.85] * 2 + [0.175 / 0.85] * 2])


def test_padding_is_one_more_group_and_no_sink() -> None:
    # The token looks at the two padding frames, these at frame 1.
    encoder = block([[[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 1.0, 0, 0], [0, 1.0, 0, 0]]])
    cross = block([[[0.0, 0.0, 0.5, 0.5]]])
    trace = network(cross=[cross], decoder=[OWN], encoder=[encoder], frames=2)
    close(attention_flow(trace, frames=50), [[0.0, 1.0]])


@pytest.mark.parametrize(
    ("valid", "total", "most", "expected"),
    [
        (3, 3, 50, [0, 1, 2]),
        (5, 7, 2, [0, 0, 0, 1, 1, 2, 2]),
        (4, 5, 1, [0, 0, 0, 0, 1]),
        (7, 7, 3, [0, 0, 0, 1, 1, 2, 2]),
    ],
)
def test_groups_of_frames(valid: int, total: int, most: int, expected: list[int]) -> None:
    assert group_of(valid, total, most).tolist() == expected


def test_groups_differ_by_one_frame_at_most() -> None:
    for valid in range(1, 200):
        sizes = np.bincount(group_of(valid, valid, 50))
        assert len(sizes) == min(valid, 50)
        assert sizes.max() - sizes.min() <= 1


def test_flow_is_that_of_networkx_on_a_real_trace(
    tiny: Any, case_of: Callable[..., Any], clip: Callable[..., Any]
) -> None:
    case = case_of(tiny, clip(0.8, 3))
    trace = tiny.trace(case.features, case.hypothesis, ALL)
    groups = group_of(trace.layout.frames, trace.blocks["cross"][0].key.shape[1], 6)
    count = groups.max() + 1

    def mean(layer: AttentionBlock) -> np.ndarray:
        return np.asarray(layer.attention().mean(0).double())

    graph = networkx.DiGraph()

    def connect(start: Any, end: Any, capacity: float) -> None:
        graph.add_edge(
            start,
            end,
            capacity=graph.get_edge_data(start, end, {"capacity": 0})["capacity"] + capacity,
        )

    for number, layer in enumerate(trace.blocks["encoder"]):
        weights = mean(layer)
        for i, row in enumerate(weights):
            for j, weight in enumerate(row):
                share = (weight + (i == j)) / 2 / (groups == groups[i]).sum()
                connect(("e", number + 1, groups[i]), ("e", number, groups[j]), share)
    top = len(trace.blocks["encoder"])
    for number, (own, cross) in enumerate(
        zip(trace.blocks["decoder"], trace.blocks["cross"], strict=True)
    ):
        for i, row in enumerate(mean(cross)):
            connect(("d", number, i), ("inside", number, i), 0.5)
            for j, weight in enumerate(row):
                connect(("d", number, i), ("e", top, groups[j]), weight / 2)
        for i, row in enumerate(mean(own)):
            for j, weight in enumerate(row):
                connect(("inside", number, i), ("d", number - 1, j), (weight + (i == j)) / 2)
    assert count == 7

    expected = []
    last = len(trace.blocks["cross"]) - 1
    for token in range(len(trace.layout.tokens)):
        start = ("d", last, trace.prompt_length - 1 + token)
        flows = np.array([networkx.maximum_flow_value(graph, start, ("e", 0, g)) for g in range(6)])
        per_frame = (flows / np.bincount(groups)[:6])[groups[: trace.layout.frames]]
        expected.append(per_frame / per_frame.sum())
    close(attention_flow(trace, frames=6), np.array(expected), 1e-5)
