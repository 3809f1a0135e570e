"""`xbench report`: results turned into documents. Thin; imports no torch."""

from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from xbench.cli.options import Results

app = Typer(name="report", help="Turn results into documents.")


@app.command("replication")
def replication_command(
    results: Results,
    out: Annotated[
        Path | None, Option(metavar="FILE", help="Markdown file; default: print it.")
    ] = None,
) -> None:
    """Put a run of the suite `paper` beside the numbers that were published."""
    from xbench.cli import console
    from xbench.cli.replication import replication
    from xbench.results import load_results
    from xbench.store import write_atomically

    text = replication(load_results(*results))
    if out is None:
        console.say(text.rstrip("\n"))
    else:
        write_atomically(out.absolute(), text.encode())
        console.say(f"table: {out}")
