"""`xbench audit`: what the metrics and the references of a run can be trusted with. Thin."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from typer import Option, Typer

from xbench.cli.options import AsJson, Cache, Device, Results, Texts
from xbench.cli.store import opened
from xbench.errors import UsageError

if TYPE_CHECKING:
    from xbench.results import RunResult

app = Typer(name="audit", help="Say how far metrics and references can be trusted.")


@app.command("metrics")
def metrics_command(
    results: Results,
    metric: Annotated[
        Texts, Option(help="Only these; default: all that compare with a reference.")
    ] = None,
    start: Annotated[
        Texts,
        Option(help="Map to make worse: reference (default), or a method of the results."),
    ] = None,
    sample: Annotated[
        int | None, Option(min=1, help="By intervention: only so many utterances.")
    ] = None,
    model: Annotated[str | None, Option(help="By intervention: where a local model is.")] = None,
    data: Annotated[str | None, Option(metavar="MANIFEST", help="Its clips.")] = None,
    device: Device = "auto",
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Make maps worse in known steps, and say which of the steps each metric tells apart.

    Metrics by intervention (--metric deletion-auc) run the model; all others need the store alone.
    """
    from xbench.cli import audit_tables, console
    from xbench.spec import ExecutionOptions

    given = _given(results)
    from xbench.audit.findings import findings
    from xbench.audit.heard import by_intervention, heard
    from xbench.audit.judged import REFERENCE, judged

    if by_intervention(metric or ()):
        if start and start != [REFERENCE]:
            raise UsageError("--start: metrics by intervention start from the reference")
        found = heard(
            given,
            metrics=metric or (),
            options=ExecutionOptions(cache=cache, device=device),
            sample=sample,
            model=model,
            data=data,
        )
    else:
        found = judged(
            given, metrics=metric or (), starts=start or (REFERENCE,), store=opened(cache)
        )
    rows = findings(found)
    if as_json:
        console.emit_json(
            {
                "task": found.task,
                "model": found.model,
                "seed": found.seed,
                "clips": len(found.ids),
                "clusters": len(set(found.clusters)),
                "findings": [asdict(row) for row in rows],
            }
        )
    else:
        audit_tables.show_findings(found, rows)


@app.command("references")
def references_command(
    results: Results,
    metric: Annotated[Texts, Option(help="Score by these; default: pearson.")] = None,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Judge references by each other: the second ceiling, what another one of equal right would score."""
    from xbench.cli import audit_tables, console

    given = _given(results)
    from xbench.audit.rivals import PEARSON, rivalries

    rows = rivalries(given, metrics=metric or (PEARSON,), store=opened(cache))
    if as_json:
        console.emit_json([asdict(row) for row in rows])
    else:
        audit_tables.show_rivalries(rows)


@app.command("words")
def words_command(
    results: Results,
    top: Annotated[int, Option(min=1, help="How many of the highest frames count.")] = 3,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Say how often the highest frames of references and methods lie in the word, where word times are known."""
    from xbench.cli import audit_tables, console

    given = _given(results)
    from xbench.audit.word_times import word_hits

    rows = word_hits(given, top=top, store=opened(cache))
    if as_json:
        console.emit_json([asdict(row) for row in rows])
    else:
        audit_tables.show_hits(rows, top)


@app.command("prefix")
def prefix_command(
    results: Results,
    masks: Annotated[
        int, Option(min=0, help="Random masks per clip, for the map of earlier tokens (--json).")
    ] = 0,
    p: Annotated[float, Option(min=0, max=1, help="Probability that a token is hidden.")] = 0.5,
    sample: Annotated[
        int | None, Option(min=1, help="Only so many utterances, drawn by the seed.")
    ] = None,
    model: Annotated[str | None, Option(help="Where a local model is.")] = None,
    data: Annotated[str | None, Option(metavar="MANIFEST", help="Its clips.")] = None,
    device: Device = "auto",
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Say how far the texts of a run lean on the audio, and how far on the text before each token; runs the model."""
    from xbench.cli import audit_tables, console
    from xbench.spec import ExecutionOptions

    given = _given(results)
    from xbench.audit.prefix import prefix_audit

    found = prefix_audit(
        given,
        options=ExecutionOptions(cache=cache, device=device),
        masks=masks,
        p=p,
        sample=sample,
        model=model,
        data=data,
    )
    if as_json:
        console.emit_json(asdict(found))
    else:
        audit_tables.show_leaning(found)


def _given(paths: Results) -> "list[RunResult]":
    from xbench.results import load_results

    given = load_results(*paths)
    if not given:
        raise UsageError(f"{paths[0]} holds no result file")
    return given
