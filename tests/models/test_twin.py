"""A twin in bfloat16 adds changes to a clean pass in full precision, and keeps the clean passes of measures apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from xbench.models import twin as twin_module
from xbench.models.twin import Changes


@pytest.fixture
def layer() -> tuple[nn.Linear, nn.Linear, Changes]:
    torch.manual_seed(0)
    exact = nn.Linear(16, 8)
    rounded, changes = nn.Linear(16, 8), Changes()
    rounded.load_state_dict(exact.state_dict())
    twin_module._add_changes(rounded, torch.bfloat16, changes)
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
