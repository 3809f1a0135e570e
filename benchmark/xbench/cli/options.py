"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

Texts = list[str] | None

Results = Annotated[list[Path], Argument(help="Result files, or folders of them.")]
AsJson = Annotated[bool, Option("--json", help="Machine-readable output.")]
Cache = Annotated[str | None, Option(metavar="DIR", help="Store folder.")]
Device = Annotated[str, Option(help="auto, cpu, cuda, cuda:1, ...")]
TrustRemoteCode = Annotated[bool, Option(help="Allow code from the checkpoint.")]
Audio = Annotated[str, Option(help="allow-list (clips whose licence allows it) or none.")]
Ids = Annotated[str | None, Option(help="Only these utterances: A,B,...")]
