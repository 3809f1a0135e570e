"""The method keeps the contract, and does what it says."""

import torch
from xbench.testing import check_method, problems

from last_layer.last_layer import explain


def test_it_keeps_the_contract() -> None:
    assert problems(check_method("last-layer", "xbench-tiny")) == []


def test_it_is_the_mean_of_the_last_layer() -> None:
    class Pass:
        cross_attention = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]], [[[0.0, 1.0]], [[0.5, 0.5]]]])

    assert torch.equal(explain(Pass()), torch.tensor([[0.25, 0.75]]))
