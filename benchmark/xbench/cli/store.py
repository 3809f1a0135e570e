"""`xbench cache`: the store of hypotheses, references and maps."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Exit, Option, Typer, confirm

from xbench.cli.options import AsJson, Cache

if TYPE_CHECKING:
    from xbench.store import Store

app = Typer(name="cache", help="The store of hypotheses, references and maps.")


def opened(folder: str | None) -> "Store":
    """Return the store in a folder, or where it lies by default."""
    from xbench.store import Store, default_folder

    return Store(Path(folder) if folder else default_folder())


@app.command("info")
def info_command(cache: Cache = None, as_json: AsJson = False) -> None:
    """Say where the store is and what it holds."""
    from xbench.cli import console

    store = opened(cache)
    facts: dict[str, Any] = {"folder": str(store.folder)}
    for kind, row in store.summary().items():
        facts[kind] = row if as_json else f"{row['artefacts']} ({row['bytes'] / 1e6:.1f} MB)"
    console.emit_json(facts) if as_json else console.show_facts(facts)


@app.command("verify")
def verify_command(cache: Cache = None) -> None:
    """Read every artefact and compare its checksum."""
    from xbench.cli import console

    problems = opened(cache).verify()
    for problem in problems:
        console.error(problem)
    if problems:
        raise Exit(1)
    console.say("every artefact is sound")


@app.command("clear")
def clear_command(
    cache: Cache = None,
    yes: Annotated[bool, Option("--yes", help="Do not ask.")] = False,
    method: Annotated[
        str | None, Option(metavar="NAME", help="Only what this method has made.")
    ] = None,
) -> None:
    """Delete every artefact of the store, or those of one method."""
    from xbench import registry
    from xbench.cli import console
    from xbench.errors import nearest

    store = opened(cache)
    if method is not None:
        name = method.rpartition(":")[2]
        deleted = store.clear_method(name)
        console.say(f"{deleted} artefacts deleted")
        if not deleted and name not in (known := registry.methods.names()):
            console.note(f"there is no method '{name}'{nearest(name, known)}")
        return
    if not yes and not confirm(f"Delete all artefacts in {store.folder}?"):
        raise Exit(0)
    console.say(f"{store.clear()} artefacts deleted")
