"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)

results = click.argument(
    "results", nargs=-1, required=True, type=PATH, help="Result files, or folders of them."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
cache = click.option("--cache", metavar="DIR", help="Store folder.")
device = click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
trust_remote_code = click.option(
    "--trust-remote-code", is_flag=True, help="Allow code from the checkpoint."
)
audio = click.option(
    "--audio",
    default="allow-list",
    help="allow-list (clips whose licence allows it) or none.",
)
