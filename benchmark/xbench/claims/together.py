"""Results of one run held against each other: what belongs to the run is the same whatever the method.

Floors, ceilings and reliabilities are those of task, model and reference. A file by itself cannot show that it lowered
its floor; the files of other methods do.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xbench.claims.compared import said
from xbench.results import ReferenceRecord, RunResult, column_name
from xbench.spec import content_hash

TOLERANCE = 0.02
"""Means differ by less between machines, of which rounding moves a score by 0.003 (`perf/precision.md`)."""

_OF_SCORES = ("floor", "ceiling", "weighted-floor", "weighted-ceiling")


@dataclass(frozen=True)
class Subject:
    """A column that does not depend on the method; run: all that it does depend on, as text."""

    column: str
    run: str


@dataclass(frozen=True)
class Shared:
    """The columns of a result that other methods of its run have as well, with their utterances."""

    ids: tuple[str, ...]
    columns: Mapping[Subject, tuple[float | None, ...]]


@dataclass(frozen=True)
class _Statement:
    """One column as these files state it."""

    ids: tuple[str, ...]
    cells: tuple[float | None, ...]
    files: list[str]


@dataclass(frozen=True)
class _Means:
    """The means of two statements over the utterances that both have."""

    own: float | None
    other: float | None
    n: int

    @property
    def agree(self) -> bool:
        if self.own is None or self.other is None:
            return self.own is self.other
        # Metrics without a reference may have larger units, such as percent.
        scale = max(1.0, abs(self.own), abs(self.other))
        return abs(self.own - self.other) <= TOLERANCE * scale


def shared(result: RunResult) -> Shared:
    """Return what a result states that its method has no part in."""
    run = content_hash(
        [
            *(result.task.hash, result.task.dataset.fingerprint, result.task.selection),
            *(result.provenance.seed, *result.model.identity, result.model.precision),
        ]
    )
    references = {reference.name: reference for reference in result.references}
    columns = {
        f"reliability@{name}": f"{run} {_reference(reference)}"
        for name, reference in references.items()
    }
    for score in result.scores:
        reference = references.get(score.reference or "")
        # Thousands of scores: a hash of each would take as long as all the rest.
        metric = (score.metric, score.metric_version, sorted(score.metric_params.items()))
        facts = f"{run} {metric} {_reference(reference) if reference else ''}"
        name = column_name(score.metric, score.reference)
        columns |= dict.fromkeys([f"{part}:{name}" for part in _OF_SCORES], facts)
    return Shared(
        tuple(result.utterances.get("id", ())),
        {
            Subject(name, of): tuple(result.utterances[name])
            for name, of in columns.items()
            if name in result.utterances
        },
    )


def _reference(reference: ReferenceRecord) -> str:
    return f"{reference.name} {reference.version} {sorted(reference.params.items())}"


def disagreements(files: Mapping[str, Shared]) -> dict[str, list[str]]:
    """Return by file where it differs from the others of its run, as "place: message".

    A file is told where as many files contradict it as say the same, itself among these: the one that is alone among
    several, and both of two.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for subject, statements in _statements(files).items():
        for statement in statements:
            others = [other for other in statements if other is not statement]
            if (line := _contradicted(subject, statement, others)) is not None:
                for file in statement.files:
                    found[file].append(line)
    return dict(found)


def _statements(files: Mapping[str, Shared]) -> Mapping[Subject, Sequence[_Statement]]:
    """Return what is said of each subject; files that say the same to the last digit say it together."""
    same: dict[Subject, dict[tuple[object, ...], _Statement]] = defaultdict(dict)
    for file, stated in files.items():
        for subject, cells in stated.columns.items():
            known = same[subject].setdefault((stated.ids, cells), _Statement(stated.ids, cells, []))
            known.files.append(file)
    return {subject: list(statements.values()) for subject, statements in same.items()}


def _contradicted(
    subject: Subject, statement: _Statement, others: Sequence[_Statement]
) -> str | None:
    """Say who contradicts a statement, if as many files do as agree with it."""
    agreeing, against = len(statement.files), []
    for other in others:
        means = _means(statement, other)
        if means.n and means.agree:
            agreeing += len(other.files)
        elif means.n:
            against += [(means, file) for file in other.files]
    if not against or len(against) < agreeing:
        return None
    means, file = against[0]
    more = f" and {len(against) - 1} more" if len(against) > 1 else ""
    return (
        f"utterances.{subject.column}: mean {said(means.own, 4)}, but {said(means.other, 4)} in {file}{more}, over "
        f"{means.n} common utterances; it is the same for every method"
    )


def _means(statement: _Statement, other: _Statement) -> _Means:
    if statement.ids == other.ids:
        return _Means(_mean(statement.cells), _mean(other.cells), len(statement.ids))
    own, cells = (dict(zip(s.ids, s.cells, strict=True)) for s in (statement, other))
    common = [id_ for id_ in own if id_ in cells]
    return _Means(_mean([own[i] for i in common]), _mean([cells[i] for i in common]), len(common))


def _mean(cells: Sequence[float | None]) -> float | None:
    known = [cell for cell in cells if cell is not None]
    return math.fsum(known) / len(known) if known else None
