"""Charts as inline SVG, written by hand: the only module that marks text as safe HTML.

Everything from outside enters through `markupsafe.escape`. Lengths along the value axis are per
cents, so a chart is as wide as its column and never scales its lines or letters. Colour never stands alone: a
family also has a shape, a magnitude also has its number beside it or in a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

LEVELS = 16  # steps of the colour map in site.css

# Okabe and Ito's colours, by name in site.css (`.f-attention` ...); shape and name go together.
SHAPES = {
    "attention": "circle",
    "gradient": "square",
    "perturbation": "triangle",
    "control": "diamond",
}

# viridis at five places (Smith and van der Walt, CC0), interpolated linearly.
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from value to per cent of the width, with a margin."""

    low: float
    high: float
    log: bool = False
    margin: float = 2.0
    left: float | None = None

    def at(self, value: float) -> float:
        """Return the place of a value in per cent, kept inside of the drawing."""
        low, high, x = self.low, self.high, value
        if self.log:
            low, high, x = math.log10(low), math.log10(high), math.log10(max(value, 1e-12))
        share = 0.5 if high <= low else (min(max(x, low), high) - low) / (high - low)
        left = self.margin if self.left is None else self.left
        return round(left + share * (100 - self.margin - left), 2)

    def ticks(self) -> list[float]:
        """Return round values on the axis."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            powers = [10.0**k for k in range(first, last + 1)]
            powers = [p for p in powers if self.low * 0.999 <= p <= self.high * 1.001]
            return powers or [self.low]
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [round(k * step, 10) for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _round_step(step: float) -> float:
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * 0.999)


def scale_over(
    values: Iterable[float | None],
    *,
    log: bool = False,
    margin: float = 2.0,
    left: float | None = None,
) -> Scale:
    """Return a scale that holds all values with a little room; 0 to 1 where there are none."""
    known = [v for v in values if v is not None and (v > 0 or not log)]
    if not known:
        return Scale(0.001 if log else 0.0, 1.0, log, margin, left)
    low, high = min(known), max(known)
    if log:
        return Scale(low / 1.6, high * 1.6, True, margin, left)
    room = (high - low) * 0.05 or 0.05
    return Scale(low - room, high + room, False, margin, left)


def millions(count: int) -> str:
    """Return a count of parameters: `73 M`."""
    value = count / 1e6
    return f"{value:,.0f} M" if value >= 10 else f"{value:.2g} M"


def number(value: float | None, digits: int = 2) -> str:
    """Write a number for reading: true minus sign, "–" for none."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


