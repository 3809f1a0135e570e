"""`xbench data`: corpora to manifests. Thin; imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Sized
from pathlib import Path
from typing import Annotated

import typer

from xbench.errors import UsageError

data_app = typer.Typer(help="Turn corpora into manifests.", no_args_is_help=True)

_Languages = list[str] | None


@data_app.callback()
def data() -> None:
    """Turn corpora into manifests."""


@data_app.command("prepare")
def prepare_command(
    corpus: Annotated[
        str,
        typer.Argument(help="Registered corpus, name:key=value,...; see `xbench list datasets`."),
    ],
    root: Annotated[str, typer.Argument(help="Its folder; for the hub OWNER/NAME[@revision].")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST", help="Default: where tasks look for it by name."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Default: the corpus's first, test.")] = None,
    language: Annotated[_Languages, typer.Option(help="Spoken: en or en,it; default: all.")] = None,
    target: Annotated[_Languages, typer.Option(help="Translations into; default: all.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="First N clips per language.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; default: cores.")] = None,
) -> None:
    """Write the manifest of one split of a corpus: recordings cut into clips, sha256, speakers."""
    from xbench import console
    from xbench.data import prepare

    description, call, split = prepare.find_corpus(corpus, split)
    if out is not None and out.suffix != ".jsonl":
        raise UsageError(f"--out {out}: a manifest's name ends in .jsonl")
    if out is None and description.generic:
        raise UsageError(
            f"{description.name} stands for many datasets: say where with --out MANIFEST.jsonl"
        )
    manifest = out or prepare.prepared_manifest(description.name, split)
    clips = prepare.read_corpus(
        description,
        call,
        root,
        split,
        languages=_codes(language),
        targets=_codes(target),
        limit=limit,
    )
    total = len(clips) if isinstance(clips, Sized) else limit or 0
    try:
        with (
            console.ProgressReporter() as reporter,
            reporter.stage(f"{description.name} {split}: clips", total) as advance,
        ):
            done = prepare.write_manifest(clips, manifest, workers=workers, advance=advance)
    except KeyboardInterrupt:
        console.error(
            "interrupted: clips that were cut are kept; the same command goes on from there"
        )
        raise typer.Exit(130) from None
    for problem in done.problems:
        console.error(f"left out: {problem}")
    counts = ", ".join(f"{count} in {code}" for code, count in sorted(done.clips.items()))
    console.say(
        f"{manifest}: {sum(done.clips.values())} clips ({counts}), {done.seconds / 3600:.2f} h"
    )
    if out is not None:
        console.say(f"use it with --data {shlex.quote(str(out))}")
    else:
        console.say(f"tasks with the dataset '{description.name}' find it now")
    if done.problems:
        raise typer.Exit(1)


def _codes(given: _Languages) -> list[str]:
    return list(dict.fromkeys(code for text in given or [] for code in text.split(",") if code))
