"""A twin in bfloat16 adds changes to a clean pass in full precision, and keeps the clean passes of measures apart."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from xbench.hiding import twin as twin_module
from xbench.hiding.twin import Changes


def change() -> twin_module._Change:
    return twin_module._Change.in_precision(torch.bfloat16)


@pytest.fixture
def layer() -> tuple[nn.Linear, nn.Linear, Changes]:
    torch.manual_seed(0)
    exact = nn.Linear(16, 8)
    rounded, changes = nn.Linear(16, 8), Changes()
    rounded.load_state_dict(exact.state_dict())
    twin_module._add_changes(rounded, torch.bfloat16, changes, change())
    return exact, rounded, changes


@torch.inference_mode()
def test_the_error_is_relative_to_the_change(layer: tuple[Any, Any, Changes]) -> None:
    exact, rounded, changes = layer
    clean = 100 * torch.randn(1, 5, 16)
    with changes.using({}, made=False) as products:
        assert torch.equal(rounded(clean), exact(clean))
    change = 1e-3 * torch.randn(4, 5, 16)
    with changes.using(products, made=True):
        moved = rounded(clean + change) - exact(clean)
    assert (moved - change @ exact.weight.T).abs().max() < 1e-4  # float32 of 100 leaves 1e-5
    bfloat16 = (clean + change).bfloat16() @ exact.weight.T.bfloat16()
    assert (bfloat16 + exact.bias - exact(clean + change)).abs().max() > 1e-1


@torch.inference_mode()
def test_a_clean_pass_outlives_writes_into_its_input_and_output(
    layer: tuple[Any, Any, Changes],
) -> None:
    exact, rounded, changes = layer
    clean = torch.randn(1, 5, 16)
    states = clean.clone()
    with changes.using({}, made=False) as products:
        rounded(states).zero_()
        states.zero_()
    with changes.using(products, made=True):
        torch.testing.assert_close(rounded(clean.expand(3, -1, -1)), exact(clean).expand(3, -1, -1))


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(3, 7, 16), (1, 7, 16), (7, 16), (2, 3, 7, 16)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_as_a_convolution_is_itself(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, states = nn.Linear(16, 8, bias=bias).bfloat16(), torch.randn(shape).bfloat16()
    wanted = nn.functional.linear(
        states.float(), layer.weight.float(), layer.bias.float() if bias else None
    )
    twin_module._as_convolution(layer)
    output = layer(states)
    assert output.is_contiguous()
    torch.testing.assert_close(output.float(), wanted, rtol=2**-7, atol=2**-7)


@torch.inference_mode()
def test_two_clean_passes_do_not_mix(layer: tuple[Any, Any, Changes]) -> None:
    _, rounded, changes = layer
    first, second = torch.randn(1, 5, 16), torch.randn(1, 7, 16)
    made = []
    for clean in (first, second):
        with changes.using({}, made=False) as products:
            made.append((clean, rounded(clean), products))
    for clean, output, products in made:
        with changes.using(products, made=True):
            assert torch.equal(rounded(clean), output)


@torch.inference_mode()
def test_without_a_clean_pass_a_layer_is_itself(layer: tuple[Any, Any, Changes]) -> None:
    exact, rounded, changes = layer
    states = torch.randn(3, 5, 16)
    assert torch.equal(rounded(states), exact(states))
    with changes.using({}, made=False) as products:
        rounded(torch.randn(1, 4, 16))
    with changes.using(products, made=True):
        assert torch.equal(rounded(states), exact(states))
    assert not changes.clean


@torch.inference_mode()
def test_layers_that_share_their_way_to_changes_keep_their_inputs_apart() -> None:
    torch.manual_seed(0)
    changes, shared = Changes(), change()
    layers = [nn.Linear(16, 8) for _ in range(3)]
    alone = [(copy.deepcopy(layer), Changes()) for layer in layers]
    for layer, (twin, own) in zip(layers, alone, strict=True):
        twin_module._add_changes(layer, torch.bfloat16, changes, shared)
        twin_module._add_changes(twin, torch.bfloat16, own, change())
    one, other = torch.randn(1, 5, 16), torch.randn(1, 5, 16)
    moved = [states + torch.randn(4, 5, 16) for states in (one, other)]
    with changes.using({}, made=False) as products:
        for layer, states in zip(layers, (one, one, other), strict=True):
            layer(states)
    with changes.using(products, made=True):
        found = [
            layer(states)
            for layer, states in zip(layers, (moved[0], moved[0], moved[1]), strict=True)
        ]
    inputs = [(one, moved[0]), (one, moved[0]), (other, moved[1])]
    for (twin, own), (clean, states), output in zip(alone, inputs, found, strict=True):
        with own.using({}, made=False) as made:
            twin(clean)
        with own.using(made, made=True):
            assert torch.equal(twin(states), output)


def test_a_function_runs_once_per_input_and_again_for_others() -> None:
    calls = []

    def double(tensor: torch.Tensor) -> torch.Tensor:
        calls.append(tensor)
        return 2 * tensor

    once = twin_module._once(double)
    first, equal = torch.ones(2), torch.ones(2)
    assert once(first) is once(first)
    assert len(calls) == 1
    assert torch.equal(once(equal), 2 * equal)
    assert len(calls) == 2  # an equal tensor is another one, it may change
    less = twin_module._once(torch.sub)
    assert torch.equal(less(first, equal), torch.zeros(2))
    assert torch.equal(less(first, calls[0] * 3), -2 * first)  # one of two is another


@torch.inference_mode()
def test_states_are_laid_out_in_order_before_the_first_layer(tiny: Any) -> None:
    """Whisper's convolutions leave them with time last in memory, and every sum and norm after them slow."""

    def entering(model: Any) -> bool:
        seen = []
        hook = model.network.model.encoder.layers[0].self_attn_layer_norm.register_forward_hook(
            lambda module, inputs, output: seen.append(inputs[0].is_contiguous())
        )
        model.encode(torch.zeros(2, 2 * tiny.network.config.max_source_positions, mels(tiny)))
        hook.remove()
        return seen[0]

    def mels(model: Any) -> int:
        return int(model.network.config.num_mel_bins)

    found = twin_module.twin(tiny, torch.bfloat16)
    assert found is not None
    assert entering(found.model)
    assert not entering(tiny)  # the loaded model stays as transformers makes it
