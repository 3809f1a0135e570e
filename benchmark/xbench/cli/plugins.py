"""`xbench check` and `xbench new`: for those who bring a method, a model, a metric or anything else that registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option, Typer

from xbench.cli.options import AsJson, TrustRemoteCode
from xbench.errors import UsageError, nearest
from xbench.spec import Call

if TYPE_CHECKING:
    from xbench.testing import CheckResult

app = Typer()


@dataclass(frozen=True)
class _Options:
    """What a battery can be told beside the name of what it tries."""

    model: str
    root: str | None
    split: str | None
    language: str | None
    target: str | None
    trust_remote_code: bool


@app.command("check")
def check_command(
    kind: Annotated[str, Argument(help="method, metric, model, reference, dataset or task")],
    name: Annotated[
        str,
        Argument(
            help="Registered name or FILE.py:NAME, with parameters if wanted; or a model, or a task file."
        ),
    ],
    model: Annotated[str, Option(help="Model to try a method or a reference on.")] = "xbench-tiny",
    root: Annotated[str | None, Option(metavar="DIR", help="Where a corpus lies.")] = None,
    split: Annotated[str | None, Option(help="Of the corpus; default: its first.")] = None,
    language: Annotated[
        str | None, Option(help="Spoken: to a model (default: en), in a corpus (default: all).")
    ] = None,
    target: Annotated[
        str | None, Option(help="Of the translations in a corpus; default: all.")
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Run the contract battery that built-ins and plugins must pass."""
    from xbench.cli import console

    if kind not in _BATTERIES:
        known = ", ".join(_BATTERIES)
        raise UsageError(
            f"cannot check a '{kind}'{nearest(kind, _BATTERIES)}; there is a battery for: {known}"
        )
    results = _BATTERIES[kind](
        name, _Options(model, root, split, language, target, trust_remote_code)
    )
    from xbench.testing import problems

    rows = [asdict(result) for result in results]
    console.emit_json(rows) if as_json else console.show_rows("checks", rows)
    if problems(results):
        raise Exit(1)


# An unknown name is told before torch is loaded.


def _check_method(name: str, options: _Options) -> list[CheckResult]:
    from xbench import registry
    from xbench.runner.local_file import from_file, is_in_file
    from xbench.runner.own import described

    call = Call.parse(name)
    own = is_in_file(call.name)
    description = described(from_file(call.name)) if own else registry.methods.get(call.name)
    from xbench.testing import check_method

    return check_method(description, options.model, params=call.given)


def _check_metric(name: str, options: _Options) -> list[CheckResult]:
    from xbench import registry
    from xbench.runner.local_file import with_local_metric

    call = with_local_metric(Call.parse(name))
    registry.metrics.get(call.name)
    from xbench.testing import check_metric

    return check_metric(str(call))


def _check_model(name: str, options: _Options) -> list[CheckResult]:
    from xbench.models.loading import locate

    locate(name)
    from xbench.testing import check_model

    return check_model(
        name,
        language=options.language or "en",
        trust_remote_code=options.trust_remote_code,
    )


def _check_reference(name: str, options: _Options) -> list[CheckResult]:
    from xbench import registry
    from xbench.runner.local_file import with_local_reference

    call = with_local_reference(Call.parse(name))
    registry.references.get(call.name)
    from xbench.testing import check_reference

    return check_reference(str(call), options.model)


def _check_dataset(name: str, options: _Options) -> list[CheckResult]:
    from xbench import registry

    registry.datasets.get(Call.parse(name).name)
    from xbench.testing import check_dataset

    return check_dataset(
        name,
        options.root,
        options.split,
        languages=_codes(options.language),
        targets=_codes(options.target),
    )


def _check_task(name: str, options: _Options) -> list[CheckResult]:
    from xbench import tasks

    tasks.describe(name)
    from xbench.testing import check_task

    return check_task(name)


def _codes(given: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (given or "").split(","))))


_BATTERIES: Mapping[str, Callable[[str, _Options], list[CheckResult]]] = {
    "method": _check_method,
    "metric": _check_metric,
    "model": _check_model,
    "reference": _check_reference,
    "dataset": _check_dataset,
    "task": _check_task,
}


@app.command("new")
def new_command(
    kind: Annotated[str, Argument(help="method, model, metric, reference, dataset or task")],
    name: Annotated[str, Argument(help="Of the package and of what it registers.")],
    folder: Annotated[Path, Option("--in", metavar="DIR", help="Where to make it.")] = Path(),
) -> None:
    """Make a working plugin package with a test."""
    from xbench.cli import console, scaffold

    for file in scaffold.new(kind, name, folder):
        console.say(str(file))
    console.say(f"next: pip install pytest -e {folder / name} && python -m pytest {folder / name}")
