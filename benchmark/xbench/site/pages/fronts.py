"""Score against cost: which methods no other beats in both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xbench.site import charts
from xbench.site.overall import Overall, Standing
from xbench.stats import pareto_front

CostKind = Literal["seconds", "passes"]


@dataclass(frozen=True)
class FrontLine:
    """One method with its cost; beaten_by: the best method that costs no more and scores higher."""

    standing: Standing
    cost: float
    front: bool
    beaten_by: Standing | None


@dataclass(frozen=True)
class CostFront:
    """A chart with its lines, cheapest first; unpriced: methods without this cost, and why.

    left_out: methods that found no room, those with the lowest scores.
    """

    kind: CostKind
    svg: str
    description: str
    label: str
    lines: tuple[FrontLine, ...]
    left_out: int
    unpriced: tuple[tuple[Standing, str], ...]


def cost_fronts(table: Overall, small: bool = False, most: int = 200) -> list[CostFront]:
    """Return a chart of seconds for each device, most used first, and one of passes.

    Seconds of two devices never share a front. most: methods of a chart, the whole front among them.
    """
    timed = [s for s in table.standings if s.seconds and len(s.devices) == 1]
    fronts = []
    for device in devices(timed):
        label = f"seconds per second of audio on {device} (log scale)"
        here = [(s, s.seconds) for s in timed if s.devices == (device,) and s.seconds]
        fronts.append(_front(table, "seconds", here, label, small, most))
    passes = [(s, s.passes) for s in table.standings if s.passes]
    label = "forward and backward passes per utterance (log scale)"
    return [*fronts, _front(table, "passes", passes, label, small, most)]


def devices(timed: Sequence[Standing]) -> list[str]:
    """Return the devices of standings that have one each, most used first."""
    uses = Counter(s.devices[0] for s in timed)
    return sorted(uses, key=lambda device: (-uses[device], device))


def _front(
    table: Overall,
    kind: CostKind,
    known: Sequence[tuple[Standing, float]],
    label: str,
    small: bool,
    most: int,
) -> CostFront:
    sign = 1 if table.higher else -1
    # Costs that a page shows as equal are equal: what lies beyond is noise of one timing.
    shown = {s.config.slug: float(f"{c:.2g}") for s, c in known}
    # The reference itself beats nobody in agreeing with it.
    rivals = [(s, shown[s.config.slug]) for s, _ in known if not s.config.repeats(table.reference)]
    best = pareto_front(
        [c for _, c in rivals], [s.value for s, _ in rivals], higher_is_better=table.higher
    )
    # A control may beat a method, but it is no explanation and never on the front itself.
    ahead = {
        s.config.slug
        for (s, _), on in zip(rivals, best, strict=True)
        if on and not s.config.control
    }
    # Standings come best first, and so do those whose cost is known.
    kept = {s.config.slug for s, _ in known[:most]} | ahead
    lines = [(s, c, s.config.slug in ahead) for s, c in known if s.config.slug in kept]
    points = [
        charts.FrontPoint(s.config.label, c, s.value, s.low, s.high, s.config.family, front)
        for s, c, front in lines
    ]
    names = ", ".join(p.label for p in sorted(points, key=lambda p: p.cost) if p.front)
    title = f"{table.metric} against {label}"
    description = f"{len(points)} methods. Not beaten on both cost and score: {names or 'none'}."
    return CostFront(
        kind=kind,
        svg=charts.pareto_chart(points, title, description, label, small),
        description=description,
        label=label,
        lines=tuple(
            FrontLine(s, c, front, _beaten_by(s, shown[s.config.slug], rivals, sign))
            for s, c, front in sorted(lines, key=lambda line: line[1])
        ),
        left_out=len(known) - len(lines),
        unpriced=tuple(
            (s, _why_unpriced(s, kind))
            for s in table.standings
            if all(s is not other for other, _ in known)
        ),
    )


def _why_unpriced(standing: Standing, kind: CostKind) -> str:
    """Say why a method has no place on a chart of this cost."""
    if kind == "seconds" and standing.seconds:
        return f"timed on {' and '.join(standing.devices)}"
    known = standing.seconds if kind == "seconds" else standing.passes
    return "not recorded" if known is None else "none needed"


def _beaten_by(
    standing: Standing, cost: float, rivals: Sequence[tuple[Standing, float]], sign: int
) -> Standing | None:
    """Return the best method that costs no more and scores higher."""
    better = [
        s
        for s, c in rivals
        if c <= cost
        and sign * s.value >= sign * standing.value
        and (c, s.value) != (cost, standing.value)
    ]
    return max(better, key=lambda s: (sign * s.value, s.config.label), default=None)
