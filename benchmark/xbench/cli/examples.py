"""`xbench examples`: single utterances for the site. Thin; imports no torch by itself."""

from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from xbench.cli.options import Audio, Cache, Ids, Results
from xbench.cli.store import opened
from xbench.errors import UsageError

app = Typer(name="examples", help="Single utterances to look into, for the leaderboard.")


@app.command("export")
def export_command(
    results: Results,
    out: Annotated[Path, Option(metavar="DIR", help="Folder of bundles.")],
    ids: Ids = None,
    limit: Annotated[
        int | None, Option(min=1, help="First N utterances of each model on each task.")
    ] = None,
    maps: Annotated[int, Option(min=1, help="Most maps of a bundle, references first.")] = 12,
    data: Annotated[
        Path | None, Option(metavar="MANIFEST", help="Where the clips lie now.")
    ] = None,
    audio: Audio = "allow-list",
    licence: Annotated[
        str | None, Option(help="Of clips given with --data, such as public-domain: you state it.")
    ] = None,
    attribution: Annotated[str | None, Option(help="Whose clips these are.")] = None,
    spread: Annotated[
        bool,
        Option("--spread", help="The best, the middle and the worst clip of the leading method."),
    ] = False,
    heads: Annotated[
        bool,
        Option("--heads", help="The maps of all single heads in the results, for a grid of them."),
    ] = False,
    cache: Cache = None,
) -> None:
    """Write a bundle per utterance from results and their store, for `leaderboard build --examples`."""
    from xbench.bundle import publish

    clips = publish(audio)
    if ids is not None and not ids.strip(","):
        raise UsageError("--ids is empty; name utterances, or leave it out to take all")
    from xbench.cli import console
    from xbench.results import load_results

    given = load_results(*results)
    if not given:
        raise UsageError(f"{results[0]} holds no result file")
    from xbench.runner.examples import Options, export

    chosen = tuple(filter(None, (ids or "").split(",")))
    wanted = Options(chosen, limit, data, clips, maps, licence, attribution, spread, heads)
    exported = export(given, opened(cache), out, wanted)
    for text in exported.left_out:
        console.warn(f"left out: {text}")
    sizes = [file.stat().st_size for file in exported.files]
    count = f"{len(sizes)} bundle{'s' if len(sizes) > 1 else ''}"
    console.say(f"{count} under {out}, the largest of {max(sizes) / 1e3:.0f} kB")
    console.say(f"next: xbench leaderboard build RESULTS --out SITE --examples {out}")
