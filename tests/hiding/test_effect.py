"""The divergence from states is the divergence from logits, without ever making all of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xbench.hiding import effect
from xbench.hiding.effect import (
    Clean,
    Measure,
    Perturbed,
    Quantity,
    Shift,
    divergence,
    from_logits,
    from_states,
    log_probability,
    logit,
    probability_drop,
)
from xbench.models.device import CPU

TOKENS, DIM = 4, 6


def against(clean: Tensor, tokens: Tensor, perturbed: Perturbed) -> Measure:
    return from_logits(divergence, Clean(clean, tokens), perturbed)


def against_states(
    clean: Tensor, states: Tensor, embeddings: Tensor, tokens: Tensor, perturbed: Perturbed
) -> Measure:
    return from_states(divergence, Clean(clean, tokens), states, embeddings, perturbed)


def drawn(
    seed: int, vocabulary: int = 50, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return states [batch, token, dim] (the first is clean), embeddings, bias and own tokens."""
    torch.manual_seed(seed)
    states = scale * torch.randn(6, TOKENS, DIM)
    embeddings, bias = torch.randn(vocabulary, DIM), torch.randn(vocabulary)
    return states, embeddings, bias, torch.randint(vocabulary, (TOKENS,))


def both(states: Tensor, embeddings: Tensor, bias: Tensor, tokens: Tensor) -> tuple[Shift, Shift]:
    logits = states @ embeddings.T + bias
    hidden = torch.zeros(len(states), 3, dtype=torch.bool)
    plain: Measure = against(logits[0], tokens, lambda _: logits)
    fast = against_states(logits[0], states[0], embeddings, tokens, lambda _: states)
    return plain(hidden), fast(hidden)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), vocabulary=st.integers(1, 700), scale=st.floats(0.01, 5))
def test_states_give_the_plain_divergence(seed: int, vocabulary: int, scale: float) -> None:
    plain, fast = both(*drawn(seed, vocabulary, scale))
    torch.testing.assert_close(fast.value, plain.value, atol=1e-5, rtol=1e-5)
    assert torch.equal(fast.kept, plain.kept)


@pytest.mark.parametrize("block", [1, 300 * 24, 2**20])
def test_blocks_of_the_vocabulary_change_nothing(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(CPU, vocabulary_numbers=block)
    monkeypatch.setattr(effect, "device_of", lambda device: small)
    plain, fast = both(*drawn(1, 1000))
    torch.testing.assert_close(fast.value, plain.value, atol=1e-5, rtol=1e-5)
    assert torch.equal(fast.kept, plain.kept)


def test_kept_follows_the_largest_logit_wherever_its_block_lies() -> None:
    states, embeddings, bias, _ = drawn(2, 900)
    tokens = (states[3] @ embeddings.T + bias).argmax(-1)
    plain, fast = both(states, embeddings, bias, tokens)
    assert fast.kept[3].all()
    assert torch.equal(fast.kept, plain.kept)
    assert not fast.kept.all()


def test_by_hand() -> None:
    # Logits (0, 0) become (0, ln 3): KL((1/2, 1/2) || (1/4, 3/4)) = ln(2 / sqrt 3).
    embeddings, own = torch.tensor([[0.0], [1.0]]), torch.tensor([0])
    measure = against_states(
        torch.zeros(1, 2),
        torch.zeros(1, 1),
        embeddings,
        own,
        lambda _: torch.tensor([[[math.log(3)]]]),
    )
    shift = measure(torch.zeros(1, 1, dtype=torch.bool))
    assert shift.value.item() == pytest.approx(math.log(2 / math.sqrt(3)), abs=1e-6)
    assert not shift.kept.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_unchanged_state_diverges_by_nothing_in_any_precision(dtype: torch.dtype) -> None:
    states, embeddings, bias, tokens = drawn(3, 300, 4.0)
    logits = states[0] @ embeddings.T + bias
    same = states[0].to(dtype)
    measure = against_states(
        logits, same, embeddings.to(dtype), tokens, lambda _: same.expand(2, -1, -1)
    )
    shift = measure(torch.zeros(2, 1, dtype=torch.bool))
    assert shift.value.abs().max() < 1e-6
    assert torch.equal(shift.kept[0], logits.argmax(-1) == tokens)


def test_logits_that_move_by_thousands_do_not_overflow() -> None:
    states, embeddings, bias, tokens = drawn(4, 60, 2000.0)
    plain, fast = both(states, embeddings, bias, tokens)
    assert torch.isfinite(fast.value).all()
    torch.testing.assert_close(fast.value, plain.value, atol=1e-2, rtol=1e-5)


def test_bfloat16_holds_for_a_token_that_hardly_diverges() -> None:
    """Two roundings of one product would leave an error of first order where a divergence is of second."""
    torch.manual_seed(5)
    embeddings = torch.randn(400, 64).bfloat16().float()
    clean = torch.randn(TOKENS, 64) + 0.5 * embeddings[7]  # a confident token
    states = clean + 0.05 * torch.randn(64, TOKENS, 64)
    logits, tokens = clean @ embeddings.T, torch.full((TOKENS,), 7)
    hidden = torch.zeros(64, 1, dtype=torch.bool)
    plain = against(logits, tokens, lambda _: states @ embeddings.T)(hidden).value
    fast = against_states(logits, clean, embeddings.bfloat16(), tokens, lambda _: states)(hidden)
    assert plain.mean(0).min() < 1e-4
    for token in range(TOKENS):
        pair = torch.stack([plain[:, token], fast.value[:, token]])
        assert torch.corrcoef(pair)[0, 1] > 0.999


def test_bfloat16_holds_where_all_logits_move_together() -> None:
    """What all logits share is rounded with them; it must not come back as the square of its rounding."""
    torch.manual_seed(8)
    shared = torch.randn(64)
    embeddings = (torch.randn(400, 64) + shared).bfloat16().float()
    clean = torch.randn(TOKENS, 64) + 0.5 * (embeddings[7] - shared)  # a confident token
    states = clean + 0.05 * torch.randn(64, TOKENS, 64) + 0.05 * torch.rand(64, 1, 1) * shared
    logits, tokens = clean @ embeddings.T, torch.full((TOKENS,), 7)
    hidden = torch.zeros(64, 1, dtype=torch.bool)
    plain = against(logits, tokens, lambda _: states @ embeddings.T)(hidden).value
    fast = against_states(logits, clean, embeddings.bfloat16(), tokens, lambda _: states)(hidden)
    assert plain.mean(0).min() < 1e-4
    for token in range(TOKENS):
        pair = torch.stack([plain[:, token], fast.value[:, token]])
        assert torch.corrcoef(pair)[0, 1] > 0.999


def test_a_tiny_divergence_is_no_noise() -> None:
    """Against float64: first-order terms of 1e-2 must not drown a divergence of 1e-7 nats."""
    torch.manual_seed(6)
    embeddings = torch.randn(400, 64)
    clean = torch.randn(TOKENS, 64) + 0.4 * embeddings[7]
    states = clean + 0.002 * torch.randn(32, TOKENS, 64)
    hidden, tokens = torch.zeros(32, 1, dtype=torch.bool), torch.full((TOKENS,), 7)
    logits = clean @ embeddings.T
    exact_clean = logits.double().log_softmax(-1)
    # The change as float32 holds it, so that only the divergence itself is judged.
    change = (states - clean).double() @ embeddings.double().T
    exact = (exact_clean + change).logsumexp(-1) - (exact_clean.exp() * change).sum(-1)
    fast = against_states(logits, clean, embeddings, tokens, lambda _: states)(hidden).value
    assert exact.mean(0).min() < 1e-6
    torch.testing.assert_close(fast.double(), exact, rtol=2e-3, atol=1e-12)


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 10.0, 30.0, 200.0])
def test_every_size_of_divergence_is_that_of_float64(scale: float) -> None:
    states, embeddings, bias, tokens = drawn(7, 300, 1.0)
    states = states[0] + scale * (states - states[0])
    logits = states @ embeddings.T + bias
    log_p, log_q = (x.double().log_softmax(-1) for x in (logits[0], logits))
    exact = (log_p.exp() * (log_p - log_q)).sum(-1)
    hidden = torch.zeros(len(states), 1, dtype=torch.bool)
    fast = against_states(logits[0], states[0], embeddings, tokens, lambda _: states)(hidden)
    torch.testing.assert_close(fast.value.double(), exact, rtol=1e-4, atol=1e-6)


