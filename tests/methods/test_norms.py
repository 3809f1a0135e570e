from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from composed_network import ALL, block, close, network

from xbench.methods import norms as module
from xbench.methods.norms import globenc, mixing, value_norm, value_norm_resln, vector_norms
from xbench.trace import Trace

# Two heads, two frames, one position. F_0 = .5 (3, 4) of head 0 and .25 (0, 2) of head 1, ...
VALUES = [[[3.0, 4.0], [0.0, 1.0]], [[0.0, 2.0], [8.0, 6.0]]]
WEIGHTS = [[[0.5, 0.5]], [[0.25, 0.75]]]


@pytest.fixture
def real(tiny: Any, case_of: Callable[..., Any], clip: Callable[..., Any]) -> Trace:
    case = case_of(tiny, clip(1.3, 3))
    trace: Trace = tiny.trace(case.features, case.hypothesis, ALL)
    return trace


def test_value_norm_by_hand() -> None:
    trace = network(cross=[block(WEIGHTS, value=VALUES, bias=[50.0, 0, 0, 0])])
    # Frame 0: (1.5, 2, 0, .5); frame 1: (0, .5, 6, 4.5). The heads lie in different channels.
    zero, one = math.sqrt(1.5**2 + 2**2 + 0.5**2), math.sqrt(0.5**2 + 6**2 + 4.5**2)
    close(
        value_norm(trace, layers="all", heads="together"),
        [[zero / (zero + one), one / (zero + one)]],
    )
    # Norms per head: .5 * 5 + .25 * 2 = 3 and .5 * 1 + .75 * 10 = 8.
    close(value_norm(trace, layers="all", heads="separate"), [[3 / 11, 8 / 11]])


def test_heads_that_cancel_give_nothing_together() -> None:
    # The projection brings both heads into the same channels; on frame 0 they are opposite.
    projection = torch.zeros(4, 4)
    projection[0, 0] = projection[1, 1] = projection[0, 2] = projection[1, 3] = 1
    values = [[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]]
    trace = network(
        cross=[block([[[0.5, 0.5]], [[0.5, 0.5]]], value=values, output_weight=projection)]
    )
    close(value_norm(trace, layers="all", heads="together"), [[0.0, 1.0]])
    close(value_norm(trace, layers="all", heads="separate"), [[0.5, 0.5]])


def test_layers_count_alike_in_value_norm_and_padding_is_cropped_before_the_mean() -> None:
    large = block([[[0.5, 0.25, 0.25]]], value=[[[100.0, 0, 0], [0, 100.0, 0], [0, 0, 100.0]]])
    small = block([[[0.0, 0.5, 0.5]]])
    trace = network(cross=[large, small], frames=2)
    close(value_norm(trace, layers="0", heads="together"), [[2 / 3, 1 / 3]])
    close(value_norm(trace, layers="all", heads="together"), [[1 / 3, 2 / 3]])


def test_value_norm_is_the_loop_over_source_vectors(real: Trace) -> None:
    expected = []
    for layer in real.blocks["cross"]:
        attention, weight = layer.attention(), layer.output_weight
        heads, positions, sources = attention.shape
        channels = len(weight) // heads
        rows = torch.zeros(positions, sources)
        for i in range(positions):
            for j in range(sources):
                vector = sum(
                    attention[h, i, j]
                    * (weight[:, h * channels : (h + 1) * channels] @ layer.value[h, j])
                    for h in range(heads)
                )
                rows[i, j] = vector.norm()
        kept = rows[real.prompt_length - 1 :, : real.layout.frames]
        expected.append(kept / kept.sum(1, keepdim=True))
    found = value_norm(real, layers="all", heads="together")
    close(found, torch.stack(expected).mean(0))
    assert not torch.allclose(found, value_norm(real, layers="all", heads="separate"), atol=1e-3)


def test_vector_norms_are_norms_of_explicit_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(3, 40, 7, generator=generator)
    attention /= attention.sum(-1, keepdim=True)
    vectors = torch.randn(7, 3, 11, generator=generator)
    explicit = torch.einsum("hps,shd->psd", attention, vectors).norm(dim=-1)
    close(vector_norms(block(attention), vectors), explicit)


# -- residual and LayerNorm -----------------------------------------------------------------------


