"""Keeping a network as it is, and putting it back: plugins share it with everybody else.

`Keeper` takes notes of a network (`network_look`) and has a copy of its weights to put back. It also sees writes that
torch does not count (through `.data` or numpy), as long as they meet one of the values that it samples of each weight:
at least one of each row and of each column, so that a unit or a head cannot be changed unseen. `xbench check method`
compares every bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xbench.models.metered import MeteredModel
from xbench.models.network_look import Look, Parts, look
from xbench.models.protocol import SpeechModel

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by size in bytes
AT_MOST = 2  # networks whose weights are kept: that of the run, and one that was made of it


def networks(model: SpeechModel) -> dict[str, nn.Module]:
    """Return the networks that a model holds, each once, by the name of its attribute."""
    measured = model.measured if isinstance(model, MeteredModel) else model
    owned = {"network": getattr(measured, "network", None), **vars(measured)}
    found: dict[str, nn.Module] = {}
    for name, value in owned.items():
        if isinstance(value, nn.Module) and all(value is not other for other in found.values()):
            found[name] = value
    return found


@dataclass(frozen=True)
class _Kept:
    """A network as it was at a look, with its weights.

    values: they themselves, without gradient. sampled: the bits of some values of each. copies: of all values, in the
    memory of the host.
    """

    look: Look
    values: tuple[Tensor, ...]
    spots: _Spots
    sampled: tuple[bytes, ...]
    copies: tuple[Tensor, ...]

    @classmethod
    def of(cls, network: nn.Module) -> _Kept:
        """Take notes of a network and copy its weights."""
        seen = look(network)
        values = tuple(weight.tensor.detach() for weight in seen.weights)
        spots = _Spots.of(values)
        return cls(
            seen,
            values,
            spots,
            spots.bits(),
            tuple(each.to("cpu", copy=True) for each in values),
        )

    @property
    def untouched(self) -> bool:
        """Say whether nothing was written into any weight, as far as that is seen."""
        # Where the values lie elsewhere, the spots may be memory that is free by now: they are not looked at.
        return self.look.marks.unwritten and self.sampled == self.spots.bits()

    @property
    def same(self) -> bool:
        """Say whether nothing differs at all."""
        return self.untouched and self.look.same

    def other_values(self) -> str | None:
        """Say which weight has not the values that were copied."""
        for weight, values, copy in zip(self.look.weights, self.values, self.copies, strict=True):
            moved = weight.tensor.data_ptr() != values.data_ptr()
            if moved or not torch.equal(_bits(values.cpu()), _bits(copy)):
                return self.look.weight(weight.tensor)
        return None


class Keeper:
    """Keeps networks as they are, with a copy of their weights in the memory of the host."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}
        self._parts = Parts.of(())

    def keep(self, network: nn.Module) -> None:
        """Take notes of a network, unless there are some: they stay valid until somebody writes into its weights.

        Nothing else of it changes between two methods that are looked after: what runs there leaves it as it was.
        """
        kept = self._kept.pop(id(network), None)
        if kept is None or not kept.look.marks.unwritten:
            while len(self._kept) >= AT_MOST:
                del self._kept[next(iter(self._kept))]
            kept = None  # its memory is free before the next copy is made
            kept = _Kept.of(network)
        self._kept[id(network)] = kept

    def parts(self, owners: Sequence[Any]) -> Parts:
        """Return notes of what a model is made of beside its networks, which stay valid until something differs."""
        if not self._parts.are(owners):
            self._parts = Parts.of(owners)
        return self._parts

    def change(self, network: nn.Module) -> str | None:
        """Say what is not as it was kept; None where all is, and where weights were changed and put back."""
        kept = self._kept[id(network)]
        if kept.same:
            return None
        changed = kept.look.change()
        if changed is None and not kept.untouched:
            changed = kept.other_values()
        if changed is None:  # it differs in what is no change, such as a remembered position
            self._kept[id(network)] = replace(kept, look=look(network))
        return changed

    def put_back(self, network: nn.Module) -> None:
        """Make a network what it was when it was kept."""
        kept = self._kept.pop(id(network))
        for each in (*kept.look.shared, *kept.look.modules):
            each.put_back()
        for weight, values, copy in zip(kept.look.weights, kept.values, kept.copies, strict=True):
            weight.put_back(values, copy)


@dataclass(frozen=True)
class _Spots:
    """Evenly spaced values of each tensor, as views where its layout allows one.

    host: those in the memory of the host, as arrays, by their type: they are read ten times as fast. device: the
    others.
    """

    host: tuple[tuple[np.ndarray, ...], ...]
    device: tuple[Tensor, ...]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> _Spots:
        """Choose the values."""
        spots = [_spots(each) for each in tensors if each.numel()]
        host = [each.numpy() for each in spots if each.device.type == "cpu"]
        types = dict.fromkeys(each.dtype for each in host)
        return cls(
            tuple(tuple(each for each in host if each.dtype == type_) for type_ in types),
            tuple(each for each in spots if each.device.type != "cpu"),
        )

    def bits(self) -> tuple[bytes, ...]:
        """Read them all."""
        found = [np.concatenate(each).tobytes() for each in self.host]
        if self.device:  # one copy to the host
            found.append(torch.cat(self.device).cpu().numpy().tobytes())
        return tuple(found)


def _spots(values: Tensor) -> Tensor:
    along = values.permute(sorted(range(values.ndim), key=values.stride, reverse=True))
    flat = along.view(-1) if along.is_contiguous() else values.flatten()
    bits = flat.view(_INTEGERS.get(flat.dtype.itemsize, flat.dtype))
    return bits[:: _step(len(along) if along.ndim > 1 else 1, len(bits))]


def _step(rows: int, size: int) -> int:
    """Return the largest step along all values of a matrix that meets each of its rows and columns.

    With C columns, a step of at most C meets each row. One that has no factor in common with C meets all columns within
    C steps, and there are C steps where it is at most the number of rows.
    """
    columns = size // rows
    step = max(1, min(rows, columns))
    while math.gcd(step, columns) > 1:
        step -= 1
    return step


def _bits(values: Tensor) -> Tensor:
    """Return the bits of a tensor: they equal themselves also where a value is not a number."""
    return values.contiguous().view(-1).view(torch.uint8) if values.numel() else values
