"""Perturbed passes in batches that fit into memory, whatever block of masks the estimator asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from xbench.errors import EnvironmentProblem
from xbench.hiding.effect import Measure, Shift

# Rows (positions of all masks of a batch) beyond which a batch is no faster, only larger.
_ROWS = {"cpu": 6144, "cuda": 65_536}
_LARGEST = 64


def starting_size(device: torch.device, rows: int) -> int:
    """Return the batch size to begin with when one mask takes this many rows through the network."""
    return max(1, min(_LARGEST, _ROWS.get(device.type, _ROWS["cpu"]) // max(rows, 1)))


@dataclass
class Batched:
    """A measure that splits its masks into batches of `size`, halved whenever memory runs out.

    size: masks per batch now; it only shrinks. Raises EnvironmentProblem when one mask does not fit.
    """

    measure: Measure
    size: int

    def __call__(self, hidden: Bool[Tensor, "batch *cells"]) -> Shift:
        """Return what `measure` returns for all masks together."""
        parts: list[Shift] = []
        first = 0
        while first < len(hidden):
            batch = hidden[first : first + self.size]
            try:
                parts.append(self.measure(batch))
            except (MemoryError, RuntimeError) as problem:
                if not out_of_memory(problem):
                    raise
                if len(batch) == 1:
                    raise EnvironmentProblem(
                        "one perturbed pass does not fit into memory; use a smaller model or a shorter clip"
                    ) from None
            else:
                first += len(batch)
                continue
            # Outside `except`, where the traceback no longer holds the tensors of the failed pass.
            self.size = len(batch) // 2
            if hidden.device.type == "cuda":
                torch.cuda.empty_cache()
        return Shift(
            torch.cat([part.divergence for part in parts]), torch.cat([part.kept for part in parts])
        )


def out_of_memory(problem: BaseException) -> bool:
    """Say whether an exception means that memory ran out, on the CPU or an accelerator."""
    if isinstance(problem, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU allocator has no exception class of its own.
    return isinstance(problem, RuntimeError) and "can't allocate memory" in str(problem)
