"""`xbench heads`: which heads of a model agree with the reference, and which of them to use."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option, Typer

from xbench.cli.options import AsJson, Cache, Device, TrustRemoteCode
from xbench.cli.store import opened
from xbench.errors import UsageError
from xbench.spec import Call, ExecutionOptions, RunSpec

if TYPE_CHECKING:
    from xbench.decisions.heads import Purposes
    from xbench.results import Interval
    from xbench.runner.heads import HeadRanking

app = Typer()

_SHOWN = 20  # heads of the table, where more cannot be told apart from the best


@app.command("heads")
def heads_command(
    model: Annotated[str, Argument(help="Registered name, or family:FOLDER-OR-HUB-ID.")],
    task: Annotated[str | None, Option(help="One task; default: asr with --data.")] = None,
    data: Annotated[
        str | None, Option(metavar="MANIFEST", help="Clips to use instead of the task's.")
    ] = None,
    most: Annotated[int, Option("--most", min=1, help="Heads that the set may have.")] = 10,
    purpose: Annotated[
        str, Option("--for", help="Order by explanation, timing or streaming; all three are told.")
    ] = "explanation",
    metric: Annotated[str | None, Option(help="Metric instead of the task's headline.")] = None,
    reference: Annotated[str | None, Option(help="Reference instead of the task's.")] = None,
    masks: Annotated[int | None, Option(help="Masks per reference.")] = None,
    preset: Annotated[str | None, Option(help="fast or paper; default: the task's.")] = None,
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write alignment_heads; keeps an existing file's other keys."),
    ] = None,
    picture: Annotated[
        str | None, Option(metavar="FIG", help="Layer x head picture: .png, .pdf or .svg.")
    ] = None,
    cache: Cache = None,
    seed: Annotated[int, Option(min=0, help="Seed of masks, halves and tests.")] = 0,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Rank all cross-attention heads by agreement with the reference, and choose the best set on other clips."""
    from xbench.cli import console

    if task is None and data is None:
        raise UsageError(
            "name the clips to rank heads on: --task NAME (see `xbench list tasks`) or --data MANIFEST"
        )
    if out is not None and out.is_dir():
        raise UsageError(
            f"{out} is a folder; name the file, such as {out / 'generation_config.json'}"
        )
    if picture:
        from xbench.plot.figure import check_target

        check_target(picture)
    spec = RunSpec(
        model=model,
        methods=(),
        tasks=(task or "asr",),
        data=data,
        preset=preset,
        masks=masks,
        references=(Call.parse(reference),) if reference else (),
        metrics=(Call.parse(metric),) if metric else (),
        seed=seed,
        trust_remote_code=trust_remote_code,
    )
    from xbench.decisions.heads import check_purpose, heads_for
    from xbench.runner.heads import heads_plan, rank_heads, write_alignment_heads

    # Complaints about names and files come before the model is loaded.
    check_purpose(purpose, heads_plan(spec, most).tasks[0].manifest)
    try:
        with console.ProgressReporter() as reporter:
            found = rank_heads(spec, most, ExecutionOptions(cache=cache, device=device), reporter)
    except KeyboardInterrupt:
        console.error("interrupted: what was finished is kept; the same command goes on from there")
        raise Exit(130) from None
    purposes = heads_for(found.single, purpose, store=opened(cache))
    chosen = found.recommended if purpose == "explanation" else [list(purposes.best[purpose])]
    if out is not None and chosen:
        write_alignment_heads(out, chosen)
    if picture:
        from xbench.plot.results import draw

        draw("heads", found.single, picture)
    if as_json:
        said = asdict(found)
        del said["single"]
        console.emit_json({**said, "recommended": chosen, "purposes": asdict(purposes)})
    else:
        _show(found, purposes)
        console.say(f"use these (layer, head): {chosen}")
        if out is not None and chosen:
            console.say(f"alignment_heads: {out}")
        if picture:
            console.say(f"picture: {picture}")
    if found.failures or not chosen:
        raise Exit(1)


def _show(found: "HeadRanking", purposes: "Purposes") -> None:
    from xbench.cli import console

    group = [head for head in found.heads if head.best]
    by_place = {(head.layer, head.head): head for head in found.heads}
    ordered = [by_place[head.layer, head.head] for head in purposes.heads]
    shown = ordered[: max(min(len(group), _SHOWN), min(_SHOWN // 2, len(ordered)))]
    places = {(head.layer, head.head): head.places for head in purposes.heads}
    console.say(
        f"{found.model} | {found.task} | {found.metric}@{found.reference} | "
        f"{len(found.heads)} heads, {found.n} clips of {found.clusters} clusters"
    )
    console.show_rows(
        "heads",
        [
            {
                "": "=" if head.best else "",
                "layer": head.layer,
                "head": head.head,
                "score": _number(head.score),
                "rank": f"{head.ranks[0]} to {head.ranks[1]}" if head.ranks else "–",
                **{f"for {name}": place for name, place in places[head.layer, head.head].items()},
            }
            for head in shown
        ],
    )
    console.show_rows(
        "sets of heads",
        [
            {
                "": "=" if each.best else "",
                "set": each.method,
                "chosen on": {"none": "–", "oracle": "these clips (oracle)"}.get(
                    each.chosen, f"{found.dev} other clips"
                ),
                "score": _number(each.score),
                "heads": " ".join(f"{layer}.{head}" for layer, head in each.heads or ()) or "–",
            }
            for each in found.sets
        ],
    )
    console.say(
        "= not distinguished from the best; score [95 % interval]; rank: the best and the worst that it may have; "
        f"floor {_number(found.floor)}, ceiling {_number(found.ceiling)}"
    )
    if found.untested:
        console.say(f"heads are not told apart: {found.untested.replace('-', ' ')}")
    elif found.resolution is not None:
        console.say(f"a head must lie about {found.resolution:.2f} from the best to be told apart")
    console.say(
        "The highest of many heads on the clips that rank them is an upper bound, not a result."
    )
    if found.failures:
        console.say(f"{found.failures} clips could not be scored")
    _compare(purposes)


def _compare(purposes: "Purposes") -> None:
    """Say which head leads by each purpose, and how far their orders agree."""
    from xbench.cli import console

    best = ", ".join(f"{layer}.{head} for {name}" for name, (layer, head) in purposes.best.items())
    if len(purposes.best) > 1:
        console.say(f"{'one head leads' if purposes.agree else 'purposes disagree'}: {best}")
    for pair, tau in purposes.tau.items():
        interval = "" if tau.low is None else f" [{tau.low:.2f}, {tau.high:.2f}]"
        told = f"– ({tau.reason})" if tau.value is None else f"{tau.value:.2f}{interval}"
        console.say(f"orders for {pair}: Kendall's tau {told}")
    for reason in purposes.absent:
        console.say(f"not told: {reason}")


def _number(score: "Interval") -> str:
    if score.value is None:
        return f"– ({score.reason})"
    interval = f" [{score.ci[0]:.2f}, {score.ci[1]:.2f}]" if score.ci else ""
    return f"{score.value:.3f}{interval}"
