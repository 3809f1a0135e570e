"""`xbench check` and `xbench new`: for those who bring a method, a model, a metric or a task."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option, Typer

from xbench.cli.options import AsJson, TrustRemoteCode
from xbench.errors import UsageError
from xbench.spec import Call

app = Typer()


@app.command("check")
def check_command(
    kind: Annotated[str, Argument(help="method, metric or model")],
    name: Annotated[str, Argument(help="Registered name, with parameters if wanted; or a model.")],
    model: Annotated[str, Option(help="Model to try a method on.")] = "xbench-tiny",
    language: Annotated[str, Option(help="Language to tell a model.")] = "en",
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Run the contract battery that built-ins and plugins must pass."""
    from xbench import registry
    from xbench.cli import console

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
    from xbench.testing import problems

    rows = [asdict(result) for result in results]
    console.emit_json(rows) if as_json else console.show_rows("checks", rows)
    if problems(results):
        raise Exit(1)


@app.command("new")
def new_command(
    kind: Annotated[str, Argument(help="method, model, metric or task")],
    name: Annotated[str, Argument(help="Of the package and of what it registers.")],
    folder: Annotated[Path, Option("--in", metavar="DIR", help="Where to make it.")] = Path(),
) -> None:
    """Make a working plugin package with a test."""
    from xbench.cli import console, scaffold

    for file in scaffold.new(kind, name, folder):
        console.say(str(file))
    console.say(f"next: pip install -e {folder / name} && python -m pytest {folder / name}")
