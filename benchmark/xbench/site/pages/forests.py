"""Forest plots: methods, or one method over tasks and models, each with its interval between its bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xbench.site import charts
from xbench.site.differences import BASE, Difference
from xbench.site.overall import Overall, Standing
from xbench.site.tables.boards import Board, Row
from xbench.site.tables.entries import Config
from xbench.site.text import digest


@dataclass(frozen=True)
class Apart:
    """A line's difference to mean-heads with its picture, or why it has none."""

    difference: Difference | None
    svg: str
    why: str | None


@dataclass(frozen=True)
class ForestLine:
    """One line: its numbers, what was scored, the row that states them (None over several), its picture."""

    numbers: Row | Standing
    config: Config
    row: Row | None
    svg: str
    apart: Apart


@dataclass(frozen=True)
class Forest:
    """A forest plot. grouped: whether a band shows the leading group; alike: whether all explanations are in it, and no
    band is drawn; span: axis of differences.

    resolution: how far from the best a method must lie to be told apart from it. by_effect: whether some line has a
    score with tokens weighted by their effect. cut: whether some line reaches beyond the axis.
    outdated: what has changed since all lines were made, where that is one thing; then no line says it.
    """

    metric: str
    reference: str | None
    reason: str | None
    axis: str
    families: tuple[str, ...]
    lines: tuple[ForestLine, ...]
    grouped: bool
    alike: bool
    span: str | None
    resolution: float | None
    by_effect: bool
    cut: bool
    outdated: tuple[str, ...]


_Numbers = tuple[Row | Standing, Config, Row | None]


def forest_of_standings(table: Overall, apart: Mapping[str, Difference] | None = None) -> Forest:
    """Return a forest plot of methods over all cells of a block; apart: differences to mean-heads."""
    lines = [(s, s.config, None) for s in table.standings]
    power = table.resolution
    return _forest(lines, table.metric, table.reference, table.reason, apart=apart, power=power)


def forest_of_board(board: Board, apart: Mapping[str, Difference] | None = None) -> Forest:
    """Return a forest plot of the methods of one board, single heads left out."""
    lines = [
        (row, row.config, row)
        for row in board.rows
        if row.config.head is None and row.rank_reason != "superseded"
    ]
    power = board.resolution
    return _forest(lines, board.metric, board.reference, board.reason, apart=apart, power=power)


def forest_of_cells(rows: Sequence[Row]) -> Forest:
    """Return a forest plot of one method over tasks and models."""
    lines = [(row, row.config, row) for row in rows]
    return _forest(lines, rows[0].metric, rows[0].reference, None, band=False)


def _forest(
    lines: Sequence[_Numbers],
    metric: str,
    reference: str | None,
    reason: str | None,
    band: bool = True,
    apart: Mapping[str, Difference] | None = None,
    power: float | None = None,
) -> Forest:
    dots = [_dot(numbers, config) for numbers, config, _ in lines]
    ranked = [s.best for s, config, _ in lines if s.rank is not None and not config.control]
    alike = band and len(ranked) > 1 and all(ranked)
    band = band and not alike
    led = [dot for (s, _, _), dot in zip(lines, dots, strict=True) if s.best] if band else []
    told = (metric, reference, [config.slug for _, config, _ in lines], dots)
    scale = charts.forest_scale(dots)
    axis, pictures = charts.forest(dots, led, f"f{digest(repr(told), 8)}")
    apart = apart or {}
    found = [d for _, config, _ in lines if (d := apart.get(config.slug))]
    span = charts.scale_over((0.0, *(x for d in found for x in (d.value, d.low, d.high))))
    return Forest(
        metric=metric,
        reference=reference,
        reason=reason,
        axis=axis,
        families=tuple(sorted({config.family for _, config, _ in lines})),
        lines=tuple(
            ForestLine(
                numbers, config, row, picture, _apart(numbers, config, apart.get(config.slug), span)
            )
            for (numbers, config, row), picture in zip(lines, pictures, strict=True)
        ),
        grouped=bool(led),
        alike=alike,
        span=charts.axis(span) if found else None,
        resolution=power,
        by_effect=any(numbers.weighted is not None for numbers, _, _ in lines),
        cut=any(any(x is not None for x in charts.beyond(dot, scale)) for dot in dots),
        outdated=_outdated([numbers.outdated for numbers, _, _ in lines]),
    )


def _outdated(changes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return what has changed since every one of several lines was made; nothing where they differ."""
    said = set(changes)
    return next(iter(said)) if len(said) == 1 and len(changes) > 1 else ()


def _dot(numbers: Row | Standing, config: Config) -> charts.Dot:
    return charts.Dot(
        numbers.value,
        numbers.low,
        numbers.high,
        numbers.floor,
        numbers.ceiling,
        config.family,
        hollow=config.oracle,
    )


def _apart(
    numbers: Row | Standing, config: Config, found: Difference | None, span: charts.Scale
) -> Apart:
    if found is not None:
        svg = charts.difference_line(found.value, found.low, found.high, found.outcome, span)
        return Apart(found, svg, None)
    return Apart(None, "", _not_paired(numbers, config))


def _not_paired(numbers: Row | Standing, config: Config) -> str:
    if config.label == BASE:
        return "what the others are compared with"
    if isinstance(numbers, Row):
        return numbers.reason or numbers.rank_reason or "not compared"
    return "not compared"
