"""`xbench check` and `xbench new`: for those who bring a method, a model, a metric or a task."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from click.exceptions import Exit

from xbench.cli import options
from xbench.errors import UsageError
from xbench.spec import Call


@click.command("check")
@click.argument("kind", help="method, metric or model")
@click.argument("name", help="Registered name, with parameters if wanted; or a model.")
@click.option("--model", default="xbench-tiny", help="Model to try a method on.")
@click.option("--language", default="en", help="Language to tell a model.")
@options.trust_remote_code
@options.as_json
def check_command(
    kind: str, name: str, model: str, language: str, trust_remote_code: bool, as_json: bool
) -> None:
    """Run the contract battery that built-ins and plugins must pass."""
    from xbench import console, registry

    # An unknown name is told before torch is loaded.
    if kind == "method":
        registry.methods.get(Call.parse(name).name)
        from xbench.testing import check_method

        results = check_method(name, model)
    elif kind == "metric":
        registry.metrics.get(Call.parse(name).name)
        from xbench.testing import check_metric

        results = check_metric(name)
    elif kind == "model":
        from xbench.models.loading import locate

        locate(name)
        from xbench.testing import check_model

        results = check_model(name, language=language, trust_remote_code=trust_remote_code)
    else:
        raise UsageError(f"cannot check a '{kind}'; there is a battery for: method, metric, model")
    rows = [asdict(result) for result in results]
    console.emit_json(rows) if as_json else console.show_rows("checks", rows)
    if not all(result.ok for result in results) or all(r.status == "skipped" for r in results):
        raise Exit(1)


@click.command("new")
@click.argument("kind", help="method, model, metric or task")
@click.argument("name", help="Of the package and of what it registers.")
@click.option(
    "--in",
    "folder",
    type=options.PATH,
    default=Path(),
    metavar="DIR",
    help="Where to make it.",
)
def new_command(kind: str, name: str, folder: Path) -> None:
    """Make a working plugin package with a test."""
    from xbench import console, scaffold

    for file in scaffold.new(kind, name, folder):
        console.say(str(file))
    console.say(f"next: pip install -e {folder / name} && python -m pytest {folder / name}")