# -- other quantities -----------------------------------------------------------------------------


def test_probability_drop_by_hand() -> None:
    clean = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]))
    masked = torch.log(torch.tensor([[[0.2, 0.7, 0.1], [0.05, 0.05, 0.9]]]))
    measure = from_logits(probability_drop, Clean(clean, torch.tensor([0, 2])), lambda _: masked)
    shift = measure(torch.zeros(1, 4, dtype=torch.bool))
    assert shift.value[0].tolist() == pytest.approx([0.3, -0.1])  # a mask may help
    assert shift.kept.tolist() == [[False, True]]


def test_log_probability_and_logit_by_hand() -> None:
    # Logits (1, 0) become (3, ln 3 + 3): the first token's logit is 3, its probability 1 / (1 + 3).
    clean, tokens = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    moved = torch.tensor([[[3.0, 3.0 + math.log(3)]]])
    hidden = torch.zeros(1, 2, dtype=torch.bool)
    for quantity, expected in ((log_probability, math.log(0.25)), (logit, 3.0)):
        shift = from_logits(quantity, Clean(clean, tokens), lambda _: moved)(hidden)
        assert shift.value.item() == pytest.approx(expected, abs=1e-6)
        assert not shift.kept.item()


@pytest.mark.parametrize("scale", [0.1, 3.0, 200.0])
@pytest.mark.parametrize("quantity", [log_probability, logit, probability_drop])
def test_states_give_every_quantity_of_the_logits(quantity: Quantity, scale: float) -> None:
    states, embeddings, bias, tokens = drawn(9, 300, 1.0)
    states = states[0] + scale * (states - states[0])
    logits = states @ embeddings.T + bias
    own = logits.double().gather(-1, tokens.expand(6, -1)[..., None])[..., 0]
    log_q = own - logits.double().logsumexp(-1)
    expected = {
        log_probability: log_q,
        logit: own,
        probability_drop: log_q[0].exp() - log_q.exp(),
    }[quantity]
    clean, hidden = Clean(logits[0], tokens), torch.zeros(6, 1, dtype=torch.bool)
    tolerance = {"rtol": 1e-4, "atol": 1e-4 * max(1.0, scale)}
    for measure in (
        from_logits(quantity, clean, lambda _: logits),
        from_states(quantity, clean, states[0], embeddings, lambda _: states),
    ):
        torch.testing.assert_close(measure(hidden).value.double(), expected, **tolerance)


def test_the_entropy_of_a_clean_pass_is_that_of_its_distributions() -> None:
    logits = torch.tensor(
        [[0.0, 0.0, 0.0, 0.0], [100.0, 0.0, 0.0, 0.0], [0.0, 0.0, -200.0, -200.0]]
    )
    clean = Clean(logits, torch.tensor([0, 0, 0]))
    assert clean.entropy.tolist() == pytest.approx([math.log(4), 0.0, math.log(2)], abs=1e-6)
