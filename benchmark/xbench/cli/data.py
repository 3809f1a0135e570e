"""`xbench data`: corpora to manifests. Thin; imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence, Sized
from pathlib import Path

import click
from click.exceptions import Exit

from xbench.cli import options
from xbench.cli.group import Group
from xbench.errors import UsageError


@click.group("data", cls=Group)
def data_group() -> None:
    """Turn corpora into manifests."""


@data_group.command("prepare")
@click.argument("corpus", help="Registered corpus, name:key=value,...; see `xbench list datasets`.")
@click.argument("root", help="Its folder; for the hub OWNER/NAME[@revision].")
@click.option(
    "--out",
    type=options.PATH,
    metavar="MANIFEST",
    help="Default: where tasks look for it by name.",
)
@click.option("--split", help="Default: the corpus's first, test.")
@click.option("--language", multiple=True, help="Spoken: en or en,it; default: all.")
@click.option("--target", multiple=True, help="Translations into; default: all.")
@click.option("--limit", type=options.COUNT, help="First N clips per language.")
@click.option("--workers", type=options.COUNT, help="Threads; default: cores.")
def prepare_command(
    corpus: str,
    root: str,
    out: Path | None,
    split: str | None,
    language: Sequence[str],
    target: Sequence[str],
    limit: int | None,
    workers: int | None,
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
        raise Exit(130) from None
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
        raise Exit(1)


def _codes(given: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(code for text in given for code in text.split(",") if code))