def test_value_norm_resln_by_hand() -> None:
    # One head, dim 2: L(z) = g (z - mean z) = g1 d, -g2 d with d = (z1 - z2) / 2, |L(z)| = |g| |d|.
    # Values (4, 0) and (0, 2), weights .75 and .25: d = 1.5 and -.25, together 1.25.
    # Stream (5, 0): d = 2.5, ratio 1.25 / 3.75 = 1/3; row 6/7, 1/7.
    values = [[[4.0, 0.0], [0.0, 2.0]]]
    one = block(
        [[[0.75, 0.25]]], value=values, before=[[5.0, 0.0]], next_weight=torch.tensor([2.0, 1.0])
    )
    close(value_norm_resln(network(cross=[one]), layers="all"), [[6 / 7, 1 / 7]])
    # A second layer with the weights exchanged (d = .5 and -.75, together -.25) and stream d = .25:
    # ratio 1/2, row .4 .6; sum 1/3 (6/7, 1/7) + 1/2 (.4, .6), its total 5/6. The bias counts nowhere.
    two = block([[[0.25, 0.75]]], value=values, before=[[0.5, 0.0]], bias=[9.0, -9.0])
    expected = torch.tensor([[(2 / 7 + 0.2) / (5 / 6), (1 / 21 + 0.3) / (5 / 6)]])
    close(value_norm_resln(network(cross=[one, two]), layers="all"), expected)


def test_the_layernorm_that_reads_the_stream_weighs_channels() -> None:
    values = [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]
    attention = [[[0.5, 0.25, 0.25]]]
    before = [[1.0, 2.0, 4.0]]
    weight = torch.tensor([1.0, 0.0, 0.0])
    trace = network(cross=[block(attention, value=values, before=before, next_weight=weight)])
    # Only the first channel is read: .5 (1 - 1/3), .25 (0 - 1/3) twice.
    close(value_norm_resln(trace, layers="all"), [[2 / 3, 1 / 6, 1 / 6]])
    close(value_norm(trace, layers="all", heads="together"), [[0.5, 0.25, 0.25]])


def test_mixing_is_the_loop_over_parts_that_the_layernorm_reads(real: Trace) -> None:
    """The parts and the biases sum to what the LayerNorm makes of the stream after the block."""
    for layer in real.blocks["encoder"]:
        stream = real.stream(layer)
        norm = stream.layer_norm
        parts = torch.einsum("hps,shd->psd", layer.attention(), layer.transformed())
        parts[range(len(parts)), range(len(parts))] += stream.before
        whole = parts.sum(1) + layer.output_bias
        deviation = (whole.var(-1, unbiased=False) + norm.eps).sqrt()[:, None]
        folded = norm.linear(parts)
        rebuilt = (folded.sum(1) + norm.linear(layer.output_bias)) / deviation + norm.bias
        close(rebuilt, norm(stream.after), 1e-4)
        norms = folded.norm(dim=-1)
        close(mixing(layer, stream), norms / norms.sum(1, keepdim=True), 1e-4)


def test_globenc_by_hand() -> None:
    # Dim 2, L(z) = (d, -d), d = (z1 - z2) / 2. Values (2, 0), (0, 4): d = 1, -2; streams d = 1, 1.
    # Row 0, weights .5 .5: own .5 + 1 = 1.5, other 1: .6 .4. Row 1, weights 0 1: other 0, own -1.
    encoder = block(
        [[[0.5, 0.5], [0.0, 1.0]]], value=[[[2.0, 0.0], [0.0, 4.0]]], before=[[2.0, 0], [2.0, 0]]
    )
    close(mixing(encoder, encoder.stream), [[0.6, 0.4], [0.0, 1.0]])
    cross = block([[[0.5, 0.5]]], value=[[[3.0, 0.0], [0.0, 1.0]]])  # norms .75 .25
    trace = network(cross=[cross], encoder=[encoder])
    close(globenc(trace, layers="all"), [[0.45, 0.55]])


def test_globenc_reads_what_the_layernorm_after_the_layer_reads() -> None:
    # Only the first channel counts: .5 (1 - 1/3), .25 (0 - 1/3) twice.
    encoder = block([[[0.5, 0.25, 0.25]] * 3], layer_weight=torch.tensor([1.0, 0.0, 0.0]))
    close(mixing(encoder, encoder.stream), [[2 / 3, 1 / 6, 1 / 6]] * 3)


def test_globenc_multiplies_the_last_layer_first(real: Trace) -> None:
    rows = []
    for layer in real.blocks["cross"]:
        norms = torch.einsum("hps,shd->psd", layer.attention(), layer.transformed()).norm(dim=-1)
        rows.append(norms / norms.sum(1, keepdim=True))
    first, second = (mixing(layer, real.stream(layer)) for layer in real.blocks["encoder"])
    expected = real.crop(torch.stack(rows).mean(0) @ (second @ first))
    close(globenc(real, layers="all"), expected)
    assert not torch.allclose(real.crop(torch.stack(rows).mean(0) @ (first @ second)), expected)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_change_nothing(real: Trace, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = globenc(real, layers="all")
    monkeypatch.setattr(module, "_PIECE", size)
    close(globenc(real, layers="all"), before)
