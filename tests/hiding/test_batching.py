from __future__ import annotations

import pytest
import torch

from xbench.errors import EnvironmentProblem
from xbench.hiding.batching import Batched, out_of_memory, starting_size
from xbench.hiding.effect import Shift

HIDDEN = torch.rand(23, 5, generator=torch.Generator().manual_seed(0)) < 0.5


def limited(limit: int, problem: Exception, seen: list[int]) -> Batched:
    """Return passes that fail in this way beyond `limit` masks."""

    def measure(hidden: torch.Tensor) -> Shift:
        if len(hidden) > limit:
            raise problem
        seen.append(len(hidden))
        return Shift(hidden.float() * torch.arange(5.0), hidden)

    return Batched(measure, 16)


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_batches_shrink_until_they_fit_and_no_mask_is_lost(problem: Exception) -> None:
    seen: list[int] = []
    batched = limited(5, problem, seen)
    shift = batched(HIDDEN)
    assert batched.size == 4
    assert seen == [4, 4, 4, 4, 4, 3]
    assert torch.equal(shift.divergence, HIDDEN.float() * torch.arange(5.0))
    assert torch.equal(shift.kept, HIDDEN)


def test_what_fits_is_not_split_further() -> None:
    seen: list[int] = []
    limited(16, MemoryError(), seen)(HIDDEN)
    assert seen == [16, 7]


def test_one_mask_that_does_not_fit_is_the_machines_problem() -> None:
    with pytest.raises(EnvironmentProblem, match="does not fit into memory"):
        limited(0, MemoryError(), [])(HIDDEN)


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        limited(0, RuntimeError("shapes do not fit"), [])(HIDDEN)
    assert not out_of_memory(ValueError("can't allocate memory"))


def test_the_first_size_follows_the_rows_of_a_mask() -> None:
    cpu = torch.device("cpu")
    assert starting_size(cpu, 1500) == 4
    assert starting_size(cpu, 10**9) == 1
    assert starting_size(cpu, 1) == starting_size(cpu, 29) == 64
    assert starting_size(torch.device("cuda"), 1500) > starting_size(cpu, 1500)
