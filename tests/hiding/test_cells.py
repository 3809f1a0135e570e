"""What can be hidden, what hidden cells become, and that every way says the same as the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wrapped_model import Wrapped
from xbench.case import Case
from xbench.hiding.cells import Cells, Space, cells_of, neutral_value, neutral_words, replaced
from xbench.hiding.effect import TARGETS, divergence, kl_divergence
from xbench.hiding.passes import choose

SPACES: tuple[Space, ...] = ("encoder", "input")
NEUTRAL = ("zero", "channel-mean", "minimum")


@pytest.fixture
def case(tiny: Any, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]) -> Case:
    return case_of(tiny, clip(0.6, 3))


def drawn(cells: Cells, masks: int = 5, share: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(masks, *cells.shape, generator=generator)
    return uniform if share else uniform < 0.5


def changed(case: Case, cells: Cells, hidden: Tensor) -> Tensor:
    """Return the logits of changed cells in so many words."""
    features, model = case.features, case.model
    whole = features.values if cells.space == "input" else model.encode(features.values[None])[0]
    valid = cells.shape[0]
    neutral = neutral_value(whole[:valid], cells.neutral)
    logits = []
    for mask in hidden.float():
        one = whole.clone()
        weight = mask if cells.space == "input" else mask[:, None]
        one[:valid] = (1 - weight) * whole[:valid] + weight * neutral
        encoded = model.encode(one[None]) if cells.space == "input" else one[None]
        logits.append(model.logits(encoded, case.hypothesis)[0])
    return torch.stack(logits)


def test_neutral_values_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 8.0]])
    assert neutral_value(values, "zero").tolist() == [0, 0]
    assert neutral_value(values, "channel-mean").tolist() == [2, 5]
    assert neutral_value(values, "minimum").tolist() == [1, 1]


def test_a_share_mixes_both_values_by_hand() -> None:
    values, neutral = torch.tensor([[1.0, 2.0]]), torch.tensor([5.0, 0.0])
    found = replaced(values, neutral, torch.tensor([[[0.25, 1.0]]]))
    assert found.tolist() == [[[2.0, 0.0]]]


def test_every_neutral_value_has_words(case: Case) -> None:
    words = {neutral_words(cells_of(case, space, name)) for space in SPACES for name in NEUTRAL}
    assert len(words) == 6


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("neutral", NEUTRAL)
@pytest.mark.parametrize("space", SPACES)
@torch.inference_mode()
def test_every_way_hears_what_the_changed_input_says(
    case: Case, space: Space, neutral: str, share: bool
) -> None:
    cells = cells_of(case, space, neutral)
    hidden = drawn(cells, share=share)
    expected = changed(case, cells, hidden)
    plain = case.model.logits(cells.encoded(hidden), case.hypothesis)
    torch.testing.assert_close(plain, expected, rtol=1e-4, atol=1e-4)
    fast = cells.passes(case.model, torch.float32)(hidden)
    torch.testing.assert_close(fast, expected, rtol=1e-4, atol=1e-4)
    own = expected.log_softmax(-1)[:, range(expected.shape[1]), list(case.hypothesis.tokens)]
    measured = choose(cells, TARGETS["log-probability"]).measure(hidden).value
    torch.testing.assert_close(measured, own, rtol=1e-4, atol=1e-4)
    clean = cells.clean.logits.log_softmax(-1)
    kl = kl_divergence(clean, expected.log_softmax(-1))
    found = choose(cells, divergence, batch_size=2).measure(hidden).value
    torch.testing.assert_close(found, kl, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_padding_stays_what_it_was(case: Case, space: Space) -> None:
    cells = cells_of(case, space)
    everything = torch.ones(1, *cells.shape, dtype=torch.bool)
    clean = case.model.encode(case.features.values[None])
    if space == "encoder":
        encoded = cells.encoded(everything)
        assert encoded[0, : case.features.frames].abs().max() == 0
        assert torch.equal(encoded[0, case.features.frames :], clean[0, case.features.frames :])
    else:
        heard: list[Tensor] = []
        encode = type(case.model).encode
        inner = case.model

        class Listening(Wrapped):
            model = inner

            def encode(self, values: Tensor) -> Tensor:
                heard.append(values)
                return encode(inner, values)

        cells_of(replace(case, model=Listening()), space).encoded(everything)
        assert torch.equal(
            heard[0][0, case.features.melframes :], case.features.values[case.features.melframes :]
        )


@pytest.mark.parametrize("space", SPACES)
def test_logits_of_other_values_keep_gradients(case: Case, space: Space) -> None:
    cells = cells_of(case, space)
    values = cells.values.float().clone().requires_grad_()
    logits = cells.logits(values[None])
    torch.testing.assert_close(logits[0], cells.clean.logits, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(logits[0, 0, case.hypothesis.tokens[0]], values)
    assert gradient.abs().max() > 0
