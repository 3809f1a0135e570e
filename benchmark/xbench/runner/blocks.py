"""The blocks of one reference in the store, until the reference is whole (`references.blocks`).

A block is kept if its passes took a tenth of a second or longer: on a GPU they may take less than the files do. So a
kill costs the block that is being measured, or where blocks are quicker than that, at most a tenth of a second for each
block of one reference (4 s for 20,000 masks in blocks of 500). Nothing waits for the disk: after a power cut blocks may
be gone, or are told as damaged and measured again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch

from xbench.hiding.effect import Shift
from xbench.models.metered import MeteredModel
from xbench.references.blocks import Facts, Unit
from xbench.runner.keys import block_key
from xbench.store import Artefact, Key, Store

KEPT_FROM_SECONDS = 0.1

_Place = tuple[str, int | None]  # part and first mask; without a mask: how the part is measured


@dataclass
class KeptBlocks:
    """The blocks of one reference, and what they took, whichever process measured them.

    reference: the key under which the reference will be stored. model: counts the passes of this process.
    look: raises where what was measured must not be stored. seconds_elsewhere: what those blocks took that other
    processes measured.
    """

    store: Store
    reference: Key
    model: MeteredModel
    look: Callable[[], None]
    seconds_elsewhere: float = 0.0
    _own: dict[_Place, int] = field(default_factory=dict)  # passes, per block
    _others: dict[_Place, int] = field(default_factory=dict)
    _unwritten: dict[str, Facts] = field(default_factory=dict)
    _touched: set[_Place] = field(default_factory=set)
    _mark: int = 0
    _repeated: int = 0
    _repeating: int | None = None
    _started: float = 0.0

    # -- what `references.blocks.Blocks` asks for --------------------------------------------------

    def choice(self, part: str) -> Facts | None:
        """Return how passes were chosen to be run."""
        stored = self.store.get(self._key((part, None)))
        if stored is None:
            return None
        self._others[part, None] = stored.facts["forward_passes"]
        self._repeating = self._count()
        return cast(Facts, stored.facts["choice"])

    def choose(self, part: str, facts: Facts) -> None:
        """Keep how passes are run, and the passes that it took to choose."""
        self._others.pop(
            (part, None), None
        )  # chosen by another process, and not possible in this one
        self._repeating = None
        self._own[part, None] = self._count() - self._mark
        self._unwritten[part] = facts

    def has(self, part: str, unit: Unit) -> bool:
        """Say whether all blocks of a unit are stored."""
        return all(self.store.has(self._key(place)) for place in _places(part, unit))

    def get(self, part: str, unit: Unit) -> Shift | None:
        """Return the effects of a unit from the store; None where not all of its blocks are there."""
        found: dict[_Place, Artefact] = {}
        for place in _places(part, unit):
            stored = self.store.get(self._key(place))
            if stored is None:
                return None
            found[place] = stored
        for place, stored in found.items():
            if place not in self._own:
                self._others[place] = stored.facts["forward_passes"]
                self.seconds_elsewhere += stored.facts["seconds"]
        values, kept = (
            torch.from_numpy(np.concatenate([each.arrays[name] for each in found.values()]))
            for name in ("values", "kept")
        )
        return Shift(values, kept)

    def measured(self, part: str, unit: Unit, shift: Shift, *, keep: bool) -> None:
        """Take note of a unit that was measured here, and store its blocks where that is asked for."""
        spent, seconds = self._count() - self._mark, time.perf_counter() - self._started
        self._mark += spent
        blocks = dict(zip(_places(part, unit), unit.blocks, strict=True))
        sizes = {place: rows.stop - rows.start for place, rows in blocks.items()}
        first = next(iter(sizes))
        sizes[first] += (
            spent - unit.masks
        )  # what else it took, where a batch did not fit into memory
        self._own |= sizes
        worth_it = keep and seconds / len(blocks) >= KEPT_FROM_SECONDS
        for place, rows in blocks.items() if worth_it else ():
            arrays = {
                "values": shift.value[rows].double().cpu().numpy(),
                "kept": shift.kept[rows].cpu().numpy(),
            }
            cost = {"forward_passes": sizes[place], "seconds": seconds / len(blocks)}
            self.look()
            self.store.put(self._key(place), arrays, cost, durable=False)

    @contextmanager
    def lease(self, part: str, unit: Unit) -> Iterator[bool]:
        """Hold a lease on a unit within the context; False where another process holds it."""
        if unit.first == 0 and unit.last:
            self._begin()
            yield True  # there is nothing to share, and nothing to keep
            return
        self._write_choices()
        with self.store.lease(self._key((part, unit.first))) as free:
            self._begin()
            yield free

    def superseded(self) -> bool:
        """Say whether another process has finished the reference."""
        return self.store.has(self.reference)

    # -- what the runner asks for ------------------------------------------------------------------

    def passes(self, masks: int) -> int:
        """Return the passes that the first so many masks took, and all that was run beside blocks.

        The number is the same whether one process estimated the reference at once, or several in turn or together.
        """
        beyond = sum(
            passes
            for (_, first), passes in self._own.items()
            if first is not None and first >= masks
        )
        return self._count() - beyond - self._twice() + sum(self._others.values())

    def drop(self) -> None:
        """Delete all blocks that this process has seen: the reference is whole."""
        for place in self._touched:
            self.store.drop(self._key(place))

    def _begin(self) -> None:
        """Start the clock and the count of a unit."""
        self._repeated, self._repeating = self._twice(), None
        self._mark, self._started = self._count(), time.perf_counter()

    def _twice(self) -> int:
        """Return the passes that were only needed because another process had chosen how to run them."""
        since = self._count() if self._repeating is None else self._repeating
        return self._repeated + self._count() - since

    def _write_choices(self) -> None:
        while self._unwritten:
            part, choice = self._unwritten.popitem()
            facts = {"choice": dict(choice), "forward_passes": self._own[part, None]}
            self.look()
            self.store.put(self._key((part, None)), {}, facts, durable=False)

    def _count(self) -> int:
        return self.model.passes.forward

    def _key(self, place: _Place) -> Key:
        self._touched.add(place)
        return block_key(self.reference, *place)


def _places(part: str, unit: Unit) -> list[_Place]:
    return [(part, unit.first + rows.start) for rows in unit.blocks]
