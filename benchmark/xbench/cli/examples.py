"""`xbench examples`: single utterances for the site. Thin; imports no torch by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from xbench.cli import options, store
from xbench.cli.group import Group
from xbench.errors import UsageError


@click.group("examples", cls=Group)
def examples_group() -> None:
    """Single utterances to look into, for the leaderboard."""


@examples_group.command("export")
@options.results
@click.option("--out", required=True, type=options.PATH, metavar="DIR", help="Folder of bundles.")
@click.option("--ids", help="Only these utterances: A,B,...")
@click.option("--limit", type=options.COUNT, help="First N utterances of each model on each task.")
@click.option(
    "--maps", type=options.COUNT, default=12, help="Most maps of a bundle, references first."
)
@click.option("--data", type=options.PATH, metavar="MANIFEST", help="Where the clips lie now.")
@options.audio
@options.cache
def export_command(
    results: Sequence[Path],
    out: Path,
    ids: str | None,
    limit: int | None,
    maps: int,
    data: Path | None,
    audio: str,
    cache: str | None,
) -> None:
    """Write a bundle per utterance from results and their store, for `leaderboard build --examples`."""
    if audio not in ("allow-list", "none"):
        raise UsageError(f"--audio '{audio}' is not allow-list or none")
    if ids is not None and not ids.strip(","):
        raise UsageError("--ids is empty; name utterances, or leave it out to take all")
    from xbench import console
    from xbench.results import load_results

    loaded = load_results(*results)
    if not loaded:
        raise UsageError(f"{results[0]} holds no result file")
    from xbench.runner.examples import Options, export

    chosen = tuple(filter(None, (ids or "").split(",")))
    wanted = Options(chosen, limit, data, audio, maps)  # type: ignore[arg-type]  # checked above
    exported = export(loaded, store.opened(cache), out, wanted)
    for text in exported.left_out:
        console.warn(f"left out: {text}")
    sizes = [file.stat().st_size for file in exported.files]
    count = f"{len(sizes)} bundle{'s' if len(sizes) > 1 else ''}"
    console.say(f"{count} under {out}, the largest of {max(sizes) / 1e3:.0f} kB")
    console.say(f"next: xbench leaderboard build RESULTS --out SITE --examples {out}")
