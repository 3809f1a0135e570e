"""What people come for, each with its answer: word times, understanding a model, something for every clip.

The first choice answers over everything that the first page rests on; each other one for one model and the languages
of its clips, from single boards: word times may be known of other clips than those on which agreement was measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from xbench.site.costs import passes_per_utterance, seconds_per_audio_second
from xbench.site.languages import languages
from xbench.site.overall import (
    WORD_STARTS,
    WORD_TIMES,
    Overall,
    Standing,
    over_all,
    times_key,
)
from xbench.site.ranking import beaten
from xbench.site.speech import speech_of
from xbench.site.tables.boards import OLDER_METRIC, Board, Number, Row
from xbench.site.tables.entries import Config, Model, ScoreKey, Task
from xbench.site.tables.tabulate import Tables

# How Whisper itself finds word times, and what reads the matrix from which it does, best known first.
OWN_WAY, OWN_MATRIX = "dtw-path:rows=all", "whisper-timing"
CHEAP_PASSES = 1.0  # per utterance: the pass that follows the text is enough
ABOUT_AS_CHEAP = (
    1.1  # times the seconds of the cheapest, assumed to be noise: each run was timed once
)
MOST_CHOICES = 12

Purpose = Literal["word times", "interpreting", "every clip"]


@dataclass(frozen=True)
class Contender:
    """One method with its numbers and its cost; device: where its seconds were measured, None on several.

    unbeaten: whether no method was found better than it; `best` says so of the one with the best mean alone.
    """

    numbers: Standing | Row
    seconds: Number
    passes: Number
    device: str | None
    unbeaten: bool

    @property
    def config(self) -> Config:
        """The configured method."""
        return self.numbers.config

    @property
    def row(self) -> Row | None:
        """The row that states its numbers, None over several."""
        return self.numbers if isinstance(self.numbers, Row) else None

    @property
    def cheap(self) -> bool:
        """Whether one pass is all it needs: what learns from other clips needs references of these first."""
        return 0 < (self.passes or 0) <= CHEAP_PASSES and not self.config.learns


@dataclass(frozen=True)
class Answer:
    """An answer to one purpose: what leads, the one whose numbers are shown, and what that is held against.

    group: all that cannot be told apart from the best; empty where nothing can be told apart, and reason says why.
    beside: for word times the best mean, or Whisper's way where that is not among the best; for interpreting the same
    method under intervention. pairs: of task and model that the numbers are means of; a clip counts in each. task: on
    which they were measured, None over several. both: the group leads under intervention, too.
    """

    purpose: Purpose
    key: ScoreKey
    group: tuple[Contender, ...]
    top: Contender
    beside: Contender | None
    reason: str | None
    pairs: int
    task: Task | None
    both: bool = False

    @property
    def metric(self) -> str:
        """The metric that the numbers are of."""
        return self.key[0]

    @property
    def reference(self) -> str | None:
        """The reference of that metric."""
        return self.key[1]


@dataclass(frozen=True)
class Choice:
    """What the answers are about (model is None over all), and whether people are known to have spoken.

    languages: spoken, and where the model translates the target after an arrow; empty over all. spoken: their codes.
    """

    model: Model | None
    languages: str
    spoken: frozenset[str]
    recorded: bool
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class _Scored:
    """All methods on one score, best mean first, controls and what takes no rank left out."""

    key: ScoreKey
    contenders: tuple[Contender, ...]
    reason: str | None
    pairs: int = 1
    task: Task | None = None

    @property
    def leading(self) -> tuple[Contender, ...]:
        return tuple(c for c in self.contenders if c.numbers.best)


def choices(tables: Tables, standings: Sequence[Overall]) -> list[Choice]:
    """Return the answers over everything, then those of single models and tasks, recorded speech first."""
    if not standings:
        return []
    shown = [(table.metric, table.reference) for table in standings]
    times = times_key(tables, shown[0])
    keys = [*shown, *([times] if times else [])]
    recorded = any(speech_of(task) == "recorded" for task, _ in standings[0].cells)
    groups: dict[tuple[str, str, bool], list[Board]] = defaultdict(list)
    for board in tables.boards:
        if (board.metric, board.reference) in keys:
            spoken = speech_of(board.task) == "recorded"
            groups[board.model.slug, _languages(board.task), spoken].append(board)
    found = []
    for (_, between, spoken), boards in groups.items():
        boards.sort(key=_place)
        answers = _answers([_of_board(b, tables.metrics[b.metric].higher) for b in boards], shown)
        of = frozenset(boards[0].task.facts["source_language"])
        found.append(Choice(boards[0].model, between, of, spoken, answers))
    found.sort(key=lambda choice: (not choice.recorded, -len(choice.answers)))
    first = Choice(None, "", frozenset(), recorded, answers_over_all(tables, standings))
    return [first, *(choice for choice in found if choice.answers)][: MOST_CHOICES + 1]


def answers_over_all(tables: Tables, standings: Sequence[Overall]) -> tuple[Answer, ...]:
    """Return the answers over everything that the first page rests on."""
    if not standings:
        return ()
    shown = [(table.metric, table.reference) for table in standings]
    times = times_key(tables, shown[0])
    whole = [*standings, *([over_all(tables, *times)] if times else [])]
    return _answers([_of_standings(table) for table in whole], shown)


def _languages(task: Task) -> str:
    return languages(task.facts["source_language"], task.facts["target_language"])


def _place(board: Board) -> tuple[bool, int]:
    """Sort key of boards of one score: the task with most clips first; that of word times first for these alone."""
    suits = (board.task.name == WORD_TIMES) is (board.metric == WORD_STARTS)
    return not suits, -max((row.n for row in board.rows), default=0)


def contenders_of(table: Overall) -> tuple[Contender, ...]:
    """Return the methods over everything, best mean first; seconds count only where one device took them."""
    shown = [
        s for s in table.standings if not s.config.control and not s.config.repeats(table.reference)
    ]
    worse = beaten(table.pairs, table.higher, {s.config.slug for s in shown})
    return tuple(
        Contender(
            s,
            s.seconds,
            s.passes,
            s.devices[0] if len(s.devices) == 1 else None,
            s.best and s.config.slug not in worse,
        )
        for s in shown
    )


def _of_standings(table: Overall) -> _Scored:
    return _Scored(
        (table.metric, table.reference),
        contenders_of(table),
        table.reason,
        max(1, len(table.cells)),
    )


def _of_board(board: Board, higher: bool) -> _Scored:
    shown = [
        row
        for row in board.rows
        if row.config.ranked
        and not row.config.control
        and not row.config.repeats(board.reference)
        and row.value is not None
        and row.rank_reason not in ("superseded", OLDER_METRIC)
    ]
    worse = beaten(board.pairs, higher, {row.config.slug for row in shown})
    contenders = tuple(
        Contender(
            row,
            seconds_per_audio_second(row.run),
            passes_per_utterance(row.run),
            row.run.cost["device"],
            row.best and row.config.slug not in worse,
        )
        for row in shown
    )
    return _Scored((board.metric, board.reference), contenders, board.reason, task=board.task)


def _answers(found: Sequence[_Scored], shown: Sequence[ScoreKey]) -> tuple[Answer, ...]:
    scored = [one for one in found if one.contenders]
    times = next((one for one in scored if one.key[0] == WORD_STARTS), None)
    main = next((one for one in scored if one.key == shown[0]), None)
    second = next((one for one in scored if one.key in shown[1:]), None)
    answers = []
    if times:
        answers.append(_word_times(times))
    if main:
        answers.append(_interpreting(main, second))
        cheap = [c for c in main.contenders if c.cheap]
        if cheap:
            group = [c for c in cheap if c.unbeaten]
            top = cheapest(group) if group else cheap[0]
            answers.append(_answer("every clip", main, group, None, top))
    return tuple(answers)


def _word_times(times: _Scored) -> Answer:
    """Answer with Whisper's own way where none is found better: it is what people have; else with the best mean."""
    by_label = {c.config.label: c for c in times.contenders}
    timing = by_label.get(OWN_WAY) or by_label.get(OWN_MATRIX)
    first = times.contenders[0]
    if timing is not None and (timing.unbeaten or not times.leading):
        return _answer("word times", times, times.leading, first, timing)
    return _answer("word times", times, times.leading, timing)


