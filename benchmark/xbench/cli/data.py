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


@app.command("words")
def words_command(
    manifest: Annotated[Path, Argument(metavar="MANIFEST", help="Clips that lack word times.")],
    times: Annotated[
        Path,
        Argument(
            metavar="TIMES", help="Folder of TextGrids, one ID.TextGrid a clip, or a CTM file."
        ),
    ],
    out: Annotated[Path, Option(metavar="MANIFEST", help="Manifest to write.")],
    tier: Annotated[
        str | None,
        Option(help="Tier of the TextGrids with the words; default: `words`, or the only one."),
    ] = None,
) -> None:
    """Put word times from TextGrid or CTM files into a manifest; other fields stay."""
    from xbench.cli import console
    from xbench.data.timings import import_times

    if out.suffix != ".jsonl":
        raise UsageError(f"--out {out}: a manifest's name ends in .jsonl")
    done = import_times(manifest, times, out, tier)
    console.say(f"{done.manifest}: {done.words} words in {done.clips} clips")
    if done.without:
        console.say(
            f"{len(done.without)} clips have no times in {times}, such as '{done.without[0]}'"
        )


@app.command("listening")
def listening_command(
    manifest: Annotated[
        Path, Argument(metavar="MANIFEST", help="Clips of speech to make them of.")
    ],
    out: Annotated[Path, Option(metavar="MANIFEST", help="Manifest to write.")],
    language: Annotated[
        str, Option(help="Language of the model; others are foreign to it.")
    ] = "en",
    seed: Annotated[int, Option(help="Of the noise.")] = 0,
) -> None:
    """Make clips without speech, spliced, looped and foreign ones: it is known what can be heard in them."""
    from xbench.cli import console
    from xbench.data.listening import make_listening

    if out.suffix != ".jsonl":
        raise UsageError(f"--out {out}: a manifest's name ends in .jsonl")
    done = make_listening(manifest, out, language, seed=seed)
    for problem in done.problems:
        console.error(f"left out: {problem}")
    counts = ", ".join(f"{count} {name}" for name, count in done.clips.items())
    console.say(f"{done.manifest}: {sum(done.clips.values())} clips ({counts})")
    console.say(f"use it with --task listening --data {shlex.quote(str(out))}")
    if done.problems:
        raise Exit(1)


def _codes(given: Texts) -> list[str]:
    return list(dict.fromkeys(code for text in given or () for code in text.split(",") if code))
