"""The part of docs/findings.md on two architectures: cross-attention against self-attention on audio positions.

    python scripts/findings_architectures.py FOLDER ...

keeps in leaderboard/removed.json what the page needs of results under other references than the task's. These come from

    xbench eval --model MODEL --task demo-asr-en --method ... --metric pearson --metric pearson-paper --output FOLDER \\
        --reference REFERENCE:masks=500,estimator=window-control-variate

with `xbench-tiny-lm` and the references `spes-encoder-removed` and `spes-audio:neutral=mean` (with --limit 16). Of
`xbench-tiny` and `spes-encoder-removed` a mask tells less, so it has masks=4000,until=0.72, for a like reliability.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from findings_runs import Run, interval, table
from xbench.results import load_results, short_labels
from xbench.stats.intervals import Estimate, mean_estimate
from xbench.stats.ranking import rank_agreement

FILE = Path(__file__).resolve().parents[1] / "leaderboard" / "removed.json"
CROSS, OWN = "xbench-tiny", "xbench-tiny-lm"
REMOVED, MEAN = "spes-encoder-removed", "spes-audio:neutral=mean"
METRICS = ("pearson", "pearson-paper")
# Read no attention weights: what falls for them too is not about attention alone.
WITHOUT_ATTENTION = ("input-x-gradient-encoder", "saliency-encoder")
# The control that both are held against, whatever its width.
FLOOR = "diagonal"

WORDS = """## Cross-attention or self-attention on audio?

