"""`xbench examples`: single utterances for the site. Thin; imports no torch by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xbench.errors import UsageError

examples_app = typer.Typer(
    help="Single utterances to look into, for the leaderboard.", no_args_is_help=True
)


@examples_app.callback()
def examples() -> None:
    """Single utterances to look into, for the leaderboard."""


@examples_app.command("export")
def export_command(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS", help="Result files, or folders of them.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of bundles.")],
    ids: Annotated[str | None, typer.Option(help="Only these utterances: A,B,...")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="First N utterances of each model on each task.")
    ] = None,
    maps: Annotated[int, typer.Option(min=1, help="Most maps of a bundle, references first.")] = 12,
    data: Annotated[
        Path | None, typer.Option(metavar="MANIFEST", help="Where the clips lie now.")
    ] = None,
    audio: Annotated[
        str, typer.Option(help="allow-list (clips whose licence allows it) or none.")
    ] = "allow-list",
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Store folder.")
    ] = None,
) -> None:
    """Write a bundle per utterance from results and their store, for `leaderboard build --examples`."""
    if audio not in ("allow-list", "none"):
        raise UsageError(f"--audio '{audio}' is not allow-list or none")
    if ids is not None and not ids.strip(","):
        raise UsageError("--ids is empty; name utterances, or leave it out to take all")
    from xbench import console
    from xbench.results import load_results
    from xbench.store import Store, default_folder

    loaded = load_results(*results)
    if not loaded:
        raise UsageError(f"{results[0]} holds no result file")
    from xbench.runner.examples import Options, export

    chosen = tuple(filter(None, (ids or "").split(",")))
    options = Options(chosen, limit, data, audio, maps)  # type: ignore[arg-type]  # checked above
    exported = export(loaded, Store(cache or default_folder()), out, options)
    for text in exported.left_out:
        console.warn(f"left out: {text}")
    sizes = [file.stat().st_size for file in exported.files]
    count = f"{len(sizes)} bundle{'s' if len(sizes) > 1 else ''}"
    console.say(f"{count} under {out}, the largest of {max(sizes) / 1e3:.0f} kB")
    console.say(f"next: xbench leaderboard build RESULTS --out SITE --examples {out}")
