"""`xbench doctor` and `xbench version`: what is installed here."""

from typer import Typer

from xbench.cli.options import AsJson

app = Typer()


@app.command("doctor")
def doctor_command(as_json: AsJson = False) -> None:
    """Say what this machine can and cannot do."""
    from xbench.cli import console
    from xbench.cli.doctor import examine

    facts = examine()
    console.emit_json(facts) if as_json else console.show_facts(facts)


@app.command("version")
def version_command() -> None:
    """Print the version."""
    from importlib.metadata import version

    from xbench.cli import console

    console.say(version("xbench"))
