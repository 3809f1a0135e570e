"""All commands as one application; each module holds a group of them.

A command imports what it works with when it runs, so that the others, and `--help`, do not wait for it. Typer asks
for the annotations of all commands at each start; they are not deferred in those modules, which spares it the
evaluation.
"""

from __future__ import annotations

import typer

from xbench.cli import (
    audit,
    data,
    decisions,
    examples,
    exchange,
    heads,
    leaderboard,
    machine,
    packs,
    pictures,
    plugins,
    registered,
    report,
    runs,
    store,
    verifying,
)

app = typer.Typer(
    name="xbench",
    help="Measure how faithful attention-based explanations of speech-to-text models are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (runs, verifying, packs, heads, exchange, pictures, registered, plugins, machine):
    app.add_typer(module.app)
for group in (
    store.app,
    data.app,
    examples.app,
    exchange.export,
    leaderboard.app,
    report.app,
    audit.app,
    decisions.app,
):
    app.add_typer(group, no_args_is_help=True)