def cost(value: float | None) -> str:
    """Write a cost to two significant digits."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


# -- forest plot -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dot:
    """What one line of a forest plot shows; family gives colour and shape, hollow marks an oracle."""

    value: float | None
    low: float | None
    high: float | None
    floor: float | None
    ceiling: float | None
    family: str
    hollow: bool = False


MANY_DOTS = 20  # from so many on, one in twenty may lie beyond the axis


def forest_scale(dots: Sequence[Dot], ends: tuple[float, ...] = ()) -> Scale:
    """Return the common axis of a forest plot: all intervals, floors and ceilings.

    Of many lines those with the widest intervals would press all others together: where more than half of the axis
    would lie beyond the middle 90 % of the means, the floors and the ceilings, it ends there.
    """
    means = sorted(d.value for d in dots if d.value is not None)
    bounds = [x for d in dots for x in (d.floor, d.ceiling) if x is not None]
    reach = [x for d in dots for x in (d.low, d.high) if x is not None]
    every = [*ends, *means, *bounds, *reach]
    if len(means) < MANY_DOTS:
        return scale_over(every)
    few = len(means) // MANY_DOTS
    kept = [*ends, *means[few:-few], *bounds]
    low, high = min(kept), max(kept)
    return scale_over(
        (
            low if low - min(every) > high - low else min(every),
            high if max(every) - high > high - low else max(every),
        )
    )


def beyond(dot: Dot, scale: Scale) -> tuple[float | None, float | None]:
    """Return how far a line reaches below and above the axis; None where it does not."""
    reach = [x for x in (dot.value, dot.low, dot.high) if x is not None] or [scale.low]
    low, high = min(reach), max(reach)
    return (low if low < scale.low else None), (high if high > scale.high else None)


def _forest_band(dots: Sequence[Dot]) -> tuple[float, float] | None:
    """Return the range that the intervals of the leading group cover."""
    known = [x for d in dots for x in (d.value, d.low, d.high) if x is not None]
    return (min(known), max(known)) if known else None


def forest(
    dots: Sequence[Dot], led: Sequence[Dot], name: str, ends: tuple[float, ...] = ()
) -> tuple[Markup, list[Markup]]:
    """Draw the axis of a forest plot and its lines over the band of the dots that lead.

    ends: values that the axis holds besides.

    What all lines share (band, zero, floor and ceiling) stands once, in the axis, under the id `name`:
    a page of a hundred lines would be a third larger otherwise.
    """
    scale = forest_scale(dots, ends)
    band = _forest_band(led)
    shared = []
    if band:
        x, end = scale.at(band[0]), scale.at(band[1])
        shared.append(f'<rect class="band" x="{x}%" y="0" width="{end - x:.2f}%" height="100%"/>')
    if scale.low < 0 < scale.high:
        shared.append(_upright(scale.at(0), "zero", "0", "100%"))
    bounds = [_bounds(dot, scale) for dot in dots]
    common = set(bounds) if len(set(bounds)) == 1 else set()
    shared += common
    under = f'<use href="#{name}"/>' if any(shared) else ""
    lines = [
        _line("" if own in common else own, dot, scale, under)
        for own, dot in zip(bounds, dots, strict=True)
    ]
    kept = f'<defs><g id="{name}">{"".join(shared)}</g></defs>' if under else ""
    return axis(scale, kept), lines


def _bounds(dot: Dot, scale: Scale) -> str:
    """Draw the ticks at floor and ceiling."""
    ticks = (("floor", dot.floor), ("ceiling", dot.ceiling))
    return "".join(_upright(scale.at(x), kind, "14%", "86%") for kind, x in ticks if x is not None)


def _line(bounds: str, dot: Dot, scale: Scale, under: str) -> Markup:
    """Draw one line: dot and interval over its bounds and over what all lines share."""
    parts = [under, bounds]
    if dot.value is not None:
        group = []
        if dot.low is not None and dot.high is not None:
            a, b = scale.at(dot.low), scale.at(dot.high)
            group.append(f'<line x1="{a}%" x2="{b}%" y1="50%" y2="50%"/>')
        group.append(_mark(dot.family, scale.at(dot.value), "50%"))
        hollow = " hollow" if dot.hollow else ""
        parts.append(f'<g class="f-{_family(dot.family)}{hollow}">{"".join(group)}</g>')
    below, above = beyond(dot, scale)
    if below is not None:
        parts.append(f'<text x="8%" y="10">← {number(below, 1)}</text>')
    if above is not None:
        parts.append(f'<text x="92%" y="10">{number(above, 1)} →</text>')
    return Markup(f'<svg class="fl" aria-hidden="true">{"".join(parts)}</svg>')


def difference_line(
    value: float, low: float | None, high: float | None, outcome: str, scale: Scale
) -> Markup:
    """Draw a difference with its interval, and the line where there is none."""
    parts = [_upright(scale.at(0), "zero", "0", "100%"), f'<g class="d-{outcome}">']
    if low is not None and high is not None:
        parts.append(f'<line x1="{scale.at(low)}%" x2="{scale.at(high)}%" y1="50%" y2="50%"/>')
    parts.append(f'<circle cx="{scale.at(value)}%" cy="50%" r="5"/></g>')
    return Markup(f'<svg class="fl" aria-hidden="true">{"".join(parts)}</svg>')


def axis(scale: Scale, kept: str = "") -> Markup:
    """Draw the numbers of a value axis; kept: shapes that others use."""
    marks = "".join(
        f'<text x="{scale.at(t)}%" y="11">{_tick(t)}</text>{_upright(scale.at(t), "tick", "14", "18")}'
        for t in scale.ticks()
    )
    return Markup(f'<svg class="fa" aria-hidden="true">{kept}{marks}</svg>')


def _tick(value: float) -> str:
    text = f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) < 1e4 else f"{value:.0e}"
    return ("0" if text in ("-0", "") else text).replace("-", "\N{MINUS SIGN}")


def _upright(x: float, kind: str, top: str, bottom: str) -> str:
    return f'<line class="{kind}" x1="{x}%" x2="{x}%" y1="{top}" y2="{bottom}"/>'


def _family(name: str) -> str:
    return name if name in SHAPES else "other"


def _mark(family: str, x: float, y: str) -> str:
    """Draw the shape of a family around a point; x in per cent, y in pixels or per cent."""
    shape = SHAPES.get(family, "circle")
    if shape == "circle":
        return f'<circle cx="{x}%" cy="{y}" r="5"/>'
    # A nested drawing without clipping carries a shape in pixels to a place in per cent.
    path = {
        "square": "M-4.5-4.5h9v9h-9z",
        "triangle": "M0-6L5.5 4.5h-11z",
        "diamond": "M0-6L6 0 0 6-6 0z",
    }
    return f'<svg class="mk" x="{x}%" y="{y}"><path d="{path[shape]}"/></svg>'


# -- cost against score ----------------------------------------------------------------------------


@dataclass(frozen=True)
class FrontPoint:
    """One method: cost, score with interval, whether it is on the front, and how to call it."""

    label: str
    cost: float
    value: float
    low: float | None
    high: float | None
    family: str
    front: bool


def pareto_chart(
    points: Sequence[FrontPoint], title: str, description: str, cost_label: str, small: bool = False
) -> Markup:
    """Draw score over log cost; points of the front are joined by a step line and named."""
    x = scale_over((p.cost for p in points), log=True, left=11.0, margin=4.0)
    y = scale_over(v for p in points for v in (p.value, p.low, p.high))
    up = _flip(y)
    parts = [_described(title, description)]
    for tick in y.ticks():
        parts.append(f'<line class="grid" x1="11%" x2="98%" y1="{up(tick)}%" y2="{up(tick)}%"/>')
        parts.append(f'<text class="ylab" x="10%" y="{up(tick)}%" dy="4">{_tick(tick)}</text>')
    for tick in x.ticks():
        parts.append(f'<line class="grid" x1="{x.at(tick)}%" x2="{x.at(tick)}%" y1="4%" y2="90%"/>')
        parts.append(f'<text class="xlab" x="{x.at(tick)}%" y="95%">{_tick(tick)}</text>')
    front = sorted((p for p in points if p.front), key=lambda p: p.cost)
    level_parts = []
    for here, there in pairwise(front):
        level_parts.append((x.at(here.cost), x.at(there.cost), up(here.value)))
        ax, ay, bx, by = x.at(here.cost), up(here.value), x.at(there.cost), up(there.value)
        parts.append(f'<line class="front" x1="{ax}%" y1="{ay}%" x2="{bx}%" y2="{ay}%"/>')
        parts.append(f'<line class="front" x1="{bx}%" y1="{ay}%" x2="{bx}%" y2="{by}%"/>')
    for p in sorted(points, key=lambda p: (p.front, p.label)):
        px = x.at(p.cost)
        whisker = ""
        if p.low is not None and p.high is not None:
            whisker = f'<line x1="{px}%" x2="{px}%" y1="{up(p.high)}%" y2="{up(p.low)}%"/>'
        faint = "" if p.front else " faint"
        said = escape(f"{p.label}: {number(p.value, 3)} at {cost(p.cost)}")
        mark = _mark(p.family, px, f"{up(p.value)}%")
        parts.append(
            f'<g class="f-{_family(p.family)}{faint}">{whisker}{mark}<title>{said}</title></g>'
        )
    if not small:
        parts += _labels(front, x, up, level_parts)
        parts.append(f'<text class="xlab" x="54%" y="99.5%">{escape(cost_label)}</text>')
    kind = "pareto small" if small else "pareto"
    return Markup(f'<svg class="{kind}" role="img">{"".join(parts)}</svg>')


_LABEL = 3.8  # height of a name, in per cent of the chart
_LETTER = 2.3  # width of a letter, in per cent of a chart on a phone


def _labels(
    front: Sequence[FrontPoint],
    x: Scale,
    up: Callable[[float], float],
    level_parts: Sequence[tuple[float, float, float]],
) -> list[str]:
    """Name all points of the front: each name at the height nearest to its point that no other name has.

    level_parts: from, to and height of the parts of the front that lie level; no name is written across one.
    """
    named: list[str] = []
    taken: list[float] = []
    for p in sorted(front, key=lambda p: p.cost, reverse=True):
        px, py = x.at(p.cost), up(p.value)
        text = _short(p.label, 32)
        dx, anchor = (9, "start") if px < 60 else (-9, "end")
        end = px + math.copysign(_LETTER * len(text), dx)
        crossed = [y for a, b, y in level_parts if a < max(px, end) and b > min(px, end)]
        free = [
            height
            for step in range(-24, 25)
            if 3 <= (height := py - 1.7 + step * _LABEL / 2) <= 88
            and all(abs(height - other) >= _LABEL for other in taken)
            and not any(height - _LABEL < y < height + 1 for y in crossed)
        ]
        height = min(free, key=lambda h: abs(h - py + 1.7), default=py)
        taken.append(height)
        named.append(
            f'<text class="name {anchor}" x="{px}%" y="{height:.2f}%" dx="{dx}">{escape(text)}</text>'
        )
    return named


def _flip(scale: Scale) -> Callable[[float], float]:
    """Return the place of a value from the top, between 4 and 90 per cent."""
    inner = Scale(scale.low, scale.high, margin=0.0)
    return lambda value: round(90 - inner.at(value) * 0.86, 2)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _described(title: str, description: str) -> str:
    return f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"


# -- layers by heads -------------------------------------------------------------------------------

HEADS_SCALE = 2.4  # pixels per unit of a map of heads, where there is room for it


def level(value: float | None, low: float, high: float) -> int | None:
    """Return the step of the colour map, 0 to 31, for a value between two limits."""
    if value is None:
        return None
    share = 0.5 if high <= low else (min(max(value, low), high) - low) / (high - low)
    return min(LEVELS - 1, int(share * LEVELS))


def heads_chart(
    values: Mapping[tuple[int, int], float | None],
    layers: int,
    heads: int,
    limits: tuple[float, float],
    title: str,
    description: str,
    best: tuple[int, int] | None,
) -> Markup:
    """Draw one small map of layers (down) by heads (across), with their numbers; the best head wears a ring."""
    cell = 10
    parts = [_described(title, description)]
    for layer in range(layers):
        for head in range(heads):
            step = level(values.get((layer, head)), *limits)
            colour = "none" if step is None else viridis(step)
            parts.append(
                f'<rect x="{head * cell}" y="{layer * cell}" width="{cell}" height="{cell}" fill="{colour}"/>'
            )
    if best is not None:
        parts.append(
            f'<rect class="ring" x="{best[1] * cell + 1}" y="{best[0] * cell + 1}" width="8" height="8"/>'
        )
    for number in range(0, heads, _every(heads)):
        parts.append(f'<text x="{number * cell + 5}" y="-2">{number}</text>')
    for number in range(0, layers, _every(layers)):
        parts.append(f'<text x="-5" y="{number * cell + 7}">{number}</text>')
    wide, high = heads * cell + 11, layers * cell + 9
    size = f'viewBox="-10 -8 {wide} {high}" width="{HEADS_SCALE * wide:g}"'
    return Markup(f'<svg class="heads" role="img" {size}>{"".join(parts)}</svg>')


def _every(count: int) -> int:
    """Return which of so many numbers are written, at most a dozen."""
    return -(-count // 12)


def viridis(step: int) -> str:
    """Return the colour of a step as #rrggbb."""
    place = step / (LEVELS - 1) * (len(_VIRIDIS) - 1)
    first = min(int(place), len(_VIRIDIS) - 2)
    share = place - first
    mixed = (
        round(a + share * (b - a))
        for a, b in zip(_VIRIDIS[first], _VIRIDIS[first + 1], strict=True)
    )
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
