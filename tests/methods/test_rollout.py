from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from composed_network import ALL, block, close, layout, network

from xbench.methods import rollout as module
from xbench.methods.rollout import (
    encoder_rollout,
    entropy_rollout,
    full_rollout,
    prefix_rollout,
    sharpness,
)
from xbench.trace import build_trace

FIRST = block([[[0.5, 0.5], [0.0, 1.0]]])  # with the residual: .75 .25 / 0 1
SECOND = block([[[1.0, 0.0], [1.0, 0.0]]])  # 1 0 / .5 .5
# Second times first: .75 .25 / .375 .625


def test_encoder_rollout_by_hand() -> None:
    trace = network(cross=[block([[[1.0, 0.0], [0.0, 1.0]]])], encoder=[FIRST, SECOND])
    close(encoder_rollout(trace, layers="all"), [[0.75, 0.25], [0.375, 0.625]])


def test_encoder_rollout_takes_the_mean_of_heads_and_chosen_layers() -> None:
    crosses = [
        block([[[1.0, 0.0]], [[0.0, 1.0]]]),
        block([[[1.0, 0.0]], [[1.0, 0.0]]]),
        block([[[0.0, 1.0]], [[0.0, 1.0]]]),
    ]
    trace = network(cross=crosses, encoder=[FIRST])
    # Means over heads: .5 .5, 1 0, 0 1. Through FIRST a frame 0 becomes .75 .25.
    close(encoder_rollout(trace, layers="0"), [[0.375, 0.625]])
    close(encoder_rollout(trace, layers="0+1"), [[0.5625, 0.4375]])
    close(encoder_rollout(trace, layers="all"), [[0.375, 0.625]])


def test_padding_carries_relevance_and_is_cropped_last() -> None:
    # The token looks at padding only; the padding looks at frame 0.
    encoder = block([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]])
    trace = network(cross=[block([[[0.0, 0.0, 1.0]]])], encoder=[encoder], frames=2)
    close(encoder_rollout(trace, layers="all"), [[1.0, 0.0]])
    assert trace.padding_mass.item() > 0.99


def test_full_rollout_by_hand() -> None:
    # S' of the second layer: 1 0 / .25 .75.  M_1 = A_1 / 2 = .5 0 / 0 .5.
    # M_2 = (A_2 + S' M_1) / 2 = .25 .5 / .0625 .6875, times R = .375 .375 / .3046875 .4453125.
    trace = network(
        cross=[block([[[1.0, 0.0], [0.0, 1.0]]]), block([[[0.0, 1.0], [0.0, 1.0]]])],
        decoder=[
            block([[[1.0, 0.0], [1.0, 0.0]]], causal=True),
            block([[[1.0, 0.0], [0.5, 0.5]]], causal=True),
        ],
        encoder=[FIRST, SECOND],
    )
    close(full_rollout(trace), [[0.5, 0.5], [0.40625, 0.59375]])


def test_prefix_rollout_by_hand() -> None:
    """Start, two audio positions, the request (which predicts the first token), the first token."""
    stay = torch.eye(5)
    first, one, other = stay.clone(), stay.clone(), stay.clone()
    first[1] = torch.tensor([0.5, 0.5, 0, 0, 0])  # with the residual: .25 .75
    first[2] = torch.tensor([0, 0.5, 0.5, 0, 0])  # 0 .25 .75
    first[4] = torch.tensor([0.5, 0, 0, 0.5, 0])  # .25 0 0 .25 .5
    one[3], other[3] = stay[1], stay[2]  # mean of both heads with the residual: 0 .25 .25 .5
    one[4] = other[4] = stay[2]  # 0 0 .5 0 .5
    below, above = torch.stack([first, first]), torch.stack([one, other])
    stack = (block(below, causal=True), block(above, causal=True))
    trace = build_trace(
        {"self": stack}, layout(2, 2), 4, frozenset({"source-projections"}), slice(1, 3)
    )
    # Products: .0625 .25 .1875 .5 0 and .125 .125 .375 .125 .25; what is on text is cut off.
    close(prefix_rollout(trace), [[4 / 7, 3 / 7], [0.25, 0.75]])


def test_heads_weigh_by_their_entropy_by_hand() -> None:
    sharp, flat = [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]
    half = [[1.0, 0.0], [0.5, 0.5]]
    # One minus normalised entropy, mean over both rows: 1, 0, 0.5.
    close(sharpness(block([sharp, flat, half]), [0, 1]), [2 / 3, 0, 1 / 3])
    close(sharpness(block([sharp, flat, half]), [1]), [1, 0, 0])
    close(sharpness(block([flat, flat]), [0, 1]), [0.5, 0.5])
    # The first position of a decoder may look at itself only, which is sharp in every head.
    own = block([half, [[1.0, 0.0], [0.0, 1.0]]], causal=True)
    close(sharpness(own, [0, 1]), [1 / 3, 2 / 3])


