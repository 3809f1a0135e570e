"""Blocks of masks as units of work: which is measured next, by whom, and where its effects are kept meanwhile.

The effects of a block's masks are kept until the reference is whole, where they took long enough to be worth it. So a
process that was killed loses one block; and several processes may work on one reference: each measures the first block
that nobody has measured or works on. Every process adds all blocks in their order, whoever measured them, so all come
to the same sums and the same end.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from xbench.hiding.effect import Shift

Facts = Mapping[str, str | float | None]

FEWEST_BLOCKS = 2
# `until` judges the map again when there are this many times as many masks as when it last did.
_NEXT_LOOK = 1.05
# So many units ahead of the one that is added next are measured while others work on that one. With `until` the
# reference may end before them, so it is not many.
_AHEAD = 16
# Whoever has nothing else to do waits so long, or so many times as long as a unit took, before it doubts that another
# process is at work and measures the unit itself.
_PATIENCE_SECONDS = 30.0
_PATIENCE_UNITS = 4.0


class Superseded(Exception):
    """Another process has finished the reference that this one was working on."""


@dataclass(frozen=True)
class Unit:
    """Whole blocks that are measured together: as many as fill a batch.

    first: number of the first mask. block: masks of a block. look: whether `until` judges the sums after this unit.
    last: whether no mask follows.
    """

    first: int
    masks: int
    block: int
    look: bool
    last: bool

    @property
    def blocks(self) -> Iterator[slice]:
        """The rows of each block."""
        for start in range(0, self.masks, self.block):
            yield slice(start, min(start + self.block, self.masks))


@runtime_checkable
class Blocks(Protocol):
    """Where the effects of the blocks of one reference of one utterance are kept.

    part: names what is measured, where a reference measures more than one thing.
    """

    def choice(self, part: str) -> Facts | None:
        """Return how passes were chosen to be run when the first block was measured; None before."""

    def choose(self, part: str, facts: Facts) -> None:
        """Keep how passes are run."""

    def has(self, part: str, unit: Unit) -> bool:
        """Say whether all blocks of a unit are kept."""

    def get(self, part: str, unit: Unit) -> Shift | None:
        """Return the effects of the masks of a unit; None where not all of its blocks are kept."""

    def measured(self, part: str, unit: Unit, shift: Shift, *, keep: bool) -> None:
        """Take note of a unit that was measured here, and keep its blocks where that is asked for and worth it."""

    def lease(self, part: str, unit: Unit) -> AbstractContextManager[bool]:
        """Hold a lease on a unit within the context; False where another process holds it."""

    def superseded(self) -> bool:
        """Say whether another process has finished the reference."""


class Unkept:
    """Keeps nothing and shares with nobody."""

    def choice(self, part: str) -> Facts | None:
        """Know of none."""
        return None

    def choose(self, part: str, facts: Facts) -> None:
        """Forget it."""

    def has(self, part: str, unit: Unit) -> bool:
        """Keep none."""
        return False

    def get(self, part: str, unit: Unit) -> Shift | None:
        """Keep none."""
        return None

    def measured(self, part: str, unit: Unit, shift: Shift, *, keep: bool) -> None:
        """Forget it."""

    def lease(self, part: str, unit: Unit) -> AbstractContextManager[bool]:
        """Grant all."""
        return nullcontext(True)

    def superseded(self) -> bool:
        """Know of nobody else."""
        return False


UNKEPT = Unkept()


def units(masks: int, block: int, *, until: bool, size: Callable[[], int]) -> Iterator[Unit]:
    """Divide masks into units.

    size: returns how many masks fill a batch at present. With `until` no unit goes beyond the next look, which might
    save it.
    """
    drawn, next_look = 0, float(FEWEST_BLOCKS * block) if until else math.inf
    while drawn < masks:
        together = math.ceil(size() / block)
        if math.isfinite(next_look):
            together = min(together, max(1, math.ceil((next_look - drawn) / block)))
        count = min(together * block, masks - drawn)
        drawn += count
        look = drawn >= min(masks, next_look)
        if look and until:
            next_look = _NEXT_LOOK * drawn
        yield Unit(drawn - count, count, block, look, drawn >= masks)


@dataclass
class Effects:
    """The effects of all units in their order, each measured here, or by another process that works on the same."""

    units: Iterator[Unit]
    measure: Callable[[Unit], Shift]
    blocks: Blocks
    part: str
    _coming: deque[Unit] = field(default_factory=deque)
    _ahead: dict[int, Shift] = field(default_factory=dict)  # measured here before their turn
    _slowest: float = 0.0

    def __iter__(self) -> Iterator[tuple[Unit, Shift]]:
        """Go through the units; raises Superseded when another process has finished the reference."""
        while (unit := self._at(0)) is not None:
            shift = self._effects(unit)
            self._coming.popleft()
            yield unit, shift

    def _at(self, index: int) -> Unit | None:
        """Return the unit so many ahead of the one that is added next."""
        while len(self._coming) <= index:
            following = next(self.units, None)
            if following is None:
                return None
            self._coming.append(following)
        return self._coming[index]

    def _effects(self, unit: Unit) -> Shift:
        since = time.monotonic()
        while True:
            if self.blocks.superseded():
                raise Superseded
            found = self._ahead.pop(unit.first, None) or self.blocks.get(self.part, unit)
            if found is not None:
                return found
            measured = self._measure_free()
            if measured is not None:
                if measured[0] is unit:
                    return measured[1]
                since = time.monotonic()
                continue
            waited = time.monotonic() - since
            if waited > max(_PATIENCE_SECONDS, _PATIENCE_UNITS * self._slowest):
                return self._measured(unit)
            time.sleep(min(1.0, 0.05 + waited / 20))

    def _measure_free(self) -> tuple[Unit, Shift] | None:
        """Measure the first unit that is not kept and that nobody works on; None where there is none."""
        for index in range(_AHEAD):
            unit = self._at(index)
            if unit is None:
                break
            if unit.first in self._ahead or self.blocks.has(self.part, unit):
                continue
            with self.blocks.lease(self.part, unit) as free:
                if free and not self.blocks.has(self.part, unit):
                    return unit, self._measured(unit)
        return None

    def _measured(self, unit: Unit) -> Shift:
        started = time.monotonic()
        shift = self.measure(unit)
        # The last of all is not worth keeping: with it the reference is whole.
        whole = unit.last and unit is self._coming[0]
        self.blocks.measured(self.part, unit, shift, keep=not whole)
        if unit is not self._coming[0]:
            self._ahead[unit.first] = shift
        self._slowest = max(self._slowest, time.monotonic() - started)
        return shift
