"""The command line: thin over `xbench.evaluate` and the registries; imports no torch by itself.

Each module holds a group of commands. A command imports what it works with when it runs, so that
the others, and `--help`, do not wait for it.
"""

from __future__ import annotations

import os
import sys
import traceback

import click

from xbench.cli import (
    data,
    examples,
    leaderboard,
    machine,
    pictures,
    plugins,
    registered,
    report,
    runs,
    store,
)
from xbench.cli.group import Group
from xbench.errors import EnvironmentProblem, XbenchError


@click.group(cls=Group, context_settings={"show_default": True})
def app() -> None:
    """Measure how faithful attention-based explanations of speech-to-text models are."""


for command in (
    runs.evaluate_command,
    runs.score_command,
    runs.compare_references_command,
    runs.submit_command,
    runs.verify_command,
    pictures.explain_command,
    pictures.plot_command,
    registered.list_command,
    registered.show_command,
    registered.validate_command,
    plugins.check_command,
    plugins.new_command,
    machine.doctor_command,
    machine.version_command,
    store.cache_group,
    data.data_group,
    examples.examples_group,
    leaderboard.leaderboard_group,
    report.report_group,
):
    app.add_command(command)


def main() -> None:
    """Run the command line; every error becomes one message and an exit code."""
    # Set before torch loads: no telemetry, no tokenizer threads beside torch's own.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        sys.exit(app.main(prog_name="xbench", standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as asked:
        asked.show()
        sys.exit(asked.exit_code)
    except click.ClickException as problem:
        _fail(_usage(problem), problem.exit_code)
    except click.Abort:
        _fail("interrupted", 130)
    except XbenchError as problem:
        _fail(str(problem), problem.exit_code)
    except MemoryError:
        _fail("out of memory; use a smaller --batch-size", EnvironmentProblem.exit_code)
    except Exception:  # noqa: BLE001  # the last resort: a bug still ends with its exit code
        traceback.print_exc()
        _fail("this is a bug in xbench or a plugin; please report the lines above", 3)


def _usage(problem: click.ClickException) -> str:
    """Return what is wrong with the arguments, and which help says more, in one line."""
    text = problem.format_message()
    context = problem.ctx if isinstance(problem, click.UsageError) else None
    return f"{text} See `{context.command_path} --help`." if context else text


def _fail(message: str, exit_code: int) -> None:
    from xbench import console

    console.error(message)
    sys.exit(exit_code)
