"""Passes over hidden cells in batches that fit into memory, however many masks are asked for at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from xbench.errors import UtteranceError
from xbench.hiding.effect import Hidden, Measure, Shift

T = TypeVar("T")

# With more rows than this (positions of all masks of a batch) a batch is no faster, only larger.
_ROWS = {"cpu": 6144, "cuda": 65_536}
_LARGEST = 64

# Out of memory on a CPU raises no exception class of its own; these are parts of the messages.
_ALLOCATORS_SAY = (
    "can't allocate memory",  # torch
    "not enough memory",  # torch on other systems
    "could not create a primitive",  # oneDNN, whose scratch memory was refused
    "could not create a memory object",
    "std::bad_alloc",
    "out of memory",  # MPS, and CUDA below torch
)


def starting_size(device: torch.device, rows: int) -> int:
    """Return the batch size to begin with when one mask takes this many rows through the network."""
    return max(1, min(_LARGEST, _ROWS.get(device.type, _ROWS["cpu"]) // max(rows, 1)))


@dataclass
class Batched(Generic[T]):
    """A function of hidden cells that takes its masks in batches, of half the size whenever memory runs out.

    join: puts the results of the batches together. size: masks per batch at present; it only shrinks.
    Raises UtteranceError `out-of-memory` when one mask alone does not fit.
    """

    function: Callable[[Hidden], T]
    join: Callable[[Sequence[T]], T]
    size: int

    def __call__(self, hidden: Hidden) -> T:
        """Return what the function returns for all masks together."""
        parts: list[T] = []
        first = 0
        while first < len(hidden):
            batch = hidden[first : first + self.size]
            try:
                parts.append(self.function(batch))
            except (MemoryError, RuntimeError) as problem:
                if not out_of_memory(problem):
                    raise
                if len(batch) == 1:
                    raise UtteranceError(
                        "out-of-memory",
                        "one perturbed pass does not fit into memory; use a smaller model or a shorter clip",
                    ) from None
            else:
                first += len(batch)
                continue
            # Not inside `except`: there the traceback would still hold the tensors of the failed pass in memory.
            self.size = len(batch) // 2
            if hidden.device.type == "cuda":
                torch.cuda.empty_cache()
        return self.join(parts)


def batched_measure(measure: Measure, size: int) -> Batched[Shift]:
    """Return a measure that goes through its masks in batches."""
    return Batched(measure, _joined, size)


def batched_tensor(function: Callable[[Hidden], Tensor], size: int) -> Batched[Tensor]:
    """Return a function to tensors, one row per mask, that goes through its masks in batches."""
    return Batched(function, lambda parts: torch.cat(list(parts)), size)


def _joined(parts: Sequence[Shift]) -> Shift:
    return Shift(
        torch.cat([part.value for part in parts]), torch.cat([part.kept for part in parts])
    )


def out_of_memory(problem: BaseException) -> bool:
    """Say whether an exception means that memory ran out, on the CPU or an accelerator."""
    if isinstance(problem, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(problem, RuntimeError) and any(
        words in str(problem).lower() for words in _ALLOCATORS_SAY
    )
