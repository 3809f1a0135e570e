"""`xbench report`: results turned into documents. Thin; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from xbench.cli import options
from xbench.cli.group import Group


@click.group("report", cls=Group)
def report_group() -> None:
    """Turn results into documents."""


@report_group.command("replication")
@options.results
@click.option("--out", type=options.PATH, metavar="FILE", help="Markdown file; default: print it.")
def replication_command(results: Sequence[Path], out: Path | None) -> None:
    """Put a run of the suite `paper` beside the numbers that were published."""
    from xbench import console
    from xbench.report import replication
    from xbench.results import load_results
    from xbench.store import write_atomically

    text = replication(load_results(*results))
    if out is None:
        console.say(text.rstrip("\n"))
    else:
        write_atomically(out.absolute(), text.encode())
        console.say(f"table: {out}")
