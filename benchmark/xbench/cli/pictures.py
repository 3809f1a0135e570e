"""`xbench explain` and `xbench plot`: one clip, and results, as pictures."""

from typing import Annotated

from typer import Argument, Option, Typer

from xbench.cli.options import Device, Results, TrustRemoteCode
from xbench.spec import Call

app = Typer()


@app.command("explain")
def explain_command(
    audio: Annotated[str, Argument(help="WAV, FLAC, OGG or MP3.")],
    model: Annotated[str, Option(help="Registered name, or family:FOLDER-OR-HUB-ID.")],
    method: Annotated[str, Option(help="Method, name:key=value,...")],
    language: Annotated[str, Option(help="Language that is spoken.")] = "en",
    translate_to: Annotated[str | None, Option(help="Translate into this language.")] = None,
    out: Annotated[str | None, Option(metavar="FIG", help="Picture: .png, .pdf or .svg.")] = None,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Transcribe one clip and show where a method says each token came from."""
    from xbench.cli import console, explanation_strips
    from xbench.models.loading import locate
    from xbench.plot.explanation import save_explanation
    from xbench.plot.figure import check_target

    locate(model)
    if out:
        check_target(out)
    from xbench.runner.clip import explain

    explanation = explain(
        audio,
        model,
        Call.parse(method),
        language=language,
        target_language=translate_to,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    if out:  # before the text: a closed pipe must not cost the picture
        save_explanation(explanation, out)
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
