"""`xbench list`, `show` and `validate`: what is registered, and whether files are sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from click.exceptions import Exit

from xbench.cli import options

KINDS = ("models", "methods", "metrics", "references", "tasks", "datasets", "plugins")


@click.command("list")
@click.argument("kind", help=", ".join(KINDS))
@options.as_json
def list_command(kind: str, as_json: bool) -> None:
    """List what is registered."""
    from xbench import console, listing

    rows = listing.rows(kind, KINDS)
    console.emit_json(rows) if as_json else console.show_rows(kind, rows)


@click.command("show")
@click.argument("kind", help="model, method, metric, reference, task or dataset")
@click.argument("name")
@options.as_json
def show_command(kind: str, name: str, as_json: bool) -> None:
    """Show everything known about one thing."""
    from xbench import console, listing

    facts = listing.facts(kind, name)
    console.emit_json(facts) if as_json else console.show_facts(facts)


@click.command("validate")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=options.PATH,
    help="Task files, manifests, results, bundles, folders.",
)
def validate_command(paths: Sequence[Path]) -> None:
    """Check task files, manifests, results and bundles; tell every problem with its place."""
    from xbench import console, listing

    files = [file for path in paths for file in listing.files_below(path)]
    broken = [problem for file in files for problem in listing.file_problems(file)]
    for problem in broken:
        console.error(problem)
    if broken:
        raise Exit(2)
    for warning in [text for file in files for text in listing.file_warnings(file)]:
        console.warn(warning)
    console.say(f"{len(files)} file{'s' if len(files) > 1 else ''} valid")
