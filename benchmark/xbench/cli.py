"""The command line: thin over `xbench.evaluate` and the registries; imports no torch by itself."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from xbench.cli_data import data_app
from xbench.cli_examples import examples_app
from xbench.cli_report import report_app
from xbench.errors import EnvironmentProblem, UsageError, XbenchError
from xbench.site.cli import leaderboard_app
from xbench.spec import Call, ExecutionOptions, RunSpec, Selection

app = typer.Typer(
    name="xbench",
    help="Measure how faithful attention-based explanations of speech-to-text models are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cache_app = typer.Typer(help="The store of hypotheses, references and maps.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")
app.add_typer(data_app, name="data")
app.add_typer(examples_app, name="examples")
app.add_typer(leaderboard_app, name="leaderboard")
app.add_typer(report_app, name="report")

KINDS = ("models", "methods", "metrics", "references", "tasks", "datasets", "plugins")

_AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
_Cache = Annotated[str | None, typer.Option("--cache", metavar="DIR", help="Store folder.")]


@app.command("eval")
def evaluate_command(
    model: Annotated[
        str, typer.Option(help="Registered name, or family:FOLDER-OR-HUB-ID[@revision].")
    ],
    method: Annotated[list[str], typer.Option(help="Method, name:key=value,...; may be repeated.")],
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task, suite or task file; default: core, or asr with --data."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="MANIFEST", help="Clips to use instead of the task's.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="fast or paper; default: the task's.")] = None,
    masks: Annotated[int | None, typer.Option(help="Masks per reference.")] = None,
    reference: Annotated[
        list[str] | None, typer.Option(help="Reference instead of the task's.")
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Metric instead of the task's.")] = None,
    gates: Annotated[
        str | None, typer.Option(help="Sanity gates too: all, or names A,B,...")
    ] = None,
    ids: Annotated[str | None, typer.Option(help="Only these utterances: A,B,...")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N utterances.")] = None,
    output: Annotated[str, typer.Option(metavar="DIR", help="Folder for results.")] = "results",
    cache: _Cache = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of masks and bootstrap.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    batch_size: Annotated[str, typer.Option(help="Masks per forward pass, or auto.")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option(help="Allow code from the checkpoint.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would take.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Score explanation methods of a model on tasks, write results and print a table."""
    if precision not in ("auto", "float32", "bfloat16"):
        raise UsageError(f"--precision '{precision}' is not auto, float32 or bfloat16")
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
    options = ExecutionOptions(output, cache, device, _batch_size(batch_size))
    from xbench import console
    from xbench.runner.plan import prepare

    prepare(spec)  # every complaint about names and files comes before torch is loaded
    from xbench.runner.evaluate import evaluate

    if plan:
        from xbench.runner.estimate import estimate

        estimates = estimate(spec, options)
        console.emit_json(estimates) if as_json else console.show_plan(estimates)
        return
    try:
        with console.ProgressReporter() as reporter:
            results = evaluate(spec, options, reporter)
    except KeyboardInterrupt:
        console.error("interrupted: what was finished is kept; the same command goes on from there")
        raise typer.Exit(130) from None
    if as_json:
        console.emit_json([json.loads(result.to_json()) for result in results])
    else:
        console.show_results(results, Path(output))
    if any(r.failures or r.status in ("failed", "unsupported") for r in results):
        raise typer.Exit(1)


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--batch-size '{text}' is not auto or a whole number from 1")
    return int(text)


@app.command("score")
def score_command(
    results: Annotated[list[Path], typer.Argument(help="Result files, or folders of them.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric instead of the result's.")
    ] = None,
    scoring: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Scoring option, pool_time=mean.")
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Score these maps (maps.json, arrays) on the result's run."
        ),
    ] = None,
    output: Annotated[str, typer.Option(metavar="DIR", help="Folder.")] = "results/rescored",
    cache: _Cache = None,
    as_json: _AsJson = False,
) -> None:
    """Score again from stored maps, references and hypotheses; loads no model."""
    from xbench import console
    from xbench.results import load_results

    loaded = _some(load_results(*results), results)
    from xbench.runner.rescore import change_from, rescore

    change = change_from(metric or (), scoring or ())
    if maps is None:
        rescored = rescore(loaded, _store(cache), change)
    else:
        from xbench.runner.outside import read_maps, score_maps

        if len(loaded) > 1:
            raise UsageError(f"--maps scores on one run; give one of the {len(loaded)} results")
        rescored = [score_maps(loaded[0], read_maps(maps), _store(cache), change)]
    for result in rescored:
        result.write(Path(output))
    if as_json:
        console.emit_json([json.loads(result.to_json()) for result in rescored])
    else:
        console.show_results(rescored, Path(output))