def _interpreting(main: _Scored, second: _Scored | None) -> Answer:
    """Answer with what leads under agreement and intervention; where nothing does both, under agreement alone."""
    if second is None:
        return _answer("interpreting", main, main.leading, None)
    leads = {c.config.slug for c in second.leading}
    both = [c for c in main.leading if c.config.slug in leads]
    group = both if any(c.unbeaten for c in both) else main.leading
    unbeaten = [c for c in group if c.unbeaten]
    top = cheapest(unbeaten) if unbeaten else main.contenders[0]
    beside = next((c for c in second.contenders if c.config.slug == top.config.slug), None)
    return replace(_answer("interpreting", main, group, beside, top), both=group is both)


def _answer(
    purpose: Purpose,
    scored: _Scored,
    group: Sequence[Contender],
    beside: Contender | None,
    top: Contender | None = None,
) -> Answer:
    top = top or next(iter([*group, *scored.contenders]))
    return Answer(
        *(purpose, scored.key, tuple(group), top, beside, scored.reason, scored.pairs), scored.task
    )


def cheapest(group: Sequence[Contender]) -> Contender:
    """Return the first of those that cost about least on the device where most were timed; a group comes best first.

    Where none was timed it is the first of all.
    """
    timed = [c for c in group if c.seconds and c.device]
    devices = [c.device for c in timed]
    device = max(devices, key=lambda d: (devices.count(d), d), default=None)
    seconds = {c.config.slug: c.seconds or 0.0 for c in timed if c.device == device}
    most = ABOUT_AS_CHEAP * min(seconds.values(), default=0.0)
    return next((c for c in group if seconds.get(c.config.slug, most + 1) <= most), group[0])
