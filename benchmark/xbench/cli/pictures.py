"""`xbench explain` and `xbench plot`: one clip, and results, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from xbench.cli import options
from xbench.spec import Call


@click.command("explain")
@click.argument("audio", help="WAV, FLAC, OGG or MP3.")
@click.option("--model", required=True, help="Registered name, or family:FOLDER-OR-HUB-ID.")
@click.option("--method", required=True, help="Method, name:key=value,...")
@click.option("--language", default="en", help="Language that is spoken.")
@click.option("--translate-to", help="Translate into this language.")
@click.option("--out", metavar="FIG", help="Picture: .png, .pdf or .svg.")
@options.device
@options.trust_remote_code
def explain_command(
    audio: str,
    model: str,
    method: str,
    language: str,
    translate_to: str | None,
    out: str | None,
    device: str,
    trust_remote_code: bool,
) -> None:
    """Transcribe one clip and show where a method says each token came from."""
    from xbench import console
    from xbench.models.loading import locate
    from xbench.plot.explanation import save_explanation
    from xbench.plot.figure import check_target

    locate(model)
    if out:
        check_target(out)
    from xbench.explain import explain

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
    console.show_explanation(explanation)
    if out:
        console.say(f"picture: {out}")


@click.command("plot")
@click.argument("kind", metavar="KIND", help="forest, heatmap, heads, pareto or compare.")
@options.results
@click.option("--out", required=True, metavar="FIG", help="Picture: .png, .pdf or .svg.")
@click.option("--metric", help="METRIC or METRIC@REFERENCE; default: the task's headline.")
def plot_command(kind: str, results: Sequence[Path], out: str, metric: str | None) -> None:
    """Draw results: forest, heatmap (methods x models), heads (layer x head), pareto, compare."""
    from xbench import console
    from xbench.plot.figure import check_target
    from xbench.plot.results import draw
    from xbench.results import load_results

    check_target(out)
    draw(kind, load_results(*results), out, metric)
    console.say(f"picture: {out}")
