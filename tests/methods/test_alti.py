from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from composed_network import ALL, block, close, network
from torch import Tensor

from xbench.methods import alti as module
from xbench.methods.alti import (
    alti,
    alti_plus,
    cross_contributions,
    decoder_contributions,
    self_contributions,
)
from xbench.trace import AttentionBlock, Trace

VALUES = [[[2.0, 0.0], [0.0, 4.0]]]
STREAM = [[1.0, 1.0], [0.0, 2.0]]


@pytest.fixture
def real(tiny: Any, case_of: Callable[..., Any], clip: Callable[..., Any]) -> Trace:
    case = case_of(tiny, clip(1.3, 3))
    trace: Trace = tiny.trace(case.features, case.hypothesis, ALL)
    return trace


def test_self_contributions_by_hand() -> None:
    # y_0 = (1, 1) + (1, 0) + (0, 2) = (2, 3): without T_00 = (2, 1) 2 is left, without T_01 3.
    # y_1 = (0, 2) + (2, 0): without T_10 = (2, 0) 2 is left, without T_11 = (0, 2) 2.
    layer = block([[[0.5, 0.5], [1.0, 0.0]]], value=VALUES, before=STREAM)
    close(self_contributions(layer, layer.stream), [[0.6, 0.4], [0.5, 0.5]])


def test_cross_contributions_by_hand() -> None:
    # |y_0| = 5; left: 4 and 3, without the stream (1, 1) 3. |y_1| = 4; left: 2, 4, without (0, 2) 2.
    layer = block([[[0.5, 0.5], [1.0, 0.0]]], value=VALUES, before=STREAM)
    frames, own = cross_contributions(layer, layer.stream)
    close(frames, [[0.2, 0.4], [0.5, 0.0]])
    close(own, [0.4, 0.5])


def test_what_leads_away_contributes_nothing_and_the_bias_is_nobodys() -> None:
    # y = (4, 0) + .5 (2, 0) + .5 (-6, 0) + bias (3, 0) = (5, 0): left 4 and 8 (away), stream: 1.
    layer = block(
        [[[0.5, 0.5]]],
        value=[[[2.0, 0.0], [-6.0, 0.0]]],
        before=[[4.0, 0.0]],
        bias=[3.0, 0.0],
    )
    frames, own = cross_contributions(layer, layer.stream)
    close(frames, [[0.2, 0.0]])
    close(own, [0.8])


def test_a_row_without_contribution_stays_zero() -> None:
    layer = block([[[1.0, 0.0]]], value=[[[-1.0, 0.0], [0.0, 0.0]]], bias=[5.0, 0.0])
    frames, own = cross_contributions(layer, layer.stream)
    close(frames, [[0.0, 0.0]])
    close(own, [0.0])


def test_alti_and_alti_plus_by_hand() -> None:
    cross = block([[[0.5, 0.5], [1.0, 0.0]]], value=VALUES, before=STREAM)  # as above
    encoder = block([[[0.5, 0.5], [1.0, 0.0]]], value=VALUES, before=STREAM)  # .6 .4 / .5 .5
    # Decoder, dim 2, causal: position 0 sees itself; position 1: .5 (2, 0) + .5 (0, 4) + (0, 2) =
    # (1, 4), left without (1, 0): 4, without (0, 4): 1. So 1 0 / .2 .8.
    own = block([[[1.0, 0.0], [0.5, 0.5]]], value=VALUES, before=STREAM, causal=True)
    close(self_contributions(own, own.stream), [[1.0, 0.0], [0.2, 0.8]])
    trace = network(cross=[cross, cross], decoder=[own, own], encoder=[encoder])
    # Frames .2 .4 / .5 0 times the encoder: .32 .28 / .3 .2.
    close(alti(trace, layers="all"), [[0.32 / 0.6, 0.28 / 0.6], [0.6, 0.4]])
    # M_1 = P. M_2 = P + diag(.4, .5) D P; D P = .2 .4 / .44 .08, so M_2 = .28 .56 / .72 .04.
    source, target = decoder_contributions(trace)
    close(source, [[0.28, 0.56], [0.72, 0.04]])
    # Target: (diag(.4, .5) D)^2 = (.4 0 / .1 .4)^2 = .16 0 / .08 .16; with the source it is all.
    close(target, [[0.16, 0.0], [0.08, 0.16]])
    # Times the encoder: .448 .392 / .452 .308.
    close(alti_plus(trace), [[0.448 / 0.84, 0.392 / 0.84], [0.452 / 0.76, 0.308 / 0.76]])


