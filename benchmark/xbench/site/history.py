"""What new results changed in the ranking: who led each board before and after each day on which some came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from xbench.site.tables.boards import Board, Row, board_of
from xbench.site.tables.entries import Config
from xbench.site.tables.tabulate import Tables

MOST_DAYS = 6  # of a board that are ranked again, the newest


@dataclass(frozen=True)
class Turn:
    """The leading group of a board before and after a day, best first; before is empty where nothing could be told."""

    date: str
    board: Board
    before: tuple[Config, ...]
    after: tuple[Config, ...]


def turns(tables: Tables) -> tuple[Turn, ...]:
    """Return where the leading group of a task's headline score changed, newest first."""
    found = [
        turn
        for board in tables.boards
        if (board.metric, board.reference) == board.task.headline
        for turn in _turns_of(board, tables.metrics[board.metric].higher)
    ]
    return tuple(sorted(found, key=lambda t: t.date, reverse=True))


def _turns_of(board: Board, higher: bool) -> list[Turn]:
    days = sorted({row.run.date for row in board.rows})[-MOST_DAYS:]
    led = [(day, _leading(board.rows, day, higher)) for day in days[:-1]]
    led += [(days[-1], _best(board.rows))]
    return [
        Turn(day, board, before, after)
        for (_, before), (day, after) in pairwise(led)
        if {c.slug for c in before} != {c.slug for c in after}
    ]


def _leading(rows: Sequence[Row], day: str, higher: bool) -> tuple[Config, ...]:
    """Return who led when nothing later than this day was there."""
    plain = dict.fromkeys(("rank", "rank_low", "rank_high", "rank_reason"))
    then = [replace(row, **plain, best=False) for row in rows if row.run.date <= day]  # type: ignore[arg-type]  # all may be None
    return _best(board_of(then, higher).rows)


def _best(rows: Sequence[Row]) -> tuple[Config, ...]:
    return tuple(row.config for row in rows if row.best and not row.config.control)
