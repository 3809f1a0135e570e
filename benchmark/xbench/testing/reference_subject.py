"""What the battery of a reference is run on: a call with few passes, its estimates, and what each of them took."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from xbench.case import Case
from xbench.description import ReferenceDescription
from xbench.models.metered import MeteredModel
from xbench.references.estimation import Sampling
from xbench.references.reference import Reference
from xbench.spec import Call, Scalar
from xbench.testing.battery import Broken, NotApplicable
from xbench.testing.state import Watched, watch


def few_passes(description: ReferenceDescription, passes: int) -> dict[str, Scalar]:
    """Return values of the declared parameters with which about this many passes are enough."""
    declared = {p.name for p in description.parameters}
    wanted = dict(description.trial)
    if description.bound in declared:
        wanted[description.bound] = _allowed(description, passes)
    return {name: value for name, value in wanted.items() if name in declared}


def _allowed(description: ReferenceDescription, passes: int) -> int:
    """Return the number of passes nearest to this one that the bounding parameter allows."""
    (bound,) = (p for p in description.parameters if p.name == description.bound)
    low, high = bound.minimum or passes, bound.maximum or passes
    return int(min(max(passes, low), high))


@dataclass(frozen=True)
class Estimate:
    """One estimate: the passes that were made for it, and those that were told while they were made."""

    reference: Reference
    mean: Any
    made: int
    told: tuple[int, ...]


@dataclass(frozen=True)
class Subject:
    """A reference with complete parameters, and the case it is tried on."""

    description: ReferenceDescription
    call: Call
    case: Case

    def estimate(
        self,
        case: Case | None = None,
        call: Call | None = None,
        *,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> Estimate:
        """Call the implementation; refuse what is no Reference."""
        chosen = case or self.case
        metered, told = MeteredModel(chosen.model), list[int]()
        found = self.description.load()(
            replace(chosen, model=metered),
            Sampling(seed, batch_size, told.append),
            **dict((call or self.call).params),
        )
        if not isinstance(found, Reference):
            needed = "mean, halves, facts and to_artefact"
            raise Broken(f"it returns a {type(found).__name__}, which lacks one of {needed}")
        return Estimate(found, found.mean(), metered.passes.forward, tuple(told))

    @cached_property
    def watched(self) -> tuple[Estimate, Watched]:
        """The first estimate of all, and what everything around it was before and after."""
        return watch(self.case, self.estimate)

    @property
    def first(self) -> Estimate:
        """The first estimate, with seed 0 and a batch size that it finds itself."""
        return self.watched[0]

    @cached_property
    def longer(self) -> Estimate:
        """An estimate that may make twice as many passes."""
        return self.estimate(call=self.allowing(2 * self.most_passes))

    def allowing(self, passes: int) -> Call:
        """Return the call with about this many passes, as far as it says how many."""
        if self.description.bound is None:
            return self.call
        return self.description.bounded(self.call, _allowed(self.description, passes))

    @property
    def most_passes(self) -> int:
        """The perturbed passes that the description tells beforehand."""
        most = self.description.most_passes(self.call)
        if most is None:
            raise NotApplicable("the description names no parameter that bounds its passes")
        return most


def _shape(case: Case, space: str) -> tuple[int, ...]:
    rows = len(case.hypothesis.tokens)
    if space == "encoder":
        return rows, case.features.frames
    return rows, *case.features.valid.shape


def check_shape(values: Any, case: Case, space: str, what: str) -> None:
    """Raise Broken for what is not an array of numbers over a row per token and the cells of the space."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise Broken(f"{what} is not an array of numbers")
    expected = _shape(case, space)
    if values.shape != expected:
        raise Broken(f"{what} has shape {list(values.shape)}, expected {list(expected)}")


def check_numbers(values: np.ndarray, what: str) -> None:
    """Raise Broken for a NaN or an infinity."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise Broken(f"{what}: {len(bad)} values are not finite, the first at {bad[0].tolist()}")


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a share of the largest value."""
    largest = float(np.abs(expected).max())
    change = float(np.abs(found - expected).max())
    return change / largest if largest > 0 else change
