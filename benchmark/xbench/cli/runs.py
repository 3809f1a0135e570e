"""`xbench eval` and what is done with its results: `score`, `compare-references`, `submit`, `verify`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from xbench.cli import options, store
from xbench.errors import UsageError
from xbench.spec import Call, ExecutionOptions, RunSpec, Selection

if TYPE_CHECKING:
    from xbench.results import RunResult


@click.command("eval")
@click.option(
    "--model", required=True, help="Registered name, or family:FOLDER-OR-HUB-ID[@revision]."
)
@click.option(
    "--method", required=True, multiple=True, help="Method, name:key=value,...; may be repeated."
)
@click.option(
    "--task",
    multiple=True,
    help="Task, suite or task file; default: core, or asr with --data.",
)
@click.option("--data", metavar="MANIFEST", help="Clips to use instead of the task's.")
@click.option("--preset", help="fast or paper; default: the task's.")
@click.option("--masks", type=int, help="Masks per reference.")
@click.option("--reference", multiple=True, help="Reference instead of the task's.")
@click.option("--metric", multiple=True, help="Metric instead of the task's; +NAME: beside them.")
@click.option(
    "--gates", default="", show_default=False, help="Sanity gates too: all, or names A,B,..."
)
@click.option("--ids", help="Only these utterances: A,B,...")
@click.option("--limit", type=options.COUNT, help="Only the first N utterances.")
@click.option("--output", default="results", metavar="DIR", help="Folder for results.")
@options.cache
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of masks and bootstrap.")
@options.device
@click.option("--precision", default="auto", help="auto, float32 or bfloat16.")
@click.option("--batch-size", default="auto", help="Masks per forward pass, or auto.")
@options.trust_remote_code
@click.option("--plan", is_flag=True, help="Only say what it would take.")
@options.as_json
def evaluate_command(
    model: str,
    method: Sequence[str],
    task: Sequence[str],
    data: str | None,
    preset: str | None,
    masks: int | None,
    reference: Sequence[str],
    metric: Sequence[str],
    gates: str,
    ids: str | None,
    limit: int | None,
    output: str,
    cache: str | None,
    seed: int,
    device: str,
    precision: str,
    batch_size: str,
    trust_remote_code: bool,
    plan: bool,
    as_json: bool,
) -> None:
    """Score explanation methods of a model on tasks, write results and print a table."""
    if precision not in ("auto", "float32", "bfloat16"):
        raise UsageError(f"--precision '{precision}' is not auto, float32 or bfloat16")
    if ids is not None and not ids.strip(","):
        raise UsageError("--ids is empty; name utterances, or leave it out to take all")
    spec = RunSpec(
        model=model,
        methods=tuple(Call.parse(text) for text in method),
        tasks=tuple(task) or (("asr",) if data else ("core",)),
        data=data,
        preset=preset,
        masks=masks,
        references=tuple(Call.parse(text) for text in reference),
        metrics=tuple(Call.parse(text) for text in metric),
        selection=Selection(tuple(filter(None, (ids or "").split(","))), limit),
        seed=seed,
        precision=precision,  # type: ignore[arg-type]  # checked above
        trust_remote_code=trust_remote_code,
        gates=tuple(filter(None, gates.split(","))),
    )
    execution = ExecutionOptions(output, cache, device, _batch_size(batch_size))
    from xbench import console
    from xbench.runner.plan import prepare

    prepare(spec)  # every complaint about names and files comes before torch is loaded
    from xbench.runner.evaluate import evaluate

    if plan:
        from xbench.runner.estimate import estimate

        estimates = estimate(spec, execution)
        console.emit_json(estimates) if as_json else console.show_plan(estimates)
        return
    try:
        with console.ProgressReporter() as reporter:
            results = evaluate(spec, execution, reporter)
    except KeyboardInterrupt:
        console.error("interrupted: what was finished is kept; the same command goes on from there")
        raise Exit(130) from None
    if as_json:
        console.emit_json([json.loads(result.to_json()) for result in results])
    else:
        console.show_results(results, Path(output))
    # What a model or a method cannot do is a result; 1 is for clips, and for a run without any score.
    nothing = all(r.status in ("failed", "unsupported") for r in results)
    if nothing or any(r.failures for r in results):
        raise Exit(1)


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--batch-size '{text}' is not auto or a whole number from 1")
    return int(text)


@click.command("score")
@options.results
@click.option("--metric", multiple=True, help="Metric instead of the result's; +NAME: beside them.")
@click.option(
    "--scoring", multiple=True, metavar="KEY=VALUE", help="Scoring option, pool_time=mean."
)
@click.option(
    "--maps",
    type=options.PATH,
    metavar="DIR",
    help="Score these maps (maps.json, arrays) on the result's run.",
)
@click.option("--output", default="results/rescored", metavar="DIR", help="Folder.")
@options.cache
@options.as_json
def score_command(
    results: Sequence[Path],
    metric: Sequence[str],
    scoring: Sequence[str],
    maps: Path | None,
    output: str,
    cache: str | None,
    as_json: bool,
) -> None:
    """Score again from stored maps, references and hypotheses; loads no model."""
    from xbench import console
    from xbench.results import load_results

    loaded = _some(load_results(*results), results)
    from xbench.runner.rescore import change_from, rescore

    change = change_from(metric, scoring)
    if maps is None:
        rescored = rescore(loaded, store.opened(cache), change)
    else:
        from xbench.runner.outside import read_maps, score_maps

        if len(loaded) > 1:
            raise UsageError(f"--maps scores on one run; give one of the {len(loaded)} results")
        rescored = [score_maps(loaded[0], read_maps(maps), store.opened(cache), change)]
    for result in rescored:
        result.write(Path(output))
    if as_json:
        console.emit_json([json.loads(result.to_json()) for result in rescored])
    else:
        console.show_results(rescored, Path(output))


def _some(loaded: list[RunResult], paths: Sequence[Path]) -> list[RunResult]:
    if not loaded:
        raise UsageError(f"{paths[0]} holds no result file")
    return loaded


@click.command("compare-references")
@click.argument(
    "results", nargs=-1, required=True, type=options.PATH, help="Results of one model on one task."
)
@click.option("--metric", multiple=True, help="Only these metrics.")
@click.option(
    "--scoring", multiple=True, metavar="KEY=VALUE", help="Another scoring, pool_time=mean."
)
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="METHOD",
    help="Take the maps of this method as a reference.",
)
@options.cache
@options.as_json
def compare_references_command(
    results: Sequence[Path],
    metric: Sequence[str],
    scoring: Sequence[str],
    maps: Sequence[str],
    cache: str | None,
    as_json: bool,
) -> None:
    """Say whether the ranking of methods survives another reference, pooling or metric (Kendall's tau-b)."""
    from xbench import console
    from xbench.results import load_results

    loaded = _some(load_results(*results), results)
    from xbench.runner.stability import compare_references

    found = compare_references(
        loaded, metrics=metric, scoring=scoring, maps=maps, store=store.opened(cache)
    )
    if as_json:
        console.emit_json([asdict(row) for row in found])
    else:
        console.show_stability(found)


@click.command("submit")
@click.argument("result", type=options.PATH, help="Result file of `xbench eval`.")
@click.option(
    "--to",
    type=options.PATH,
    default=Path("submissions"),
    metavar="DIR",
    help="Folder of submissions.",
)
def submit_command(result: Path, to: Path) -> None:
    """Check a result, place it under submissions/ and say what to do next."""
    from xbench import console
    from xbench.submission import next_steps, submit

    console.say(next_steps(submit(result, to)))


@click.command("verify")
@click.argument("result", type=options.PATH, help="Result file.")
@click.option("--sample", type=options.COUNT, help="Only so many utterances, drawn by the seed.")
@click.option("--model", help="Where a local model is.")
@click.option("--data", metavar="MANIFEST", help="Its clips.")
@options.device
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.01,
    help="Difference of scores allowed.",
)
@options.as_json
def verify_command(
    result: Path,
    sample: int | None,
    model: str | None,
    data: str | None,
    device: str,
    tolerance: float,
    as_json: bool,
) -> None:
    """Run utterances of a result again from nothing and compare hypotheses and scores."""
    from xbench import console
    from xbench.results import read_result

    loaded = read_result(result)
    from xbench.runner.verify import verify

    with console.ProgressReporter() as reporter:
        checked = verify(
            loaded,
            sample=sample,
            model=model,
            data=data,
            device=device,
            tolerance=tolerance,
            reporter=reporter,
        )
    differing = [row for row in checked if not row.agrees]
    if as_json:
        console.emit_json([asdict(row) for row in checked])
    else:
        for row in differing:
            console.error(f"{row.id}: {row.column}: {row.stored} in the file, {row.again} now")
        n = len({row.id for row in checked})
        console.say(
            f"{n} utterances run again: {len(checked) - len(differing)} of {len(checked)} values agree"
        )
    if differing:
        raise Exit(1)
