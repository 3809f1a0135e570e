"""A feed (Atom, RFC 4287) of what was added and what that changed in the ranking, a day an entry."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from xbench.results import column_name
from xbench.site.history import Turn
from xbench.site.tables.entries import Config, Submission

MOST_DAYS = 40
MOST_NAMES = 6


@dataclass(frozen=True)
class Day:
    """What was added on a day, by submission with how many results, and what it changed in who leads."""

    date: str
    added: tuple[tuple[Submission, int], ...]
    changed: tuple[str, ...]


def days(submissions: Sequence[Submission], changed: Sequence[Turn]) -> tuple[Day, ...]:
    """Return every day on which results were made, newest first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for submission in submissions:
        for run in submission.runs:
            counts[run.date][submission.id] += 1
    by_id = {submission.id: submission for submission in submissions}
    return tuple(
        Day(
            date,
            tuple((by_id[id], n) for id, n in counts[date].items()),
            tuple(told(turn) for turn in changed if turn.date == date),
        )
        for date in sorted(counts, reverse=True)
    )


def feed(added: Sequence[Day], base_url: str | None) -> str:
    """Return the feed as XML; without base_url its links are relative to where it lies."""
    newest = added[:MOST_DAYS]
    home = base_url or ""
    entries = "".join(_entry(day, home) for day in newest)
    updated = f"{newest[0].date}T00:00:00Z" if newest else "1970-01-01T00:00:00Z"
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<title>xbench leaderboard</title>\n<id>{escape(home) or 'urn:xbench:leaderboard'}</id>\n"
        f'<updated>{updated}</updated>\n<author><name>The xbench authors</name></author>\n<link rel="self" '
        f"href={quoteattr(home + 'feed.xml')}/>\n<link href={quoteattr(home + 'changes.html')}/>\n{entries}</feed>\n"
    )


def _entry(day: Day, home: str) -> str:
    results = sum(n for _, n in day.added)
    title = f"{results} result{'s' if results != 1 else ''}"
    title += f", {len(day.changed)} change{'s' if len(day.changed) != 1 else ''} in who leads"
    lines = [f"{s.task.title}, {s.model.title}: {n} results" for s, n in day.added]
    lines += day.changed
    link = quoteattr(f"{home}changes.html#day-{day.date}")
    return (
        f"<entry><title>{escape(title)}</title><id>urn:xbench:day:{day.date}</id>"
        f"<updated>{day.date}T00:00:00Z</updated><link href={link}/>"
        f"<content>{escape('. '.join(lines))}.</content></entry>\n"
    )


def told(turn: Turn) -> str:
    """Say in one sentence who leads a board now, and who did before."""
    score = column_name(turn.board.metric, turn.board.reference)
    where = f"{turn.board.task.title}, {turn.board.model.title}, {score}"
    return f"{where}: now {_names(turn.after)}, before {_names(turn.before)}"


def _names(configs: Sequence[Config]) -> str:
    named = [config.label for config in configs[:MOST_NAMES]]
    more = len(configs) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "") or "nobody that could be told"
