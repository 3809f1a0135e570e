"""`xbench doctor` and `xbench version`: what is installed here."""

from __future__ import annotations

import click

from xbench.cli import options


@click.command("doctor")
@options.as_json
def doctor_command(as_json: bool) -> None:
    """Say what this machine can and cannot do."""
    from xbench import console
    from xbench.doctor import examine

    facts = examine()
    console.emit_json(facts) if as_json else console.show_facts(facts)


@click.command("version")
def version_command() -> None:
    """Print the version."""
    from importlib.metadata import version

    from xbench import console

    console.say(version("xbench"))
