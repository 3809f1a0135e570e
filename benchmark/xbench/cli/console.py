"""How the command line prints: lines, JSON, plain tables, progress bars (rich; no torch).

Listing prints plain tables only, so what progress bars need is imported where it is used.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xbench.inputs import visible

# Rich takes 80 columns where there is no terminal; a table in a log has more room.
_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 110
out = Console(highlight=False, soft_wrap=True, width=_WIDTH)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def safe(text: str) -> str:
    """Return a text as it may be printed: what commands a terminal as escapes, nothing read as markup."""
    return escape(visible(text, keep="\n\t"))


def say(text: str) -> None:
    """Print one line."""
    out.print(safe(text))


def error(text: str) -> None:
    """Print an error to standard error."""
    _err.print(f"[red]error:[/red] {safe(text)}")


def warn(text: str) -> None:
    """Print what is allowed but probably not meant, to standard error."""
    _err.print(f"[yellow]warning:[/yellow] {safe(text)}")


def note(text: str) -> None:
    """Print what is worth knowing beside the result of a command, to standard error."""
    _err.print(f"[yellow]note:[/yellow] {safe(text)}")


def emit_json(value: Any) -> None:
    """Print JSON and nothing else."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(value, indent=1, ensure_ascii=plain, allow_nan=False)
    # Inside texts, where alone these characters can stand, an escape says the same.
    sys.stdout.write(visible(text, keep="\n") + "\n")


LONG = 60.0  # seconds after which one thing that is at work is told, and told again
LOOK = 5.0  # seconds between two looks at who is at work, so that a minute is told when it is one


class ProgressReporter:
    """Progress bars with an estimate of the time left, none where there is no terminal.

    Whatever takes longer than a minute is told by name, with and without a terminal.
    """

    def __init__(self) -> None:
        from rich import progress

        self._working: list[tuple[str, float]] = []
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._tell_who_is_at_work, daemon=True)

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=_err,
            transient=True,
            disable=not _err.is_terminal,
        )

    def __enter__(self) -> ProgressReporter:
        self._shown = warnings.showwarning
        warnings.showwarning = self._warn
        self._progress.start()
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()
        self._progress.stop()
        warnings.showwarning = self._shown

    def _warn(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, UserWarning):
            self.note(str(message))

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show one bar while the context lasts."""
        bar = self._progress.add_task(safe(title), total=total)
        with self.at_work(title):
            yield lambda steps: self._progress.advance(bar, steps)

    @contextmanager
    def at_work(self, who: str) -> Iterator[None]:
        """Remember who is at work, within who else is."""
        self._working.append((who, time.monotonic()))
        try:
            yield
        finally:
            self._working.pop()

    def _tell_who_is_at_work(self) -> None:
        told = time.monotonic()
        while not self._over.wait(LOOK):
            now = time.monotonic()
            who, since = (self._working or [("", now)])[-1]
            if now - max(since, told) >= LONG:
                told = now
                self.note(f"{who}: at work for {now - since:.0f} s")

    def note(self, message: str) -> None:
        """Print a line above the bars, to standard error."""
        note(message)


def show_plan(estimates: Sequence[Mapping[str, Any]]) -> None:
    """Print what a run would take."""
    for estimate in estimates:
        show_facts(estimate)


def show_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a list of things that have the same fields."""
    if not rows:
        say(f"no {title}")
        return
    table = Table()
    for name in rows[0]:
        table.add_column(name, min_width=len(name), no_wrap=name == "name", overflow="fold")
    for row in rows:
        table.add_row(*(safe(_text(value)) for value in row.values()))
    out.print(table)


def show_facts(facts: Mapping[str, Any]) -> None:
    """Print one thing, a line per field."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(safe(name), safe(_text(value)))
    out.print(table)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "\n".join(f"{k}: {_text(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        separator = "\n" if any(isinstance(v, Mapping) for v in value) else ", "
        return separator.join(_text(v) for v in value)
    return str(value)
