"""`xbench data`: corpora to manifests. Thin; imports no torch."""

import shlex
from collections.abc import Sized
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option, Typer

from xbench.cli.options import Texts
from xbench.errors import UsageError

app = Typer(name="data", help="Turn corpora into manifests.")


@app.command("prepare")
def prepare_command(
    corpus: Annotated[
        str, Argument(help="Registered corpus, name:key=value,...; see `xbench list datasets`.")
    ],
    root: Annotated[str, Argument(help="Its folder; for the hub OWNER/NAME, also with @revision.")],
    out: Annotated[
        Path | None, Option(metavar="MANIFEST", help="Default: where tasks look for it by name.")
    ] = None,
    split: Annotated[str | None, Option(help="Default: the corpus's first, test.")] = None,
    language: Annotated[Texts, Option(help="Spoken: en or en,it; default: all.")] = None,
    target: Annotated[Texts, Option(help="Translations into; default: all.")] = None,
    limit: Annotated[int | None, Option(min=1, help="First N clips per language.")] = None,
    workers: Annotated[int | None, Option(min=1, help="Threads; default: cores.")] = None,
) -> None:
    """Write the manifest of one split of a corpus: recordings cut into clips, sha256, speakers."""
    from xbench.cli import console
    from xbench.data import prepare
    from xbench.data.prepared import prepared_manifest

    description, call, split = prepare.find_corpus(corpus, split)
    if out is not None and out.suffix != ".jsonl":
        raise UsageError(f"--out {out}: a manifest's name ends in .jsonl")
    if out is None and description.generic:
        raise UsageError(
            f"{description.name} stands for many datasets: say where with --out MANIFEST.jsonl"
        )
    manifest = out or prepared_manifest(description.name, split)
    languages, targets = _codes(language), _codes(target)
    clips = prepare.read_corpus(
        description, call, root, split, languages=languages, targets=targets, limit=limit
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


def _codes(given: Texts) -> list[str]:
    return list(dict.fromkeys(code for text in given or () for code in text.split(",") if code))
