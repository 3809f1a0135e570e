"""`xbench leaderboard`: the static site of all results. Thin; imports no torch."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option, Typer

from xbench.cli.options import Audio, Results
from xbench.errors import UsageError

app = Typer(
    name="leaderboard", help="The static site of all results: build it, check it, look at it."
)
Site = Annotated[Path, Argument(help="Folder of the site.")]


@app.command("build")
def build_command(
    results: Results,
    out: Annotated[Path, Option(metavar="SITE", help="Folder of the site.")],
    base_url: Annotated[
        str | None,
        Option(
            metavar="URL",
            help="Where the site will be published; needed for a 404 page with style at any depth.",
        ),
    ] = None,
    repository: Annotated[
        str | None, Option(metavar="URL", help="Of the source code; pages link to it.")
    ] = None,
    documentation: Annotated[
        str | None, Option(metavar="URL", help="Of `make docs`, as published.")
    ] = None,
    snapshot: Annotated[
        str | None, Option(metavar="NAME", help="Write a frozen copy to SITE/s/NAME.")
    ] = None,
    examples: Annotated[
        Path | None, Option(metavar="DIR", help="Bundles of `xbench examples export`.")
    ] = None,
    max_examples: Annotated[int, Option(min=0, help="Most examples to show.")] = 40,
    audio: Audio = "allow-list",
    strict: Annotated[
        bool, Option("--strict", help="Fail on a result file that cannot be used.")
    ] = False,
) -> None:
    """Build the leaderboard from result files; it opens from a folder or any static host."""
    from xbench.cli import console
    from xbench.site.build import Options, build

    wanted = Options(
        base_url, repository, documentation, snapshot, examples, max_examples, audio, strict
    )
    built = build(results, out, wanted)
    for refusal in built.refused:
        console.error(f"left out: {refusal}")
    console.say(
        f"{built.rows} scores of {built.runs} runs: {built.files} files, {built.bytes / 1e6:.1f} MB"
    )
    console.say(f"open {built.folder / 'index.html'}")


@app.command("check")
def check_command(
    site: Site,
    results: Annotated[
        list[Path] | None,
        Argument(help="What it was built from: examined again, and compared with what it shows."),
    ] = None,
) -> None:
    """Check links, sizes, hashes, and that every page says what the data files say."""
    from xbench.cli import console
    from xbench.site.check import not_of, problems

    found = problems(site) + (not_of(site, results) if results else [])
    for problem in found:
        console.error(problem)
    if found:
        raise Exit(1)
    of_them = " and of these results" if results else ""
    console.say(f"links, sizes, hashes and numbers are sound{of_them}")


@app.command("serve")
def serve_command(
    site: Site,
    port: Annotated[int, Option(min=0, max=65535, help="0: any that is free.")] = 8000,
) -> None:
    """Show the site on this machine only; audio can be wound (HTTP ranges)."""
    from xbench.cli import console
    from xbench.site.serve import server

    if not (site / "index.html").is_file():
        raise UsageError(f"{site} holds no index.html; `xbench leaderboard build` makes one")
    with server(site, port) as running:
        console.say(f"http://127.0.0.1:{running.server_address[1]}/ (stop with Ctrl-C)")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            raise Exit(130) from None
