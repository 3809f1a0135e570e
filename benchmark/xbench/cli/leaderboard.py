"""`xbench leaderboard`: the static site of all results. Thin; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from click.exceptions import Exit

from xbench.cli import options
from xbench.cli.group import Group
from xbench.errors import UsageError

_SITE = click.argument("site", type=options.PATH, help="Folder of the site.")


@click.group("leaderboard", cls=Group)
def leaderboard_group() -> None:
    """The static site of all results: build it, check it, look at it."""


@leaderboard_group.command("build")
@options.results
@click.option("--out", required=True, type=options.PATH, metavar="SITE", help="Folder of the site.")
@click.option("--base-url", metavar="URL", help="Where the site will be published.")
@click.option("--snapshot", metavar="NAME", help="Write a frozen copy to SITE/s/NAME.")
@click.option(
    "--examples", type=options.PATH, metavar="DIR", help="Bundles of `xbench examples export`."
)
@click.option(
    "--max-examples", type=click.IntRange(min=0), default=40, help="Most examples to show."
)
@options.audio
@click.option("--strict", is_flag=True, help="Fail on a result file that cannot be used.")
def build_command(
    results: Sequence[Path],
    out: Path,
    base_url: str | None,
    snapshot: str | None,
    examples: Path | None,
    max_examples: int,
    audio: str,
    strict: bool,
) -> None:
    """Build the leaderboard from result files; it opens from a folder or any static host."""
    from xbench import console
    from xbench.site.build import Options, build

    wanted = Options(base_url, snapshot, examples, max_examples, audio, strict)
    built = build(results, out, wanted)
    for refusal in built.refused:
        console.error(f"left out: {refusal}")
    console.say(
        f"{built.rows} scores of {built.runs} runs: {built.files} files, {built.bytes / 1e6:.1f} MB"
    )
    console.say(f"open {built.folder / 'index.html'}")


@leaderboard_group.command("check")
@_SITE
def check_command(site: Path) -> None:
    """Check links, sizes, hashes, and that every page says what the data files say."""
    from xbench import console
    from xbench.site.check import problems

    found = problems(site)
    for problem in found:
        console.error(problem)
    if found:
        raise Exit(1)
    console.say("links, sizes, hashes and numbers are sound")


@leaderboard_group.command("serve")
@_SITE
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="0: any that is free.")
def serve_command(site: Path, port: int) -> None:
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
            raise Exit(130) from None
