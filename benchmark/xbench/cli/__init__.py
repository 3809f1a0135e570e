"""The command line: thin over `xbench.evaluate` and the registries; imports no torch by itself.

Each module holds a group of commands. A command imports what it works with when it runs, so that
the others, and `--help`, do not wait for it. Typer asks for the annotations of all commands at each
start; they are not deferred there, which spares it the evaluation.
"""

from __future__ import annotations

import os
import sys
import traceback

import typer

from xbench.cli import (
    data,
    examples,
    exchange,
    leaderboard,
    machine,
    pictures,
    plugins,
    registered,
    report,
    runs,
    store,
)
from xbench.errors import EnvironmentProblem, XbenchError

app = typer.Typer(
    name="xbench",
    help="Measure how faithful attention-based explanations of speech-to-text models are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (runs, exchange, pictures, registered, plugins, machine):
    app.add_typer(module.app)
for group in (store.app, data.app, examples.app, exchange.export, leaderboard.app, report.app):
    app.add_typer(group, no_args_is_help=True)


def main() -> None:
    """Run the command line; every error becomes one message and an exit code."""
    # Set before torch loads: no telemetry, no tokenizer threads beside torch's own.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        app()
    except XbenchError as problem:
        _fail(str(problem), problem.exit_code)
    except Exception as problem:  # noqa: BLE001  # the last resort: a bug still ends with its exit code
        if _out_of_memory(problem):
            _fail("out of memory; use a smaller --batch-size", EnvironmentProblem.exit_code)
        traceback.print_exc()
        _fail("this is a bug in xbench or a plugin; please report the lines above", 3)


def _out_of_memory(problem: Exception) -> bool:
    if not isinstance(problem, RuntimeError):  # of torch, which is then loaded
        return isinstance(problem, MemoryError)
    from xbench.hiding.batching import out_of_memory

    return out_of_memory(problem)


def _fail(message: str, exit_code: int) -> None:
    from xbench.cli import console

    console.error(message)
    sys.exit(exit_code)
