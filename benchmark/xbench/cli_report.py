"""`xbench report`: results turned into documents. Thin; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

report_app = typer.Typer(help="Turn results into documents.", no_args_is_help=True)


@report_app.callback()
def report() -> None:
    """Turn results into documents."""


@report_app.command("replication")
def replication_command(
    results: Annotated[list[Path], typer.Argument(help="Result files or folders.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Markdown file; default: print it.")
    ] = None,
) -> None:
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
