"""Results as pictures: forest, heatmap, heads, pareto, compare. Intervals are drawn wherever they exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xbench.errors import UsageError
from xbench.plot.figure import KINDS, new_figure
from xbench.results import RunResult, ScoreRecord, column_name, model_labels, short_labels
from xbench.stats import mean_estimate, pareto_front

_WIDTH = 7.2  # inches: a text column of an A4 page
_LETTER = 0.062  # inches: a letter of 7 points, on average
_ROW = 0.22


@dataclass(frozen=True)
class Point:
    """One result with the score that is drawn, and what its method and its model are called beside the others."""

    result: RunResult
    score: ScoreRecord
    name: str
    model: str

    @property
    def panel(self) -> tuple[str, str]:
        """Task and model: scores are compared within one panel only."""
        return self.result.task.name, self.model

    @property
    def style(self) -> tuple[str, str]:
        """Colour and shape of the kind of method."""
        return KINDS[self.result.method.kind]


def draw(kind: str, results: Sequence[RunResult], path: str, metric: str | None = None) -> None:
    """Draw one kind of picture of these results into `path`.

    metric: `METRIC` or `METRIC@REFERENCE`; None takes each task's headline. Raises UsageError when
    the kind is unknown or there is nothing of it to draw.
    """
    if kind not in DRAWINGS:
        raise UsageError(f"cannot plot a '{kind}'; there are {', '.join(DRAWINGS)}")
    if not results:
        raise UsageError("there is no result file to draw; name files or folders that hold some")
    names = short_labels([result.method for result in results])
    models = model_labels(result.model for result in results)
    points = [
        Point(result, found, name, models[result.model.identity])
        for result, name in zip(results, names, strict=True)
        if (found := _chosen(result, metric))
    ]
    drawn = [point for point in points if point.score.value is not None]
    if not drawn:
        raise UsageError(
            f"none of the {len(results)} results has a value of '{metric or 'the headline'}' to draw"
        )
    DRAWINGS[kind](drawn, path)


def _chosen(result: RunResult, metric: str | None) -> ScoreRecord | None:
    headline = result.task.headline
    if metric is None:
        name, reference = headline["metric"], headline["reference"]
        return _find(result, name, reference)
    name, at, reference = metric.partition("@")
    return _find(result, name, reference if at else None)


def _find(result: RunResult, metric: str, reference: str | None) -> ScoreRecord | None:
    matching = [s for s in result.scores if s.metric == metric and reference in (None, s.reference)]
    headline = result.task.headline["reference"]
    return min(matching, key=lambda s: s.reference != headline, default=None)


def _panels(points: Sequence[Point]) -> Mapping[tuple[str, str], list[Point]]:
    panels: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        panels.setdefault(point.panel, []).append(point)
    return panels


def _best_first(points: Sequence[Point]) -> list[Point]:
    sign = -1 if points[0].score.direction == "higher" else 1
    return sorted(points, key=lambda p: (sign * _value(p), p.name))


def _value(point: Point) -> float:
    assert point.score.value is not None  # `draw` leaves out the others
    return point.score.value


def _label(point: Point) -> str:
    return column_name(point.score.metric, point.score.reference)


def _legend(axes: Any, points: Sequence[Point], **options: Any) -> None:
    used = sorted({p.result.method.kind for p in points}, key=list(KINDS).index)
    handles = [
        axes.plot([], [], KINDS[kind][1], color=KINDS[kind][0], label=kind, ls="")[0]
        for kind in used
    ]
    axes.legend(handles=handles, frameon=False, **options)


def forest(points: Sequence[Point], path: str) -> None:
    """Draw a dot with its 95 % interval per method, best first, between floor and ceiling."""
    panels = _panels(points)
    rows = [len(panel) + 3 for panel in panels.values()]
    with new_figure(_WIDTH, 0.6 + _ROW * sum(rows), path) as figure:
        all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=rows)[:, 0]
        for axes, (panel, members) in zip(all_axes, panels.items(), strict=True):
            ordered = _best_first(members)
            for y, point in enumerate(ordered):
                colour, marker = point.style
                low, high = point.score.ci or (_value(point), _value(point))
                axes.plot([low, high], [y, y], color=colour, lw=1.4)
                axes.plot(_value(point), y, marker, color=colour, ms=5)
            score = ordered[0].score
            for bound, style, name in (
                (score.floor.value, ":", f"floor ({ordered[0].result.task.floor})"),
                (score.ceiling.value, "--", "ceiling"),
            ):
                if bound is not None:
                    axes.axvline(bound, color="#444444", ls=style, lw=1)
                    axes.annotate(
                        name,
                        (bound, -0.7),
                        fontsize=7,
                        ha="center",
                        va="bottom",
                        annotation_clip=False,
                    )
            axes.set_yticks(range(len(ordered)), [p.name for p in ordered])
            axes.set_ylim(len(ordered) - 0.4, -0.6)
            axes.set_xlabel(f"{_label(ordered[0])}, {score.direction} is better")
            axes.set_title(" | ".join(panel), loc="left", fontsize=9, pad=14)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", lw=0.3)
        _legend(all_axes[-1], points, loc="best", fontsize=7)


def heatmap(points: Sequence[Point], path: str) -> None:
    """Draw methods (rows) by task and model (columns), each cell with its number."""
    columns = sorted({p.panel for p in points})
    cells = {(p.name, p.panel): p for p in points}
    mean = {
        name: sum(_value(p) for p in points if p.name == name) for name in {p.name for p in points}
    }
    sign = -1 if points[0].score.direction == "higher" else 1
    names = sorted(mean, key=lambda n: (sign * mean[n], n))
    values = [
        [_value(cells[n, c]) if (n, c) in cells else float("nan") for c in columns] for n in names
    ]
    # A revision, which tells models of one name apart, has a line of its own.
    labels = ["\n".join(c).replace(" (", "\n(") for c in columns]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    wide = max(1.1, _LETTER * (longest + 2))
    with new_figure(2.2 + wide * len(columns), 1.2 + _ROW * len(names), path) as figure:
        axes = figure.subplots()
        image = axes.imshow(values, aspect="auto", cmap="viridis")
        low, high = image.get_clim()
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                bright = value > (low + high) / 2
                axes.text(
                    x,
                    y,
                    f"{value:.2f}" if value == value else "–",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="black" if bright or value != value else "white",
                )
        axes.set_xticks(range(len(columns)), labels, fontsize=7)
        axes.set_yticks(range(len(names)), names)
        figure.colorbar(image, ax=axes, label=_label(points[0]), pad=0.01)


def heads(points: Sequence[Point], path: str) -> None:
    """Draw one layer x head map per task and model, out of the single heads of `raw-attention`."""
    single = [p for p in points if {"layer", "head"} <= set(p.result.method.params)]
    if not single:
        raise UsageError(
            "no result is of a single head; run xbench eval --method 'raw-attention:layer=*,head=*'"
        )
    panels = _panels(single)
    best, worst = max(_value(p) for p in single), min(_value(p) for p in single)
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    with new_figure(2.6 * across + 0.8, 2.5 * down, path) as figure:
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes, (panel, members) in zip(grid, panels.items(), strict=False):
            place = {
                (int(p.result.method.params["layer"]), int(p.result.method.params["head"])): p
                for p in members
            }
            layers, columns = (1 + max(k[i] for k in place) for i in (0, 1))
            values = [
                [
                    _value(place[row, head]) if (row, head) in place else float("nan")
                    for head in range(columns)
                ]
                for row in range(layers)
            ]
            image = axes.imshow(values, cmap="viridis", vmin=worst, vmax=best, aspect="auto")
            (layer, head), _ = max(place.items(), key=lambda item: _value(item[1]))
            axes.plot(head, layer, "o", mfc="none", mec="#D55E00", ms=14, mew=1.6)
            axes.set_title(" | ".join(panel), fontsize=7)
            axes.set_xticks(range(columns))
            axes.set_yticks(range(layers))
            axes.set_xlabel("head (ring: highest, chosen on these clips)", fontsize=7)
            axes.set_ylabel("layer", fontsize=7)
        figure.colorbar(image, ax=list(grid), label=_label(single[0]), pad=0.01)


def pareto(points: Sequence[Point], path: str) -> None:
    """Draw score against cost (log scale) with the front of methods that no other beats in both."""
    costed = [p for p in points if p.result.cost.seconds_per_audio_second]
    if not costed:
        raise UsageError("no result states its cost in seconds per second of audio")
    panels = _panels(costed)
    with new_figure(_WIDTH, 3.4 * len(panels), path) as figure:
        all_axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (panel, members) in zip(all_axes, panels.items(), strict=True):
            # A front joins what ran on equal hardware only.
            for device in sorted({p.result.cost.device for p in members}):
                equal = [p for p in members if p.result.cost.device == device]
                costs = [float(p.result.cost.seconds_per_audio_second or 0) for p in equal]
                higher = equal[0].score.direction == "higher"
                front = pareto_front(costs, [_value(p) for p in equal], higher_is_better=higher)
                line = sorted(
                    (c, _value(p)) for c, p, on in zip(costs, equal, front, strict=True) if on
                )
                axes.step(*zip(*line, strict=True), where="post", color="#444444", lw=0.8)
                for cost, point, on in zip(costs, equal, front, strict=True):
                    colour, marker = point.style
                    low, high = point.score.ci or (_value(point), _value(point))
                    axes.plot([cost, cost], [low, high], color=colour, lw=1, alpha=0.6)
                    axes.plot(cost, _value(point), marker, color=colour, alpha=1 if on else 0.45)
                    if on:
                        axes.annotate(
                            point.name,
                            (cost, _value(point)),
                            xytext=(4, 4),
                            textcoords="offset points",
                            fontsize=7,
                        )
            axes.set_xscale("log")
            axes.set_xlabel("seconds per second of audio")
            axes.set_ylabel(_label(members[0]))
            axes.set_title(" | ".join(panel), loc="left", fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
        _legend(all_axes[0], costed, loc="lower right", fontsize=7)


def compare(points: Sequence[Point], path: str) -> None:
    """Draw two methods on the same utterances: one against the other, and their difference."""
    if (
        len(points) != 2
        or points[0].panel != points[1].panel
        or _label(points[0]) != _label(points[1])
    ):
        raise UsageError(
            "compare needs two results of one task, model and metric; "
            f"there are {len(points)}: {', '.join(p.name for p in points[:5])}"
        )
    first, second = points
    paired = _paired(first, second)
    if not paired:
        raise UsageError(f"'{first.name}' and '{second.name}' have no utterance in common")
    differences = sorted((a - b, cluster) for a, b, cluster in paired)
    estimate = mean_estimate([d for d, _ in differences], [c for _, c in differences], seed=0)
    with new_figure(_WIDTH, 3.4, path) as figure:
        left, right = figure.subplots(1, 2)
        low, high = min(min(a, b) for a, b, _ in paired), max(max(a, b) for a, b, _ in paired)
        left.plot([low, high], [low, high], color="#444444", lw=0.8)
        left.plot([b for _, b, _ in paired], [a for a, _, _ in paired], "o", color="#0072B2", ms=4)
        left.set_xlabel(second.name)
        left.set_ylabel(first.name)
        left.set_title(f"{_label(first)} per utterance", fontsize=8)
        right.plot([d for d, _ in differences], range(len(differences)), "o", color="#0072B2", ms=4)
        right.axvline(0, color="#444444", lw=0.8)
        if estimate.low is not None and estimate.high is not None:
            right.axvspan(estimate.low, estimate.high, color="#56B4E9", alpha=0.35)
        right.axvline(estimate.value, color="#0072B2", lw=1.2)
        right.set_yticks([])
        right.set_xlabel(f"{first.name} - {second.name}")
        interval = (
            f"[{estimate.low:+.3f}, {estimate.high:+.3f}]"
            if estimate.low is not None
            else f"no interval: {estimate.ci_reason}"
        )
        right.set_title(f"mean {estimate.value:+.3f} {interval}", fontsize=8)
        figure.suptitle(" | ".join(first.panel), fontsize=9)


def _paired(first: Point, second: Point) -> list[tuple[float, float, str]]:
    column = _label(first)
    columns = second.result.utterances
    other = dict(zip(columns["id"], columns[column], strict=True))
    own = first.result.utterances
    return [
        (a, other[name], cluster)
        for name, cluster, a in zip(own["id"], own["cluster"], own[column], strict=True)
        if a is not None and other.get(name) is not None
    ]


DRAWINGS: Mapping[str, Callable[[Sequence[Point], str], None]] = {
    "forest": forest,
    "heatmap": heatmap,
    "heads": heads,
    "pareto": pareto,
    "compare": compare,
}