def test_entropy_rollout_by_hand() -> None:
    # Heads that look everywhere weigh nothing, so what is left is full-rollout of the sharp ones.
    flat = [[0.5, 0.5], [0.5, 0.5]]
    stay, first = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]
    own = block([stay, stay], causal=True)
    sharp = network(cross=[block([stay])], decoder=[own], encoder=[block([first])])
    noisy = network(cross=[block([stay, flat])], decoder=[own], encoder=[block([first, flat])])
    # R = (first + identity) / 2 = 1 0 / .5 .5.
    close(entropy_rollout(noisy), [[1.0, 0.0], [0.5, 0.5]])
    close(full_rollout(sharp), [[1.0, 0.0], [0.5, 0.5]])
    # With plain means: cross .75 .25 / .25 .75, R = .875 .125 / .375 .625.
    close(full_rollout(noisy), [[0.75, 0.25], [0.5, 0.5]])


def test_entropy_rollout_of_equal_heads_is_full_rollout(
    tiny: Any, case_of: Callable[..., Any], clip: Callable[..., Any]
) -> None:
    case = case_of(tiny, clip(1.3, 3))
    trace = tiny.trace(case.features, case.hypothesis, ALL)
    stacks = {
        name: tuple(
            replace(b, query=b.query[:1].expand_as(b.query), key=b.key[:1].expand_as(b.key))
            for b in blocks
        )
        for name, blocks in trace.blocks.items()
    }
    alike = replace(trace, blocks=stacks)
    close(entropy_rollout(alike), full_rollout(alike))


@pytest.mark.parametrize("method", [full_rollout, entropy_rollout])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_change_nothing(
    method: Callable[..., Any],
    size: int,
    tiny: Any,
    case_of: Callable[..., Any],
    clip: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = case_of(tiny, clip(1.3, 3))
    trace = tiny.trace(case.features, case.hypothesis, ALL)
    before = method(trace)
    monkeypatch.setattr(module, "_PIECE", size)
    close(method(trace), before)


def test_rollout_is_the_matrix_product_written_out(
    tiny: Any, case_of: Callable[..., Any], clip: Callable[..., Any]
) -> None:
    """Dense [frame, frame] and joint [frame + position] products in float64, from transformers' weights."""
    case = case_of(tiny, clip(1.3, 3))
    trace = tiny.trace(case.features, case.hypothesis, ALL)
    eager = type(tiny.network)(copy.deepcopy(tiny.network.config))
    eager.load_state_dict(tiny.network.state_dict())
    eager.set_attn_implementation("eager")
    ids = torch.tensor([case.hypothesis.prompt + case.hypothesis.tokens[:-1]])
    with torch.no_grad():
        output = eager.eval()(
            case.features.values.T[None], decoder_input_ids=ids, output_attentions=True
        )
    encoder, decoder, cross = (
        [layer[0].double().numpy().mean(0) for layer in layers]
        for layers in (
            output.encoder_attentions,
            output.decoder_attentions,
            output.cross_attentions,
        )
    )
    total, positions = len(encoder[0]), len(decoder[0])
    rolled = np.eye(total)
    for attention in encoder:
        mixed = attention + np.eye(total)
        rolled = mixed / mixed.sum(1, keepdims=True) @ rolled

    def cropped(product: np.ndarray) -> np.ndarray:
        rows = product[len(case.hypothesis.prompt) - 1 :, : case.features.frames]
        return np.asarray(rows / rows.sum(1, keepdims=True))

    found = encoder_rollout(trace, layers="all")
    close(found, cropped(np.mean(cross, axis=0) @ rolled), 1e-5)

    # Full: one matrix per block over all nodes, encoder outputs first; target part included.
    joint = np.block(
        [
            [rolled, np.zeros((total, positions))],
            [np.zeros((positions, total)), np.eye(positions)],
        ]
    )
    for own, other in zip(decoder, cross, strict=True):
        mix = np.eye(total + positions)
        mix[total:, total:] = (own + np.eye(positions)) / 2
        look = np.eye(total + positions)
        look[total:] /= 2
        look[total:, :total] = other / 2
        # Encoder outputs were pushed through the encoder at the start; their rows stay as they are.
        joint = look @ mix @ joint
    close(joint.sum(1), np.ones(total + positions))
    close(full_rollout(trace), cropped(joint[total:, :total]), 1e-5)