`xbench-tiny` reads audio by cross-attention, `xbench-tiny-lm` as a prefix of one causal stack
([speech LLMs](speech-llms.md)). Both have the same audio encoder and learned from the same speech, and were run on the
same clips. The reference hides encoder frames of 20 ms in the one and audio positions of 40 ms in the other
(`spes-encoder`, zeros, reliability of 0.9 per clip), so floors and ceilings differ and stand below. Differences are
taken clip by clip, self-attention minus cross-attention; their 95 % intervals are over voices and hold for each row by
itself. Whether the answer turns with what a hidden frame is, the last part says."""


@dataclass(frozen=True)
class Columns:
    """What methods score on the clips of a run, by label and metric, under one reference.

    limits: reliability and ceilings as written out, by name.
    """

    model: str
    reference: str
    ids: list[str]
    clusters: list[str]
    limits: Mapping[str, str]
    values: Mapping[str, Mapping[str, list[float | None]]]


def columns_of(run: Run) -> Columns:
    """Return the columns of all methods of a run that are judged."""
    one = run.any
    reference = one.references[0]
    neutral = reference.params.get("neutral")
    limits = {metric: _limit(run, metric, "ceiling") for metric in METRICS}
    limits["reliability"] = interval(reference.reliability.value, reference.reliability.ci)
    return Columns(
        one.model.name,
        reference.name if neutral is None else f"{reference.name}:neutral={neutral}",
        list(one.utterances["id"]),
        list(run.clusters),
        limits,
        {label: {m: run.column(label, m) for m in METRICS} for label in run.judged()},
    )


def architectures(cross: Run, own: Run, others: Sequence[tuple[Run, Run]]) -> list[str]:
    """Compare every method that has scores on both models, clip by clip. others: the same on further tasks."""
    lines = [
        "| | `xbench-tiny` | `xbench-tiny-lm` |",
        "|---|---|---|",
        f"| WER | {_quality(cross)} | {_quality(own)} |",
    ]
    for metric in METRICS:
        found = [f"{_limit(run, metric, 'ceiling')}" for run in (cross, own)]
        lines.append(f"| ceiling of `{metric}` | {' | '.join(found)} |")
        found = [f"{_limit(run, metric, 'floor')}" for run in (cross, own)]
        lines.append(f"| floor of `{metric}` (`{FLOOR}`) | {' | '.join(found)} |")
    both = columns_of(cross), columns_of(own)
    for metric in METRICS:
        lines += ["", *_table(*both, metric)]
    lines += ["", _beside_attention(cross, own), "", _alone(cross, own), ""]
    if others:
        lines += _other_tasks(others)
    if FILE.is_file():
        lines += _other_references(*both)
    return lines


def _other_tasks(others: Sequence[tuple[Run, Run]]) -> list[str]:
    """Say in a row per task and metric how many methods differ, and how the leaders do."""
    rows = []
    for runs in others:
        cross, own = map(columns_of, runs)
        quality = " / ".join(
            f"{run.any.quality.metric} {run.any.quality.value:.1f}" for run in runs
        )
        for metric in METRICS:
            found = _differences(cross, own, metric)
            counts = [str(n) for n in _counted(found)]
            leaders = [_leader(one, metric, [label for label, _ in found]) for one in (cross, own)]
            differs = next(e[2] for label, e in found if label == "mean-heads")
            ceilings = " / ".join(one.limits[metric] for one in (cross, own))
            name = f"{runs[0].any.task.name}, `{metric}`"
            cells = [name, f"{len(cross.ids)}", quality, ceilings, *counts, _shown(differs)]
            rows.append([*cells, *leaders])
    return [
        "### On the other demo tasks",
        "",
        "The same clip by clip, of the methods that both models have results of there. Quality and ceilings: "
        "`xbench-tiny` / `xbench-tiny-lm`; higher, lower: methods that score so for self-attention.",
        "",
        *table(
            [
                *("task", "clips", "quality", "ceilings", "higher", "lower", "not told apart"),
                *("difference of `mean-heads`", "best cross-attention", "best self-attention"),
            ],
            rows,
        ),
    ]


def _leader(found: Columns, metric: str, labels: Sequence[str]) -> str:
    estimates = {label: _mean(found, label, metric) for label in labels}
    best = max(estimates, key=lambda label: estimates[label].value or -1)
    return f"`{best}` {_shown(estimates[best])}"


def _other_references(cross: Columns, own: Columns) -> list[str]:
    """Compare both models where hidden frames are taken out instead of zeroed, and the orders under all references."""
    stored = [Columns(**told) for told in json.loads(FILE.read_text("utf-8"))]
    by = {(one.model, one.reference): one for one in stored}
    removed = by[CROSS, REMOVED], by[OWN, REMOVED]
    lines = [
        "### Frames taken out in place of zeroed",
        "",
        "A zeroed frame stays: in cross-attention it keeps the bias of its value, in a decoder-only model every layer "
        "fills its position up anew. `spes-encoder-removed` takes the keys of hidden frames away, in `xbench-tiny-lm` "
        "in all layers (`spes-audio:neutral=key-removed`). Same clips, same methods but those that learn from dev "
        "clips; 500 masks a clip for `xbench-tiny-lm`, and for `xbench-tiny` as many as a like reliability takes. "
        f"Reliabilities {' / '.join(one.limits['reliability'] for one in removed)}, ceilings of `pearson` "
        f"{' / '.join(one.limits['pearson'] for one in removed)}.",
    ]
    for metric in METRICS:
        lines += ["", *_table(*removed, metric)]
    zeroed = (cross, own)
    lines += ["", " ".join(_turned(zeroed, removed, metric) for metric in METRICS)]
    rows = []
    pairs = [
        (f"`{CROSS}`: zeroed against taken out", zeroed[0], removed[0]),
        (f"`{OWN}`: zeroed against taken out", zeroed[1], removed[1]),
    ]
    if (mean := by.get((OWN, MEAN))) is not None:
        pairs += [
            (
                f"`{OWN}`: zeroed against the mean of all positions (reliability {mean.limits['reliability']})",
                zeroed[1],
                mean,
            ),
            (f"`{OWN}`: the mean against taken out", mean, removed[1]),
        ]
    for name, first, second in pairs:
        labels = [label for label in first.values if label in second.values]
        taus = [_order(first, second, labels, metric) for metric in METRICS]
        clips = len({*first.ids} & {*second.ids})
        rows.append([name, f"{len(labels)}", f"{clips}", *map(_shown, taus)])
    return [
        *lines,
        "",
        "How alike these references rank methods (Kendall's tau, intervals over voices):",
        "",
        *table(["references", "methods", "clips", *(f"`{metric}`" for metric in METRICS)], rows),
    ]


def _turned(zeroed: tuple[Columns, Columns], removed: tuple[Columns, Columns], metric: str) -> str:
    """Say whether which architecture is explained better depends on what a hidden frame is."""
    (better, worse, rest), (now_better, now_worse, now_rest) = (
        _counted(_differences(*pair, metric)) for pair in (zeroed, removed)
    )
    turned = (better > worse) != (now_better > now_worse)
    return (
        f"By `{metric}`, self-attention scores higher for {better} and lower for {worse} of "
        f"{better + worse + rest} methods where frames are zeroed, and for {now_better} and {now_worse} of "
        f"{now_better + now_worse + now_rest} where they are taken out"
        + (
            ": the answer turns with what hidden means, so it is none about the architectures alone."
            if turned
            else ": both references give the same answer."
        )
    )


def _order(first: Columns, second: Columns, labels: Sequence[str], metric: str) -> Estimate:
    """Compare two orders of methods on the clips that both have."""
    place = {name: index for index, name in enumerate(second.ids)}
    shared = [(index, place[name]) for index, name in enumerate(first.ids) if name in place]
    here = [[first.values[label][metric][index] for index, _ in shared] for label in labels]
    there = [[second.values[label][metric][index] for _, index in shared] for label in labels]
    return rank_agreement(here, there, [first.clusters[index] for index, _ in shared], seed=0)


def _beside_attention(cross: Run, own: Run) -> str:
    """Say how far maps differ that read no attention."""
    labels = [
        label
        for label, result in cross.results.items()
        if result.method.name in WITHOUT_ATTENTION and label in own.results
    ]
    differences = [
        f"`{label}` {_shown(_estimates(columns_of(cross), columns_of(own), label, METRICS[0])[2])}"
        for label in labels
    ]
    return (
        f"Maps that read no attention differ by {', '.join(differences)} (`{METRICS[0]}`). So far as these fall "
        "too, the decoder-only model is harder to explain under this reference, whatever the map; where a position is "
        "hidden there, every layer writes something into it again."
    )


def _alone(cross: Run, own: Run) -> str:
    """Name the methods that have scores on the decoder-only model alone, and say what the comparison cannot."""
    found = [
        f"`{label}` {_shown(mean_estimate(own.column(label, METRICS[0]), own.clusters, seed=0))}"
        for label in own.judged()
        if label not in cross.results
    ]
    return (
        f"Scored on `xbench-tiny-lm` alone, by `{METRICS[0]}`: {', '.join(sorted(found))}. One small model of each "
        "kind, one seed and one grammar: whether it holds for speech LLMs of a real size is not known."
    )


def _table(cross: Columns, own: Columns, metric: str) -> list[str]:
    """Return a row per method, best self-attention first, and in a sentence how many differ."""
    rows = _differences(cross, own, metric)
    better, worse, rest = _counted(rows)
    return [
        f"| method, `{metric}` | cross-attention | self-attention | difference |",
        "|---|---|---|---|",
        *(f"| `{label}` | {' | '.join(_shown(e) for e in found)} |" for label, found in rows),
        "",
        f"In short, by `{metric}`: self-attention scores higher for {better} of {len(rows)} methods and lower for "
        f"{worse}; for {rest} the interval holds 0. Each interval is of its own method, and methods are alike: their "
        "number is no number of independent findings. Each model is judged by a reference of its own, whose frames, "
        "floor and ceiling are others, so a higher score is not simply a better explanation.",
    ]


def _differences(
    cross: Columns, own: Columns, metric: str
) -> list[tuple[str, tuple[Estimate, ...]]]:
    """Return the estimates of every method that both have, best self-attention first."""
    shared = [label for label in cross.values if label in own.values]
    rows = [(label, _estimates(cross, own, label, metric)) for label in shared]
    return sorted(rows, key=lambda row: -(row[1][1].value or 0))


def _counted(rows: Sequence[tuple[str, tuple[Estimate, ...]]]) -> tuple[int, int, int]:
    """Return for how many methods self-attention is better, worse, and not told apart."""
    differences = [found[2] for _, found in rows]
    better = sum(e.low is not None and e.low > 0 for e in differences)
    worse = sum(e.high is not None and e.high < 0 for e in differences)
    return better, worse, len(rows) - better - worse


def _mean(found: Columns, label: str, metric: str) -> Estimate:
    return mean_estimate(found.values[label][metric], found.clusters, seed=0)


def _estimates(cross: Columns, own: Columns, label: str, metric: str) -> tuple[Estimate, ...]:
    """Return the mean over clips on either model, and that of the differences."""
    there = dict(zip(own.ids, own.values[label][metric], strict=True))
    first, second = cross.values[label][metric], [there[name] for name in cross.ids]
    differences = [
        None if one is None or other is None else other - one
        for one, other in zip(first, second, strict=True)
    ]
    return tuple(mean_estimate(v, cross.clusters, seed=0) for v in (first, second, differences))


def _quality(run: Run) -> str:
    quality = run.any.quality
    return f"{quality.value:.1f} %, {quality.n} clips"


def _limit(run: Run, metric: str, name: str) -> str:
    label = next(label for label in run.results if label.startswith("mean-heads"))
    found = getattr(run.results[label].score(metric), name)
    return "–" if found is None else interval(found.value, found.ci)


def _shown(found: Estimate) -> str:
    ci = None if found.low is None or found.high is None else (found.low, found.high)
    return interval(found.value, ci)


def main(folders: Sequence[str]) -> None:
    """Keep the columns of the results in these folders, each of one model under one reference."""
    found = []
    for folder in folders:
        scored = [r for r in load_results(Path(folder)) if r.status in ("complete", "partial")]
        labels = short_labels([r.method for r in scored])
        run = Run(scored[0].model.name, "", dict(zip(labels, scored, strict=True)))
        found.append(asdict(columns_of(run)))
    rows = ",\n".join(json.dumps(row) for row in found)
    FILE.write_text(f"[\n{rows}\n]\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
