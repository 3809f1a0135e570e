"""Passes over hidden cells in batches that fit into memory, however many masks are asked for at once."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from xbench.errors import UtteranceError, message
from xbench.hiding.effect import Hidden, Measure, Shift
from xbench.models.device import device_of, release, wait

T = TypeVar("T")

# Out of memory on a CPU raises no exception class of its own; these are parts of the messages.
_ALLOCATORS_SAY = (
    "can't allocate memory",  # torch
    "not enough memory",  # torch on other systems
    "could not create a primitive",  # oneDNN, whose scratch memory was refused
    "could not execute a primitive",  # the same while it runs
    "could not create a memory object",
    "std::bad_alloc",
    "out of memory",  # MPS, and CUDA below torch
    "cannot allocate memory",  # the system, where a file is mapped or a thread is started
    "failed to allocate",
    "failed to map segment",  # the linker, where a library is imported late
)

# A larger batch must be faster per mask by this factor, else the smaller one stays.
_WORTH = 1.05


@dataclass
class Growth:
    """Finds the batch size where a device is busy: doubles it as long as masks get faster by more than a twentieth.

    most: no batch becomes larger. Of two batches of one size the second is timed, since the first one may have had to
    compile or to ask for memory.
    """

    most: int
    best: float = 0.0
    seen: int = 0
    over: bool = False

    def after(self, size: int, seconds: float) -> int:
        """Return the size of the next batch, told how long a full one took."""
        self.seen += 1
        if self.over or self.seen < 2:
            return size
        self.seen = 0
        rate = size / max(seconds, 1e-9)
        if rate <= _WORTH * self.best:
            self.over = True
            return max(1, size // 2)
        self.best = rate
        self.over = 2 * size > self.most
        return size if self.over else 2 * size


@dataclass(frozen=True)
class Start:
    """The batch size to begin with, and how far it may grow (None: it does not)."""

    size: int
    most: int | None = None

    @classmethod
    def on(cls, device: torch.device, rows: int) -> Start:
        """Return where to begin on a device when one mask takes this many rows through the network."""
        entry = device_of(device)
        most = max(1, min(entry.masks, entry.rows // max(rows, 1)))
        if entry.tries_larger:
            return cls(max(1, most // 4), 2 * most)
        return cls(most)


@dataclass
class Batched(Generic[T]):
    """A function of hidden cells that takes its masks in batches, of half the size whenever memory runs out.

    join: puts the results of the batches together. size: masks per batch at present. growth: makes batches larger where
    that is faster, until memory runs out for the first time.
    Raises UtteranceError `out-of-memory` when one mask alone does not fit.
    """

    function: Callable[[Hidden], T]
    join: Callable[[Sequence[T]], T]
    size: int
    growth: Growth | None = field(default=None)

    def __call__(self, hidden: Hidden) -> T:
        """Return what the function returns for all masks together."""
        parts: list[T] = []
        first = 0
        while first < len(hidden):
            batch = hidden[first : first + self.size]
            try:
                parts.append(self._run(batch))
            except (MemoryError, RuntimeError, OSError, ImportError) as problem:
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
            self.size, self.growth = len(batch) // 2, None
            release(hidden.device)
        return self.join(parts)

    def _run(self, batch: Hidden) -> T:
        growing = self.growth is not None and not self.growth.over and len(batch) == self.size
        if not growing:
            return self.function(batch)
        wait(batch.device)
        started = time.perf_counter()
        found = self.function(batch)
        wait(batch.device)
        assert self.growth is not None
        self.size = self.growth.after(self.size, time.perf_counter() - started)
        return found


def batched_measure(measure: Measure, start: Start) -> Batched[Shift]:
    """Return a measure that goes through its masks in batches."""
    return Batched(measure, _joined, start.size, None if start.most is None else Growth(start.most))


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
    if isinstance(problem, OSError):
        return problem.errno == errno.ENOMEM
    return isinstance(problem, RuntimeError | ImportError) and any(
        words in message(problem).lower() for words in _ALLOCATORS_SAY
    )
