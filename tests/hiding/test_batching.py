from __future__ import annotations

import errno

import pytest
import torch

from xbench.errors import UtteranceError
from xbench.hiding.batching import Batched, Growth, Start, batched_measure, out_of_memory
from xbench.hiding.effect import Shift

HIDDEN = torch.rand(23, 5, generator=torch.Generator().manual_seed(0)) < 0.5


def limited(limit: int, problem: Exception, seen: list[int]) -> Batched[Shift]:
    """Return passes that fail in this way beyond `limit` masks."""

    def measure(hidden: torch.Tensor) -> Shift:
        if len(hidden) > limit:
            raise problem
        seen.append(len(hidden))
        return Shift(hidden.float() * torch.arange(5.0), hidden)

    return batched_measure(measure, Start(16))


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        ImportError("_path.so: failed to map segment from shared object"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not execute a primitive"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_batches_shrink_until_they_fit_and_no_mask_is_lost(problem: Exception) -> None:
    seen: list[int] = []
    batched = limited(5, problem, seen)
    shift = batched(HIDDEN)
    assert batched.size == 4
    assert seen == [4, 4, 4, 4, 4, 3]
    assert torch.equal(shift.value, HIDDEN.float() * torch.arange(5.0))
    assert torch.equal(shift.kept, HIDDEN)


def test_what_fits_is_not_split_further() -> None:
    seen: list[int] = []
    limited(16, MemoryError(), seen)(HIDDEN)
    assert seen == [16, 7]


def test_one_mask_that_does_not_fit_costs_the_clip_alone() -> None:
    with pytest.raises(UtteranceError, match="does not fit into memory") as refused:
        limited(0, MemoryError(), [])(HIDDEN)
    assert refused.value.reason == "out-of-memory"


def test_whatever_is_made_of_masks_shrinks_alike() -> None:
    def written(hidden: torch.Tensor) -> list[str]:
        if len(hidden) > 3:
            raise MemoryError
        return [str(int(row.sum())) for row in hidden]

    batched: Batched[list[str]] = Batched(written, lambda parts: [t for p in parts for t in p], 23)
    assert batched(HIDDEN) == [str(int(row.sum())) for row in HIDDEN]
    assert batched.size == 2


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        limited(0, RuntimeError("shapes do not fit"), [])(HIDDEN)
    assert not out_of_memory(ValueError("can't allocate memory"))


def test_the_first_size_follows_the_rows_of_a_mask() -> None:
    cpu = torch.device("cpu")
    assert Start.on(cpu, 1500) == Start(4)
    assert Start.on(cpu, 10**9) == Start(1)
    assert Start.on(cpu, 1) == Start.on(cpu, 29) == Start(64)


def test_a_gpu_begins_small_and_may_grow() -> None:
    cuda = torch.device("cuda")
    assert Start.on(cuda, 29) == Start(512, 4096)
    assert Start.on(cuda, 1500) == Start(10, 86)


# -- growth ---------------------------------------------------------------------------------------


def seconds(size: int) -> float:
    """A device that is busy from 8 masks on."""
    return max(size, 8) / 100


def test_batches_grow_while_masks_get_faster() -> None:
    growth, size, sizes = Growth(most=64), 2, []
    for _ in range(12):
        sizes.append(size)
        size = growth.after(size, seconds(size))
    # Each size is timed at its second batch; 16 masks are no faster than 8.
    assert sizes == [2, 2, 4, 4, 8, 8, 16, 16, 8, 8, 8, 8]


def test_growth_ends_at_the_most() -> None:
    growth, size = Growth(most=5), 2
    for _ in range(6):
        size = growth.after(size, 1.0)
    assert size == 4


def test_no_batch_grows_after_memory_ran_out() -> None:
    seen: list[int] = []
    batched = limited(6, torch.OutOfMemoryError("CUDA out of memory"), seen)
    batched.size, batched.growth = 2, Growth(most=64)
    many = HIDDEN.repeat(8, 1)
    batched(many)
    assert max(seen) == 4
    assert seen[-2:] == [4, 4]
    assert batched.growth is None
    assert sum(seen) == len(many)
