"""`xbench list`, `show` and `validate`: what is registered, and whether files are sound."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Typer

from xbench.cli.options import AsJson

app = Typer()

KINDS = ("models", "methods", "metrics", "references", "tasks", "datasets", "plugins")


@app.command("list")
def list_command(
    kind: Annotated[str, Argument(help=", ".join(KINDS))], as_json: AsJson = False
) -> None:
    """List what is registered."""
    from xbench.cli import console, listing

    rows = listing.rows(kind, KINDS)
    console.emit_json(rows) if as_json else console.show_rows(kind, rows)


@app.command("show")
def show_command(
    kind: Annotated[str, Argument(help="model, method, metric, reference, task or dataset")],
    name: str,
    as_json: AsJson = False,
) -> None:
    """Show everything known about one thing."""
    from xbench.cli import console, listing

    facts = listing.facts(kind, name)
    console.emit_json(facts) if as_json else console.show_facts(facts)


@app.command("validate")
def validate_command(
    paths: Annotated[
        list[Path], Argument(help="Task files, manifests, results, bundles, folders.")
    ],
) -> None:
    """Check task files, manifests, results and bundles; tell every problem with its place."""
    from collections import Counter

    from xbench.cli import console, validation

    files = validation.all_files(paths)
    told = validation.check_files(files)
    broken = [problem for each in told for problem in each.problems]
    for problem in broken:
        console.error(problem)
    if broken:
        raise Exit(2)
    for warning in [text for each in told for text in each.warnings]:
        console.warn(warning)
    console.say(f"{len(files)} file{'s' if len(files) > 1 else ''} valid")
    for text, count in Counter(text for each in told for text in each.notes).items():
        console.note(text if len(files) == 1 else f"{text} ({count} of {len(files)} files)")