# -- independent: every T_ij in memory ---------------------------------------------------------------


def parts(layer: AttentionBlock) -> Tensor:
    """Return F [position, source, dim] by a plain sum over heads and channels."""
    heads = len(layer.value)
    attention = layer.attention()
    weight = layer.output_weight.reshape(len(layer.output_weight), heads, -1)
    total: Any = 0
    for head in range(heads):
        total = total + attention[head][..., None] * (layer.value[head] @ weight[:, head].T)[None]
    return total


def shares(parts_of: Tensor, whole: Tensor) -> Tensor:
    nearer = whole.abs().sum(-1)[:, None] - (whole[:, None] - parts_of).abs().sum(-1)
    nearer = nearer.clamp_min(0)
    return nearer / nearer.sum(1, keepdim=True)


def test_the_decomposed_sum_is_the_real_stream_after_the_block(real: Trace) -> None:
    for layers in real.blocks.values():
        for layer in layers:
            stream = real.stream(layer)
            decomposed = parts(layer).sum(1) + stream.before + layer.output_bias
            close(decomposed, stream.after, 1e-4)
            summed = torch.einsum("hps,shd->pd", layer.attention(), layer.transformed())
            close(parts(layer).sum(1), summed, 1e-4)


def test_alti_is_the_dense_product(real: Trace) -> None:
    product = torch.eye(real.blocks["encoder"][0].query.shape[1])
    for layer in real.blocks["encoder"]:
        stream, decomposed = real.stream(layer), parts(layer)
        decomposed[range(len(decomposed)), range(len(decomposed))] += stream.before
        product = shares(decomposed, stream.after) @ product
    frames = []
    for layer in real.blocks["cross"]:
        stream = real.stream(layer)
        with_own = torch.cat([parts(layer), stream.before[:, None]], 1)
        frames.append(shares(with_own, stream.after)[:, :-1])
    close(alti(real, layers="all"), real.crop(torch.stack(frames).mean(0) @ product), 1e-4)
    close(alti(real, layers="1"), real.crop(frames[1] @ product), 1e-4)

    # ALTI+ as products of joint matrices over encoder outputs and decoder positions.
    total, positions = frames[0].shape[1], len(frames[0])
    joint = torch.block_diag(product, torch.eye(positions))
    for own, cross in zip(real.blocks["decoder"], real.blocks["cross"], strict=True):
        stream, decomposed = real.stream(own), parts(own)
        decomposed[range(positions), range(positions)] += stream.before
        mix = torch.block_diag(torch.eye(total), shares(decomposed, stream.after))
        stream = real.stream(cross)
        look = torch.eye(total + positions)
        row = shares(torch.cat([parts(cross), stream.before[:, None]], 1), stream.after)
        look[total:, :total] = row[:, :-1]
        look[total:, total:] = torch.diag(row[:, -1])
        joint = look @ mix @ joint
    close(joint.sum(1), torch.ones(total + positions), 1e-4)
    close(alti_plus(real), real.crop(joint[total:, :total]), 1e-4)
    source, target = decoder_contributions(real)
    close(source.sum(1) + target.sum(1), torch.ones(positions), 1e-4)
    close(target, joint[total:, total:], 1e-4)


@pytest.mark.parametrize(("tile", "piece"), [(1, 1), (10_000, 7), (10_000, 64), (2**40, 1000)])
def test_tiles_change_nothing(
    real: Trace, tile: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = [alti(real, layers="all"), alti_plus(real)]
    monkeypatch.setattr(module, "TILE_BYTES", {"cpu": tile})
    monkeypatch.setattr(module, "_PIECE", piece)
    for before, after in zip(maps, [alti(real, layers="all"), alti_plus(real)], strict=True):
        close(after, before, 1e-5)
