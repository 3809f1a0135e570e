"""The utterance columns that a result must have, and what each of them holds.

A result's claims are recomputed from its columns (`xbench.claims`), so a file without them claims nothing. A column
that this module does not know is allowed (what metrics keep beside their values), as long as its numbers are finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xbench.results.records import column_name, rival_column
from xbench.results.result import RunResult
from xbench.schemas import shown


@dataclass(frozen=True)
class Column:
    """What the cells of one column are: a test of one cell, and its meaning in words. needed: a file must have it.

    kinds: types of which every finite value passes the test; a column of them alone is right without looking at each.
    """

    holds: Callable[[Any], bool]
    meaning: str
    needed: bool = True
    kinds: frozenset[type] = frozenset()


def is_number(value: Any) -> bool:
    """Say whether a cell is a finite number (true and false are none)."""
    return type(value) in (int, float) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _or_null(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or test(value)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and (
        _of_kinds(value, _NUMBER_KINDS) or all(map(_or_null(is_number), value))
    )


def _of_kinds(cells: list[Any], kinds: frozenset[type]) -> bool:
    """Say whether all cells are of these types and finite."""
    found = set(map(type, cells))
    return found <= kinds and (float not in found or all(map(math.isfinite, filter(None, cells))))


_NUMBER_KINDS = frozenset[type]([int, float, type(None)])
_TEXT = Column(lambda value: isinstance(value, str), "a text", kinds=frozenset[type]([str]))
_FLAG = Column(
    lambda value: isinstance(value, bool), "true or false", kinds=frozenset[type]([bool])
)
_COUNT = Column(_is_count, "a whole number from 0")
_COUNT_OR_NULL = Column(_or_null(_is_count), "a whole number from 0, or null")
_NUMBER_OR_NULL = Column(_or_null(is_number), "a number or null", kinds=_NUMBER_KINDS)
_TEXT_OR_NULL = Column(
    _or_null(_TEXT.holds), "a text or null", kinds=frozenset[type]([str, type(None)])
)
_OPTIONAL_NUMBER = replace(_NUMBER_OR_NULL, needed=False)
_ROWS = Column(_or_null(_is_rows), "a list with a number or null per token, or null")

_OF_UTTERANCES: Mapping[str, Column] = {
    "id": _TEXT,
    "cluster": _TEXT,
    "hypothesis": _TEXT,
    "truncated": _FLAG,
    "tokens": _COUNT,
    "frames": _COUNT,
    "map_hash": _TEXT_OR_NULL,
}
_OF_REFERENCES: Mapping[str, Column] = {
    "reliability": _NUMBER_OR_NULL,
    "masks": _COUNT_OR_NULL,
    "row_reliability": _ROWS,
}


def columns_of(result: RunResult) -> dict[str, Column]:
    """Return the columns that this result must have, by name."""
    named = {**_OF_UTTERANCES, result.quality.metric: _NUMBER_OR_NULL}
    for reference in result.references:
        named |= {f"{part}@{reference.name}": column for part, column in _OF_REFERENCES.items()}
        named |= {
            rival_column(reference.name, rival.reference): _NUMBER_OR_NULL
            for rival in reference.rivals
        }
    for score in result.scores:
        name = column_name(score.metric, score.reference)
        named |= {name: _NUMBER_OR_NULL, f"floor:{name}": _NUMBER_OR_NULL}
        with_ceiling = score.reference is not None
        named[f"ceiling:{name}"] = _NUMBER_OR_NULL if with_ceiling else _OPTIONAL_NUMBER
        # Files made before it was kept do not have it.
        for part in ("weighted", "weighted-floor", "weighted-ceiling"):
            named[f"{part}:{name}"] = _OPTIONAL_NUMBER
    return named


def column_problems(result: RunResult) -> list[str]:
    """Return columns that are missing, of another length or of another type, as "utterances.NAME: message"."""
    columns, expected = result.utterances, columns_of(result)
    if not any(columns.values()):  # nothing was scored: no column has anything to say
        return []
    found = [
        f"utterances.{name}: missing; what a score claims is recomputed from its columns"
        for name, column in expected.items()
        if column.needed and name not in columns
    ]
    rows = len(columns.get("id", ()))
    for name, cells in columns.items():
        if len(cells) != rows:
            found.append(f"utterances.{name}: {len(cells)} values for {rows} utterances")
            continue
        found += _cell_problems(name, cells, expected.get(name))
    return found or list(_repeated(columns["id"]))


def _cell_problems(name: str, cells: list[Any], column: Column | None) -> Iterator[str]:
    """Yield the first cell of a column that is not what it must be."""
    test = column.holds if column else _finite
    if column and _of_kinds(cells, column.kinds):
        return
    for row, cell in enumerate(cells):
        if not test(cell):
            expected = column.meaning if column else "finite numbers"
            yield f"utterances.{name}[{row}]: expected {expected}, found {shown(cell)}"
            return


def _finite(value: Any) -> bool:
    """Say whether every number in a nested value is finite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(map(_finite, value))
    return all(map(_finite, value.values())) if isinstance(value, dict) else True


def _repeated(ids: list[str]) -> Iterator[str]:
    first: dict[str, int] = {}
    for row, id_ in enumerate(ids):
        if first.setdefault(id_, row) != row:
            yield f"utterances.id[{row}]: {id_!r} stands at {first[id_]} already"
            return
