"""What the tables speak of: tasks, models, configured methods, metrics, runs and submissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xbench.description import MethodDescription, MetricDescription
from xbench.results.checked import SELF_REPORTED
from xbench.site.shared import Dispute, Shared

ScoreKey = tuple[str, str | None]  # metric and reference
NO_REFERENCE = "not-against-the-reference"  # why a metric of word times has no ceiling


@dataclass(frozen=True)
class Task:
    """One task on one set of clips; `title` tells variants of one name apart.

    facts: what most results state of it; disputes: where others state something else.
    """

    slug: str
    name: str
    title: str
    facts: Mapping[str, Any] = field(compare=False)
    disputes: tuple[Dispute, ...] = field(default=(), compare=False)

    @property
    def headline(self) -> ScoreKey:
        """Metric and reference that the task ranks by."""
        return self.facts["headline"]["metric"], self.facts["headline"]["reference"]


@dataclass(frozen=True)
class Model:
    """One checkpoint in one precision; facts and disputes as of a task."""

    slug: str
    name: str
    title: str
    facts: Mapping[str, Any] = field(compare=False)
    disputes: tuple[Dispute, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Config:
    """A method with its parameters: what has a row of its own on a board.

    head: (layer, head) of a single head; such rows are shown but not ranked, because the best of a
    sweep is chosen on the very clips that score it. oracle: it learned from the test clips. learns: from these or
    others, of which it needs the references first.
    estimates: the reference whose own estimator it is, against which it has no rank.
    """

    slug: str
    label: str
    method: str
    family: str
    gradients: bool
    oracle: bool
    learns: bool
    head: tuple[int | None, int] | None
    estimates: str | None
    facts: Mapping[str, Any] = field(compare=False)

    @property
    def control(self) -> bool:
        """Whether it is a control, that is no explanation."""
        return self.family == "control"

    @property
    def ranked(self) -> bool:
        """Whether it takes part in ranks and groups."""
        return self.head is None and not self.oracle

    def repeats(self, reference: str | None) -> bool:
        """Whether it is this reference's own estimator, drawn again."""
        return reference is not None and self.estimates == reference


@dataclass(frozen=True)
class ListedMethod:
    """A method over all its parameters, described by the registry where it is registered."""

    slug: str
    name: str
    family: str
    description: MethodDescription | None
    configs: tuple[Config, ...]


@dataclass(frozen=True)
class Metric:
    """A metric as the registry describes it, or what most scores say of an unknown one.

    directions: what scores say is better, `higher` or `lower`.
    """

    name: str
    family: str
    higher: bool
    description: MetricDescription | None
    directions: Shared[str]

    @property
    def timed(self) -> bool:
        """Whether maps are held against known word times, not against the reference."""
        return self.description is not None and self.description.no_ceiling == NO_REFERENCE

    @property
    def unit(self) -> str:
        """Unit of its values; empty for a plain number."""
        return self.description.unit if self.description else ""

    def within(self, value: float | None) -> float | None:
        """Return an end of an interval, moved to the end of the range of values where it lies beyond."""
        low, high = self.description.range if self.description else (None, None)
        if value is None:
            return None
        value = value if low is None else max(low, value)
        return value if high is None else min(high, value)


@dataclass(frozen=True)
class Submission:
    """Results made by the same command on the same task and model: one page of provenance."""

    id: str
    task: Task
    model: Model
    date: str
    runs: tuple[ListedRun, ...]


@dataclass(frozen=True)
class ListedRun:
    """One result file: a configured method on a task and a model.

    outdated: what has changed since it was made; unchecked: what of it nothing in the file shows; local: what of
    it others do not have (`xbench.claims`); checked: how others checked it (`results.checked`).
    """

    id: str
    file: str
    sha256: str
    task: Task
    model: Model
    config: Config
    submission: str
    data: Mapping[str, Any]
    outdated: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    checked: str = SELF_REPORTED

    @property
    def date(self) -> str:
        """Day on which it finished."""
        return str(self.data["provenance"]["finished"])[:10]

    @property
    def cost(self) -> Mapping[str, Any]:
        """What it took."""
        cost: Mapping[str, Any] = self.data["cost"]
        return cost

    @property
    def passes(self) -> int | None:
        """Forward and backward passes together; None where they were not counted."""
        both = (self.cost["forward_passes"], self.cost["backward_passes"])
        return None if None in both else sum(both)

    @property
    def utterances(self) -> int:
        """How many utterances it scored."""
        return len(self.data["utterances"]["id"])

    @property
    def gates(self) -> Sequence[Mapping[str, Any]]:
        """Sanity checks, where the result records them."""
        return self.data.get("gates") or ()