def _some(loaded: list[Any], paths: list[Path]) -> list[Any]:
    if not loaded:
        raise UsageError(f"{paths[0]} holds no result file")
    return loaded


@app.command("compare-references")
def compare_references_command(
    results: Annotated[list[Path], typer.Argument(help="Results of one model on one task.")],
    metric: Annotated[list[str] | None, typer.Option(help="Only these metrics.")] = None,
    scoring: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Another scoring, pool_time=mean.")
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="METHOD", help="Take the maps of this method as a reference."
        ),
    ] = None,
    cache: _Cache = None,
    as_json: _AsJson = False,
) -> None:
    """Say whether the ranking of methods survives another reference, pooling or metric (Kendall's tau-b)."""
    from dataclasses import asdict

    from xbench import console
    from xbench.results import load_results

    loaded = _some(load_results(*results), results)
    from xbench.runner.stability import compare_references

    found = compare_references(
        loaded, metrics=metric or (), scoring=scoring or (), maps=maps or (), store=_store(cache)
    )
    if as_json:
        console.emit_json([asdict(row) for row in found])
    else:
        console.show_stability(found)


@app.command("submit")
def submit_command(
    result: Annotated[Path, typer.Argument(help="Result file of `xbench eval`.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder of submissions.")] = Path(
        "submissions"
    ),
) -> None:
    """Check a result, place it under submissions/ and say what to do next."""
    from xbench import console
    from xbench.submission import next_steps, submit

    console.say(next_steps(submit(result, to)))


@app.command("verify")
def verify_command(
    result: Annotated[Path, typer.Argument(help="Result file.")],
    sample: Annotated[
        int | None, typer.Option(min=1, help="Only so many utterances, drawn by the seed.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Where a local model is.")] = None,
    data: Annotated[str | None, typer.Option(metavar="MANIFEST", help="Its clips.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    tolerance: Annotated[float, typer.Option(min=0, help="Difference of scores allowed.")] = 0.01,
    as_json: _AsJson = False,
) -> None:
    """Run utterances of a result again from nothing and compare hypotheses and scores."""
    from dataclasses import asdict

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
        raise typer.Exit(1)


@app.command("explain")
def explain_command(
    audio: Annotated[str, typer.Argument(help="WAV, FLAC, OGG or MP3.")],
    model: Annotated[str, typer.Option(help="Registered name, or family:FOLDER-OR-HUB-ID.")],
    method: Annotated[str, typer.Option(help="Method, name:key=value,...")],
    language: Annotated[str, typer.Option(help="Language that is spoken.")] = "en",
    translate_to: Annotated[str | None, typer.Option(help="Translate into this language.")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FIG", help="Picture: .png, .pdf or .svg.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option(help="Allow code from the checkpoint.")
    ] = False,
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


@app.command("plot")
def plot_command(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="forest, heatmap, heads, pareto or compare.")
    ],
    results: Annotated[list[Path], typer.Argument(help="Result files, or folders of them.")],
    out: Annotated[str, typer.Option(metavar="FIG", help="Picture: .png, .pdf or .svg.")],
    metric: Annotated[
        str | None, typer.Option(help="METRIC or METRIC@REFERENCE; default: the task's headline.")
    ] = None,
) -> None:
    """Draw results: forest, heatmap (methods x models), heads (layer x head), pareto, compare."""
    from xbench import console
    from xbench.plot.figure import check_target
    from xbench.plot.results import draw
    from xbench.results import load_results

    check_target(out)
    draw(kind, load_results(*results), out, metric)
    console.say(f"picture: {out}")


@app.command("list")
def list_command(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))], as_json: _AsJson = False
) -> None:
    """List what is registered."""
    from xbench import console, listing

    rows = listing.rows(kind, KINDS)
    console.emit_json(rows) if as_json else console.show_rows(kind, rows)


@app.command("show")
def show_command(
    kind: Annotated[str, typer.Argument(help="model, method, metric, reference, task or dataset")],
    name: Annotated[str, typer.Argument()],
    as_json: _AsJson = False,
) -> None:
    """Show everything known about one thing."""
    from xbench import console, listing

    facts = listing.facts(kind, name)
    console.emit_json(facts) if as_json else console.show_facts(facts)


@app.command("validate")
def validate_command(
    paths: Annotated[
        list[Path], typer.Argument(help="Task files, manifests, results, bundles, folders.")
    ],
) -> None:
    """Check task files, manifests, results and bundles; tell every problem with its place."""
    from xbench import console, listing

    files = [file for path in paths for file in listing.files_below(path)]
    broken = [problem for file in files for problem in listing.file_problems(file)]
    for problem in broken:
        console.error(problem)
    if broken:
        raise typer.Exit(2)
    for warning in [text for file in files for text in listing.file_warnings(file)]:
        console.warn(warning)
    console.say(f"{len(files)} file{'s' if len(files) > 1 else ''} valid")


