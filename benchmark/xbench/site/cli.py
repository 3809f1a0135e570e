"""`xbench leaderboard build | check | serve`: thin over `build`, `check` and `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xbench.errors import UsageError

leaderboard_app = typer.Typer(
    help="The static site of all results: build it, check it, look at it.", no_args_is_help=True
)


@leaderboard_app.command("build")
def build_command(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS", help="Result files, or folders of them.")
    ],
    out: Annotated[Path, typer.Option(metavar="SITE", help="Folder of the site.")],
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the site will be published.")
    ] = None,
    snapshot: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write a frozen copy to SITE/s/NAME.")
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Bundles of `xbench examples export`.")
    ] = None,
    max_examples: Annotated[int, typer.Option(min=0, help="Most examples to show.")] = 40,
    audio: Annotated[
        str, typer.Option(help="allow-list (clips whose licence allows it) or none.")
    ] = "allow-list",
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on a result file that cannot be used.")
    ] = False,
) -> None:
    """Build the leaderboard from result files; it opens from a folder or any static host."""
    from xbench import console
    from xbench.site.build import Options, build

    options = Options(base_url, snapshot, examples, max_examples, audio, strict)
    built = build(results, out, options)
    for refusal in built.refused:
        console.error(f"left out: {refusal}")
    console.say(
        f"{built.rows} scores of {built.runs} runs: {built.files} files, {built.bytes / 1e6:.1f} MB"
    )
    console.say(f"open {built.folder / 'index.html'}")


@leaderboard_app.command("check")
def check_command(site: Annotated[Path, typer.Argument(help="Folder of the site.")]) -> None:
    """Check links, sizes, hashes, and that every page says what the data files say."""
    from xbench import console
    from xbench.site.check import problems

    found = problems(site)
    for problem in found:
        console.error(problem)
    if found:
        raise typer.Exit(1)
    console.say("links, sizes, hashes and numbers are sound")


@leaderboard_app.command("serve")
def serve_command(
    site: Annotated[Path, typer.Argument(help="Folder of the site.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
) -> None:
    """Show the site on this machine only; audio can be wound (HTTP ranges)."""
    from xbench import console
    from xbench.site.serve import server

    if not (site / "index.html").is_file():
        raise UsageError(f"{site} holds no index.html; `xbench leaderboard build` makes one")
    with server(site, port) as running:
        console.say(f"http://127.0.0.1:{running.server_address[1]}/ (stop with Ctrl-C)")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
