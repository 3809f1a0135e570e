"""`xbench eval` and what is done with its results: `score`, `compare-references`, `submit`."""

import gc
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from typer import Argument, Exit, Option, Typer

from xbench.cli.options import AsJson, Cache, Device, Ids, Results, Texts, TrustRemoteCode
from xbench.cli.store import opened
from xbench.errors import UsageError
from xbench.spec import Call, ExecutionOptions, PrecisionName, RunSpec, Selection, Shard

if TYPE_CHECKING:
    from xbench.results import RunResult
    from xbench.runner.plan import Plan
    from xbench.runner.progress import Reporter

app = Typer()

_PRECISIONS = " or ".join(", ".join(get_args(PrecisionName)).rsplit(", ", 1))


@app.command("eval")
def evaluate_command(
    model: Annotated[
        str, Option(help="Registered name, or family:FOLDER-OR-HUB-ID, also with @revision.")
    ],
    method: Annotated[
        list[str], Option(help="Method, name:key=value,..., or FILE.py:NAME; may be repeated.")
    ],
    task: Annotated[
        Texts, Option(help="Task, suite, task file or folder; default: core, or asr with --data.")
    ] = None,
    data: Annotated[
        str | None, Option(metavar="MANIFEST", help="Clips to use instead of the task's.")
    ] = None,
    preset: Annotated[str | None, Option(help="fast or paper; default: the task's.")] = None,
    masks: Annotated[int | None, Option(help="Masks per reference.")] = None,
    reference: Annotated[
        Texts, Option(help="Reference, or FILE.py:NAME, instead of the task's.")
    ] = None,
    metric: Annotated[
        Texts, Option(help="Metric instead of the task's; +NAME: beside them.")
    ] = None,
    gates: Annotated[str | None, Option(help="Sanity gates too: all, or names A,B,...")] = None,
    ids: Ids = None,
    limit: Annotated[int | None, Option(min=1, help="Only the first N utterances.")] = None,
    output: Annotated[str, Option(metavar="DIR", help="Folder for results.")] = "results",
    cache: Cache = None,
    fresh: Annotated[bool, Option("--fresh", help="Make maps again that are stored.")] = False,
    method_timeout: Annotated[
        float | None,
        Option(metavar="SECONDS", min=0.001, help="Time a method may take per utterance."),
    ] = None,
    seed: Annotated[int, Option(min=0, help="Seed of masks and bootstrap.")] = 0,
    device: Device = "auto",
    precision: Annotated[str, Option(help=f"{_PRECISIONS}.")] = "auto",
    batch_size: Annotated[str, Option(help="Masks per forward pass, or auto.")] = "auto",
    executor: Annotated[str, Option(help="local, or ray for a cluster.")] = "local",
    workers: Annotated[
        int | None, Option(min=1, help="Processes that share the utterances.")
    ] = None,
    gpus_per_worker: Annotated[
        float | None, Option(min=0.01, help="GPUs of each of them; 0.5: two share one.")
    ] = None,
    address: Annotated[
        str | None, Option(help="Of the Ray cluster; default: this machine.")
    ] = None,
    shard: Annotated[
        str | None, Option(metavar="I/N", help="Only part I of N, without results; see docs.")
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    plan: Annotated[bool, Option("--plan", help="Only say what it would take.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score explanation methods of a model on tasks, write results and print a table."""
    if precision not in get_args(PrecisionName):
        raise UsageError(f"--precision '{precision}' is not {_PRECISIONS}")
    if ids is not None and not ids.strip(","):
        raise UsageError("--ids is empty; name utterances, or leave it out to take all")
    spec = RunSpec(
        model=model,
        methods=tuple(Call.parse(text) for text in method),
        tasks=tuple(task or ()) or (("asr",) if data else ("core",)),
        data=data,
        preset=preset,
        masks=masks,
        references=tuple(Call.parse(text) for text in reference or ()),
        metrics=tuple(Call.parse(text) for text in metric or ()),
        selection=Selection(tuple(filter(None, (ids or "").split(","))), limit),
        seed=seed,
        precision=precision,  # type: ignore[arg-type]  # checked above
        trust_remote_code=trust_remote_code,
        gates=tuple(filter(None, (gates or "").split(","))),
    )
    _refuse_file(output)
    execution = ExecutionOptions(
        output,
        cache,
        device,
        _batch_size(batch_size),
        method_timeout,
        fresh,
        _executor(executor, address),
        workers,
        gpus_per_worker,
        address,
    )
    part = None if shard is None else Shard.parse(shard)
    if part is not None and not execution.alone:
        raise UsageError("--shard is one process on its own; leave --executor and --workers out")
    from xbench.cli import console, result_tables
    from xbench.runner.plan import prepare

    prepared = prepare(spec)  # every complaint about names and files comes before torch is loaded
    from xbench.runner.evaluate import carry_out

    gc.freeze()  # what was imported stays: the collector need not walk through torch again and again
    if plan:
        from xbench.runner.estimate import estimate

        estimates = estimate(prepared, execution)
        console.emit_json(estimates) if as_json else console.show_plan(estimates)
        return
    try:
        with console.ProgressReporter() as reporter:
            if part is not None:
                failed = _work_on(part, prepared, execution, reporter)
                raise Exit(1 if failed else 0)
            results = carry_out(prepared, execution, reporter)
    except KeyboardInterrupt:
        console.error("interrupted: what was finished is kept; the same command goes on from there")
        raise Exit(130) from None
    if as_json:
        console.emit_json([json.loads(result.to_json()) for result in results])
    else:
        result_tables.show_results(results, Path(output))
    # What a model or a method cannot do is a result; 1 is for clips, and for a run without any score.
    nothing = all(r.status in ("failed", "unsupported") for r in results)
    if nothing or any(r.failures for r in results):
        raise Exit(1)


def _refuse_file(output: str) -> None:
    """Refuse what cannot become a folder before anything is computed."""
    for path in (Path(output), *Path(output).parents):
        if path.is_file():
            raise UsageError(f"--output {output}: {path} is a file; give a folder")


def _executor(name: str, address: str | None) -> Literal["local", "ray"]:
    if name not in ("local", "ray"):
        raise UsageError(f"--executor '{name}' is not local or ray")
    if address and name != "ray":
        raise UsageError("--address is of a Ray cluster; add --executor ray")
    return name  # type: ignore[return-value]  # one of the two


def _work_on(
    part: Shard, prepared: "Plan", execution: ExecutionOptions, reporter: "Reporter"
) -> bool:
    from xbench.cli import console
    from xbench.runner.shard import run_shard

    done = run_shard(prepared, execution, part, reporter)
    console.say(
        f"part {part.index} of {part.of} is in the store: {done.utterances - len(done.failures)} of {done.utterances} "
        "utterances; once all parts are, the same command without --shard writes the results"
    )
    return bool(done.failures)


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--batch-size '{text}' is not auto or a whole number from 1")
    return int(text)


@app.command("score")
def score_command(
    results: Results,
    metric: Annotated[
        Texts, Option(help="Metric instead of the result's; +NAME: beside them.")
    ] = None,
    scoring: Annotated[
        Texts, Option(metavar="KEY=VALUE", help="Scoring option, pool_time=mean.")
    ] = None,
    maps: Annotated[
        Path | None,
        Option(metavar="DIR", help="Score these maps (maps.json, arrays) on the result's run."),
    ] = None,
    output: Annotated[str, Option(metavar="DIR", help="Folder.")] = "results/rescored",
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Score again from stored maps, references and hypotheses; loads no model."""
    from xbench.cli import console, result_tables
    from xbench.results import load_results

    _refuse_file(output)
    given = _some(load_results(*results), results)
    from xbench.runner.rescore import change_from, rescore

    gc.freeze()  # as for `eval`

    change = change_from(metric or (), scoring or ())
    if maps is None:
        rescored = rescore(given, opened(cache), change)
    else:
        from xbench.runner.outside import read_maps, score_outside

        if len(given) > 1:
            raise UsageError(f"--maps scores on one run; give one of the {len(given)} results")
        rescored = [score_outside(given[0], read_maps(maps), opened(cache), change)]
    for result in rescored:
        result.write(Path(output))
    if as_json:
        console.emit_json([json.loads(result.to_json()) for result in rescored])
    else:
        result_tables.show_results(rescored, Path(output))


def _some(given: "list[RunResult]", paths: list[Path]) -> "list[RunResult]":
    if not given:
        raise UsageError(f"{paths[0]} holds no result file")
    return given


@app.command("compare-references")
def compare_references_command(
    results: Annotated[list[Path], Argument(help="Results of one model on one task.")],
    metric: Annotated[Texts, Option(help="Only these metrics.")] = None,
    scoring: Annotated[
        Texts, Option(metavar="KEY=VALUE", help="Another scoring, pool_time=mean.")
    ] = None,
    maps: Annotated[
        Texts,
        Option("--map", metavar="METHOD", help="Take the maps of this method as a reference."),
    ] = None,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the ranking of methods survives another reference, pooling or metric (Kendall's tau-b)."""
    from xbench.cli import console, result_tables
    from xbench.results import load_results

    given = _some(load_results(*results), results)
    from xbench.runner.stability import compare_references

    found = compare_references(
        given, metrics=metric or (), scoring=scoring or (), maps=maps or (), store=opened(cache)
    )
    if as_json:
        console.emit_json([asdict(row) for row in found])
    else:
        result_tables.show_stability(found)


@app.command("submit")
def submit_command(
    result: Annotated[Path, Argument(help="Result file of `xbench eval`.")],
    to: Annotated[Path, Option(metavar="DIR", help="Folder of submissions.")] = Path("submissions"),
    local: Annotated[
        bool, Option("--local", help="Also one that others cannot make again; the site says so.")
    ] = False,
) -> None:
    """Check a result, place it under submissions/ and say what to do next."""
    from xbench.cli import console
    from xbench.cli.submission import next_steps, submit

    console.say(next_steps(submit(result, to, local=local)))
