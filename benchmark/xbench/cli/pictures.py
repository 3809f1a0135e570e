"""`xbench explain` and `xbench plot`: one clip, and results, as pictures."""

from typing import Annotated

from typer import Argument, Option, Typer

from xbench.cli.options import AsJson, Cache, Device, Results, Texts, TrustRemoteCode
from xbench.spec import Call

app = Typer()


@app.command("explain")
def explain_command(
    audio: Annotated[str, Argument(help="WAV, FLAC, OGG or MP3.")],
    model: Annotated[str, Option(help="Registered name, or family:FOLDER-OR-HUB-ID.")],
    method: Annotated[
        Texts, Option(help="Method, name:key=value,...; may be repeated.  [default: mean-heads]")
    ] = None,
    reference: Annotated[
        Texts, Option(help="Show this reference too, and what methods score against it.")
    ] = None,
    language: Annotated[str, Option(help="Language that is spoken.")] = "en",
    translate_to: Annotated[str | None, Option(help="Translate into this language.")] = None,
    out: Annotated[str | None, Option(metavar="FIG", help="Picture: .png, .pdf or .svg.")] = None,
    device: Device = "auto",
    cache: Cache = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Transcribe one clip and show where methods say each token came from, beside a reference."""
    from xbench.cli import console, explanation_strips
    from xbench.models.loading import locate
    from xbench.plot.figure import check_target

    calls = [Call.parse(text) for text in method or ["mean-heads"]]
    references = [Call.parse(text) for text in reference or ()]
    locate(model)
    if out:
        check_target(out)
    from xbench.runner.clip import explain

    with console.ProgressReporter() as reporter:
        explanation = explain(
            audio,
            model,
            calls,
            reference=references,
            language=language,
            target_language=translate_to,
            device=device,
            cache=cache,
            trust_remote_code=trust_remote_code,
            reporter=reporter,
        )
        if out:  # before the text: a closed pipe must not cost the picture
            from xbench.plot.explanation import save_explanation

            save_explanation(explanation, out)
    if as_json:
        console.emit_json(explanation.facts())
        return
    explanation_strips.show_explanation(explanation)
    if out:
        console.say(f"picture: {out}")


@app.command("plot")
def plot_command(
    kind: Annotated[
        str, Argument(metavar="KIND", help="forest, heatmap, heads, pareto or compare.")
    ],
    results: Results,
    out: Annotated[str, Option(metavar="FIG", help="Picture: .png, .pdf or .svg.")],
    metric: Annotated[
        str | None, Option(help="METRIC or METRIC@REFERENCE; default: the task's headline.")
    ] = None,
) -> None:
    """Draw results: forest, heatmap (methods x models), heads (layer x head), pareto, compare."""
    from xbench.cli import console
    from xbench.plot.figure import check_target
    from xbench.plot.results import draw
    from xbench.results import load_results

    check_target(out)
    draw(kind, load_results(*results), out, metric)
    console.say(f"picture: {out}")
