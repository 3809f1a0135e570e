from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from xbench.methods.controls import diagonal, random, uniform
from xbench.trace import Trace

MakeTrace = Callable[..., Trace]


@pytest.fixture
def blank(make_trace: MakeTrace) -> Callable[..., Trace]:
    def build(rows: int, frames: int, content: tuple[int, ...] | None = None) -> Trace:
        return make_trace(torch.full((1, 1, rows, frames), 1 / frames), content)

    return build


def test_uniform_is_the_same_everywhere(blank: MakeTrace) -> None:
    torch.testing.assert_close(uniform(blank(2, 5)), torch.full((2, 5), 0.2))


def gauss(frames: int, centre: float, deviation: float) -> list[float]:
    density = [math.exp(-0.5 * ((j + 0.5 - centre) / deviation) ** 2) for j in range(frames)]
    return [value / sum(density) for value in density]


def test_diagonal_by_hand(blank: MakeTrace) -> None:
    # Two tokens on four frames: centres 1 and 3, standard deviation 0.25 * 4 = 1.
    # Row 0: exp(-1/8), exp(-1/8), exp(-9/8), exp(-25/8) over their sum.
    weights = [math.exp(-x / 8) for x in (1, 1, 9, 25)]
    row = [w / sum(weights) for w in weights]
    found = diagonal(blank(2, 4), width=0.25)
    torch.testing.assert_close(found, torch.tensor([row, row[::-1]]))


def test_diagonal_of_a_single_token_is_centred(blank: MakeTrace) -> None:
    found = diagonal(blank(1, 5), width=0.2)
    torch.testing.assert_close(found, torch.tensor([gauss(5, 2.5, 1.0)]))
    assert found[0].argmax() == 2


def test_end_of_text_takes_the_place_of_the_last_content_token(blank: MakeTrace) -> None:
    with_end = diagonal(blank(3, 8, content=(0, 1)), width=0.1)
    torch.testing.assert_close(with_end[:2], diagonal(blank(2, 8), width=0.1))
    torch.testing.assert_close(with_end[2], with_end[1])


def test_a_special_token_inside_does_not_move_the_others(blank: MakeTrace) -> None:
    found = diagonal(blank(4, 8, content=(0, 2, 3)), width=0.1)
    torch.testing.assert_close(found[[0, 2, 3]], diagonal(blank(3, 8), width=0.1))
    torch.testing.assert_close(found[1], found[0])


def test_without_content_every_row_is_a_distribution(blank: MakeTrace) -> None:
    found = diagonal(blank(1, 6, content=()), width=0.1)
    torch.testing.assert_close(found.sum(-1), torch.ones(1))


@pytest.mark.parametrize("width", [0.0, 1e-9, 0.001, 1.0])
def test_any_width_gives_distributions_that_rise_with_the_token(
    blank: MakeTrace, width: float
) -> None:
    found = diagonal(blank(5, 40), width=width)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(5))
    centres = (found * torch.arange(40)).sum(-1)
    assert (centres.diff() > 0).all()


def test_a_wider_diagonal_is_flatter(blank: MakeTrace) -> None:
    narrow, wide = (diagonal(blank(3, 30), width=w).max() for w in (0.05, 0.3))
    assert narrow > 2 * wide


def test_random_rows_are_distributions_that_follow_from_the_seed(blank: MakeTrace) -> None:
    trace = blank(4, 50)
    first, again, other = (random(trace, seed=s) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert (first >= 0).all()
    torch.testing.assert_close(first.sum(-1), torch.ones(4))
    assert not torch.allclose(first[0], first[1])


def test_random_rows_differ_between_hypotheses(blank: MakeTrace) -> None:
    trace = blank(2, 30)
    renamed = replace(trace, layout=replace(trace.layout, tokens=(8, 9)))
    assert not torch.allclose(random(trace, seed=0), random(renamed, seed=0))


def test_random_rows_are_flat_dirichlet(blank: MakeTrace) -> None:
    # Flat Dirichlet over n cells: mean 1/n, variance (n-1) / (n^2 (n+1)).
    n = 20
    values = random(blank(2000, n), seed=0)
    assert values.mean().item() == pytest.approx(1 / n, abs=1e-6)
    assert values.var().item() == pytest.approx((n - 1) / (n**2 * (n + 1)), rel=0.05)


def test_controls_do_not_look_at_the_attention(blank: MakeTrace, make_trace: MakeTrace) -> None:
    peaked = torch.zeros(1, 1, 3, 9)
    peaked[..., 4] = 1
    for control in (uniform, lambda t: random(t, seed=0), lambda t: diagonal(t, width=0.1)):
        assert torch.equal(control(blank(3, 9)), control(make_trace(peaked)))
