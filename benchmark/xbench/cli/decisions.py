"""`xbench decisions`: what follows where somebody relies on the maps of a run. Thin; loads no model."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from typer import Option, Typer

from xbench.cli.options import AsJson, Cache, Results
from xbench.cli.store import opened
from xbench.errors import UsageError

if TYPE_CHECKING:
    from xbench.results import RunResult

app = Typer(
    name="decisions",
    help="What follows for those who rely on maps: word times, streaming, listening.",
)


@app.command("words")
def words_command(
    results: Results,
    tolerance: Annotated[
        float, Option(metavar="SECONDS", help="How far off a right boundary may be.")
    ] = 0.05,
    point: Annotated[
        str, Option(help="Of a row: run (its highest run of frames), peak or centroid.")
    ] = "run",
    language: Annotated[
        str | None, Option(metavar="CODE", help="Only clips in this language, such as de.")
    ] = None,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Say how well each method times words, where the manifest has word times."""
    from xbench.cli import console, decision_tables

    given = _given(results)
    from xbench.decisions.words import word_times

    found = word_times(
        given, tolerance=tolerance, point=point, language=language, store=opened(cache)
    )
    console.emit_json(asdict(found)) if as_json else decision_tables.show_words(found)


@app.command("streaming")
def streaming_command(
    results: Results,
    policy: Annotated[str, Option(help="alignatt, edatt, streamatt or doa.")] = "alignatt",
    lag: Annotated[
        float, Option(metavar="SECONDS", help="How old what a token rests on must be.")
    ] = 0.3,
    chunk: Annotated[float, Option(metavar="SECONDS", help="Audio between two decisions.")] = 0.5,
    share: Annotated[float, Option(help="edatt: most mass in the last `lag` seconds.")] = 0.2,
    kept: Annotated[int, Option(help="streamatt: tokens whose audio is kept.")] = 20,
    regret: Annotated[float, Option(help="Regret at which delays are compared.")] = 0.1,
    by: Annotated[
        float | None,
        Option(metavar="SECONDS", help="Also say what is written when so much was heard."),
    ] = None,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Say how late a streaming policy writes that reads each map, and how much it has not heard by then."""
    from xbench.cli import console, decision_tables

    given = _given(results)
    from xbench.decisions.policies import Policy
    from xbench.decisions.streaming import streaming

    found = streaming(
        given, Policy(policy, lag, chunk, share, kept), accepted=regret, by=by, store=opened(cache)
    )
    console.emit_json(asdict(found)) if as_json else decision_tables.show_streaming(found)


@app.command("listening")
def listening_command(
    results: Results,
    lowest: Annotated[
        float,
        Option(help="Share of tokens, those of the least effect, that count as not listened for."),
    ] = 0.25,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Say how well maps and outputs tell tokens that need no audio (made up, looped, foreign) from the others."""
    from xbench.cli import console, decision_tables

    given = _given(results)
    from xbench.decisions.listening import listening

    found = listening(given, lowest=lowest, store=opened(cache))
    console.emit_json(asdict(found)) if as_json else decision_tables.show_listening(found)


@app.command("usefulness")
def usefulness_command(
    results: Results,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Say whether maps that score well also serve well: for word times, streaming and detection."""
    from xbench.cli import console, decision_tables

    given = _given(results)
    from xbench.decisions.usefulness import usefulness

    found = usefulness(given, store=opened(cache))
    console.emit_json(asdict(found)) if as_json else decision_tables.show_usefulness(found)


def _given(paths: Results) -> "list[RunResult]":
    from xbench.results import load_results

    given = load_results(*paths)
    if not given:
        raise UsageError(f"{paths[0]} holds no result file")
    return given
