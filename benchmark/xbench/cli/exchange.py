"""`xbench diff` and `export`: two results side by side; a result in another form. Thin; imports no torch."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from xbench.cli.options import AsJson

app = Typer()
export = Typer(name="export", help="Results in the form of other places.")


@app.command("diff")
def diff_command(
    first: Annotated[Path, Argument(help="Result file.")],
    second: Annotated[Path, Argument(help="Result file that is compared with it.")],
    as_json: AsJson = False,
) -> None:
    """Say what changed between two results, also in bounds, texts and costs, and which scores differ beyond noise."""
    from xbench.cli import console
    from xbench.cli.difference import changes, outcome_changes, score_changes
    from xbench.results import read_result

    results = read_result(first), read_result(second)
    facts = [asdict(row) for row in changes(*results)]
    outcomes = [asdict(row) for row in outcome_changes(*results)]
    scores = [asdict(row) for row in score_changes(*results)]
    if as_json:
        console.emit_json({"changes": facts, "outcomes": outcomes, "scores": scores})
        return
    console.show_rows("changes", facts)
    for row in outcomes:
        row |= {key: _rounded(row[key], 6) for key in ("first", "second")}
    console.show_rows("changes in bounds, quality, hypotheses and costs", outcomes)
    rounded = {"first": 4, "second": 4, "difference": 4, "p": 4}
    for row in scores:
        row |= {key: _rounded(row[key], digits) for key, digits in rounded.items()}
        row["ci"] = row["ci"] and [_rounded(end, 4) for end in row["ci"]]
    console.show_rows("common scores", scores)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


@export.command("hub")
def hub_command(
    result: Annotated[Path, Argument(help="Result file.")],
    benchmark: Annotated[
        str, Option(metavar="OWNER/NAME", help="Data set of the hub that stands for the benchmark.")
    ],
    url: Annotated[str | None, Option(help="Where the result can be seen.")] = None,
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Folder of the model; default: print the file.")
    ] = None,
) -> None:
    """Write the evaluation-result file of the model hub, marked with the row's status."""
    from xbench.cli import console
    from xbench.cli.hub_export import eval_results
    from xbench.results import read_result
    from xbench.store import write_atomically

    read = read_result(result)
    text = eval_results(read, benchmark, url)
    if out is None:
        console.say(text.rstrip("\n"))
        return
    file = out / ".eval_results" / f"xbench-{read.path().stem}.yaml"
    write_atomically(file.absolute(), text.encode())
    console.say(str(file))
