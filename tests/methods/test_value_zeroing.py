from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from composed_network import ALL, block, close, network
from torch import Tensor

from xbench.case import Case
from xbench.errors import Unsupported
from xbench.methods import value_zeroing as module
from xbench.methods.value_zeroing import angles, cut, value_zeroing


@pytest.fixture
def case(tiny: Any, case_of: Callable[..., Any], clip: Callable[..., Any]) -> Case:
    found = case_of(tiny, clip(1.3, 3))
    return replace(found, trace=tiny.trace(found.features, found.hypothesis, ALL))


def test_cut_leaves_a_shorter_piece_at_the_end() -> None:
    assert cut(0, 7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert cut(7, 9, 3) == [(7, 9)]
    assert cut(4, 4, 3) == []


def test_angles_by_hand() -> None:
    # h = (1, 0) + .5 (0, 2) + .5 (-2, 0) + bias (1, 0) = (1, 1). Without frame 0: (1, 0), 45 degrees.
    # Without frame 1: (2, 1), cos = 3 / sqrt(10). Without both: (2, 0).
    layer = block(
        [[[0.5, 0.5]]], value=[[[0.0, 2.0], [-2.0, 0.0]]], before=[[1.0, 0.0]], bias=[1.0, 0.0]
    )
    eighth = 1 - math.sqrt(0.5)
    close(
        angles(layer, layer.stream, [(0, 1), (1, 2), (0, 2)]),
        [[eighth, 1 - 3 / math.sqrt(10), eighth]],
    )


def test_the_state_is_read_after_the_rest_of_the_layer() -> None:
    def swap_and_square(states: Tensor) -> Tensor:
        return states.flip(-1) ** 2 + torch.tensor([0.0, 1.0])

    # (1, 1) becomes (1, 2); without frame 0 (1, 0) becomes (0, 2): cos = 4 / (2 sqrt(5)).
    layer = block(
        [[[0.5, 0.5]]], value=[[[0.0, 2.0], [0.0, 0.0]]], before=[[1.0, 0.0]], rest=swap_and_square
    )
    close(angles(layer, layer.stream, [(0, 1)]), [[1 - 2 / math.sqrt(5)]])


def test_small_angles_are_exact() -> None:
    layer = block([[[1.0, 0.0]]], value=[[[0.0, 1e-3], [0.0, 0.0]]], before=[[1.0, 0.0]])
    found = angles(layer, layer.stream, [(0, 1)])
    torch.testing.assert_close(found, torch.tensor([[5e-7]]), rtol=1e-4, atol=0.0)


def test_cross_variant_by_hand_normalises_valid_frames_and_takes_the_mean() -> None:
    values = [[[0.0, 2.0, 0.0], [0.0, 0.0, 2.0], [9.0, 0.0, 0.0]]]
    before = [[1.0, 0.0, 0.0]]
    only_first = block([[[1.0, 0.0, 0.0]]], value=values, before=before)
    both = block([[[0.5, 0.5, 0.0]]], value=values, before=before)
    padding = block([[[0.0, 0.5, 0.5]]], value=values, before=before)
    trace = network(
        cross=[only_first, both, padding], encoder=[block(torch.eye(3)[None])], frames=2
    )
    for layers, expected in {
        "0": [1.0, 0.0],
        "1": [0.5, 0.5],
        "2": [0.0, 1.0],
        "0+1": [0.75, 0.25],
        "all": [0.5, 0.5],
    }.items():
        close(value_zeroing(trace, variant="cross", layers=layers), [expected])
    # One segment of both frames: all relevance, shared equally.
    close(value_zeroing(trace, variant="cross", layers="0", group=2), [[0.5, 0.5]])


def test_encoder_variant_by_hand() -> None:
    # Encoder: frame 0 is made of frame 1's value alone and frame 1 of frame 0's: they change places.
    values = [[[0.0, 2.0], [3.0, 0.0]]]
    encoder = block([[[0.0, 1.0], [1.0, 0.0]]], value=values, before=[[0.0, 1.0], [1.0, 0.0]])
    cross = block([[[1.0, 0.0]]], value=values, before=[[1.0, 0.0]])
    trace = network(cross=[cross], encoder=[encoder])
    close(value_zeroing(trace, variant="cross", layers="all"), [[1.0, 0.0]])
    close(value_zeroing(trace, variant="encoder", layers="all", group=1), [[0.0, 1.0]])


def rerun(case: Case, attention: Any, layer: Any, frames: range) -> Tensor:
    """Run the whole model with hooks that zero these values in one layer; return that layer's output."""

    def zero(module: Any, inputs: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, list(frames)] = 0
        return output

    kept: list[Tensor] = []
    handles = [
        attention.v_proj.register_forward_hook(zero),
        layer.register_forward_hook(lambda module, inputs, output: kept.append(output[0])),
    ]
    with torch.inference_mode():
        case.model.logits(case.model.encode(case.features.values[None]), case.hypothesis)
    for handle in handles:
        handle.remove()
    return kept[0].double()


def turned(case: Case, attention: Any, layer: Any, segments: list[tuple[int, int]]) -> Tensor:
    clean = rerun(case, attention, layer, range(0))
    cosines = [
        torch.nn.functional.cosine_similarity(
            clean, rerun(case, attention, layer, range(*segment)), dim=-1
        )
        for segment in segments
    ]
    return 1 - torch.stack(cosines, 1)


def test_value_zeroing_is_a_full_rerun_with_zeroed_values(case: Case) -> None:
    trace, model = case.trace, case.model.network.model
    assert trace is not None
    frames, total = trace.layout.frames, trace.blocks["encoder"][0].query.shape[1]
    group = 8
    inside = [(start, min(start + group, frames)) for start in range(0, frames, group)]
    outside = [(start, min(start + group, total)) for start in range(frames, total, group)]
    assert frames % group
    assert (total - frames) % group

    def rows(layer: Any, attention: Any, segments: list[tuple[int, int]]) -> Tensor:
        values = turned(case, attention, layer, segments)
        return values / values.sum(1, keepdim=True)

    def spread(values: Tensor, segments: list[tuple[int, int]]) -> Tensor:
        columns = [
            values[:, [g]].expand(-1, stop - start) / (stop - start)
            for g, (start, stop) in enumerate(segments)
        ]
        kept = torch.cat(columns, 1)[trace.prompt_length - 1 :, :frames]
        return kept / kept.sum(1, keepdim=True)

    cross = [rows(layer, layer.encoder_attn, inside) for layer in model.decoder.layers]
    found = value_zeroing(trace, variant="cross", layers="all", group=group)
    close(found, spread(torch.stack(cross).mean(0), inside), 1e-4)

    everything = inside + outside
    product = torch.stack(
        [rows(layer, layer.encoder_attn, everything) for layer in model.decoder.layers]
    ).mean(0)
    for layer in reversed(model.encoder.layers):
        states = rows(layer, layer.self_attn, everything)
        product = product @ torch.stack([states[a:b].mean(0) for a, b in everything])
    found = value_zeroing(trace, variant="encoder", layers="all", group=group)
    close(found, spread(product, everything), 1e-4)


def test_without_a_group_the_defaults_hold(case: Case) -> None:
    trace = case.trace
    for variant, group in (("cross", 1), ("encoder", 10)):
        plain = value_zeroing(trace, variant=variant, layers="all")
        assert torch.equal(plain, value_zeroing(trace, variant=variant, layers="all", group=group))


@pytest.mark.parametrize("size", [1, 100_000, 2**40])
@pytest.mark.parametrize("variant", ["cross", "encoder"])
def test_chunks_change_nothing(
    case: Case, size: int, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = value_zeroing(case.trace, variant=variant, layers="all")
    monkeypatch.setattr(module, "CHUNK_BYTES", size)
    close(value_zeroing(case.trace, variant=variant, layers="all"), before, 1e-5)


def test_a_block_that_does_not_end_its_layer_is_refused() -> None:
    layer = block([[[1.0]]], rest=None)
    with pytest.raises(Unsupported, match="does not follow from this block alone"):
        angles(layer, layer.stream, [(0, 1)])
