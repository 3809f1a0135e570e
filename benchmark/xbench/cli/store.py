"""`xbench cache`: the store of hypotheses, references and maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Exit

from xbench.cli import options
from xbench.cli.group import Group

if TYPE_CHECKING:
    from xbench.store import Store


def opened(folder: str | None) -> Store:
    """Return the store in a folder, or where it lies by default."""
    from xbench.store import Store, default_folder

    return Store(Path(folder) if folder else default_folder())


@click.group("cache", cls=Group)
def cache_group() -> None:
    """The store of hypotheses, references and maps."""


@cache_group.command("info")
@options.cache
@options.as_json
def info_command(cache: str | None, as_json: bool) -> None:
    """Say where the store is and what it holds."""
    from xbench import console

    store = opened(cache)
    facts: dict[str, Any] = {"folder": str(store.folder)}
    for kind, row in store.summary().items():
        facts[kind] = row if as_json else f"{row['artefacts']} ({row['bytes'] / 1e6:.1f} MB)"
    console.emit_json(facts) if as_json else console.show_facts(facts)


@cache_group.command("verify")
@options.cache
def verify_command(cache: str | None) -> None:
    """Read every artefact and compare its checksum."""
    from xbench import console

    problems = opened(cache).verify()
    for problem in problems:
        console.error(problem)
    if problems:
        raise Exit(1)
    console.say("every artefact is sound")


@cache_group.command("clear")
@options.cache
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear_command(cache: str | None, yes: bool) -> None:
    """Delete every artefact of the store."""
    from xbench import console

    store = opened(cache)
    if not yes and not click.confirm(f"Delete all artefacts in {store.folder}?"):
        raise Exit(0)
    console.say(f"{store.clear()} artefacts deleted")