@app.command("check")
def check_command(
    kind: Annotated[str, typer.Argument(help="method, metric or model")],
    name: Annotated[
        str, typer.Argument(help="Registered name, with parameters if wanted; or a model.")
    ],
    model: Annotated[str, typer.Option(help="Model to try a method on.")] = "xbench-tiny",
    language: Annotated[str, typer.Option(help="Language to tell a model.")] = "en",
    trust_remote_code: Annotated[
        bool, typer.Option(help="Allow code from the checkpoint.")
    ] = False,
    as_json: _AsJson = False,
) -> None:
    """Run the contract battery that built-ins and plugins must pass."""
    from dataclasses import asdict

    from xbench import console, registry

    # An unknown name is told before torch is loaded.
    if kind == "method":
        registry.methods.get(Call.parse(name).name)
        from xbench.testing import check_method

        results = check_method(name, model)
    elif kind == "metric":
        registry.metrics.get(Call.parse(name).name)
        from xbench.testing import check_metric

        results = check_metric(name)
    elif kind == "model":
        from xbench.models.loading import locate

        locate(name)
        from xbench.testing import check_model

        results = check_model(name, language=language, trust_remote_code=trust_remote_code)
    else:
        raise UsageError(f"cannot check a '{kind}'; there is a battery for: method, metric, model")
    rows = [asdict(result) for result in results]
    console.emit_json(rows) if as_json else console.show_rows("checks", rows)
    if not all(result.ok for result in results) or all(r.status == "skipped" for r in results):
        raise typer.Exit(1)


@app.command("new")
def new_command(
    kind: Annotated[str, typer.Argument(help="method, metric or task")],
    name: Annotated[str, typer.Argument(help="Of the package and of what it registers.")],
    folder: Annotated[Path, typer.Option("--in", metavar="DIR", help="Where to make it.")] = Path(),
) -> None:
    """Make a working plugin package with a test."""
    from xbench import console, scaffold

    for file in scaffold.new(kind, name, folder):
        console.say(str(file))
    console.say(f"next: pip install -e {folder / name} && python -m pytest {folder / name}")


@app.command("doctor")
def doctor_command(as_json: _AsJson = False) -> None:
    """Say what this machine can and cannot do."""
    from xbench import console
    from xbench.doctor import examine

    facts = examine()
    console.emit_json(facts) if as_json else console.show_facts(facts)


@cache_app.command("info")
def cache_info(cache: _Cache = None, as_json: _AsJson = False) -> None:
    """Say where the store is and what it holds."""
    from xbench import console

    store = _store(cache)
    facts: dict[str, Any] = {"folder": str(store.folder)}
    for kind, row in store.summary().items():
        facts[kind] = row if as_json else f"{row['artefacts']} ({row['bytes'] / 1e6:.1f} MB)"
    console.emit_json(facts) if as_json else console.show_facts(facts)


@cache_app.command("verify")
def cache_verify(cache: _Cache = None) -> None:
    """Read every artefact and compare its checksum."""
    from xbench import console

    problems = _store(cache).verify()
    for problem in problems:
        console.error(problem)
    if problems:
        raise typer.Exit(1)
    console.say("every artefact is sound")


@cache_app.command("clear")
def cache_clear(
    cache: _Cache = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete every artefact of the store."""
    from xbench import console

    store = _store(cache)
    if not yes and not typer.confirm(f"Delete all artefacts in {store.folder}?"):
        raise typer.Exit(0)
    console.say(f"{store.clear()} artefacts deleted")


def _store(cache: str | None) -> Any:
    from xbench.store import Store, default_folder

    return Store(Path(cache) if cache else default_folder())


@app.command("version")
def version_command() -> None:
    """Print the version."""
    from importlib.metadata import version

    from xbench import console

    console.say(version("xbench"))


def main() -> None:
    """Run the command line; every error becomes one message and an exit code."""
    # Set before torch loads: no telemetry, no tokenizer threads beside torch's own.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        app()
    except XbenchError as problem:
        _fail(str(problem), problem.exit_code)
    except MemoryError:
        _fail("out of memory; use a smaller --batch-size", EnvironmentProblem.exit_code)
    except Exception:  # noqa: BLE001  # the last resort: a bug still ends with its exit code
        traceback.print_exc()
        _fail("this is a bug in xbench or a plugin; please report the lines above", 3)


def _fail(message: str, exit_code: int) -> None:
    from xbench import console

    console.error(message)
    sys.exit(exit_code)
