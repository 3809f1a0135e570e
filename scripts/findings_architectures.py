"""The part of docs/findings.md on two architectures: cross-attention against self-attention on audio positions."""

from __future__ import annotations

from findings_runs import Run, interval
from xbench.stats.intervals import Estimate, mean_estimate

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
itself."""


def architectures(cross: Run, own: Run) -> list[str]:
    """Compare every method that has scores on both models, clip by clip."""
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
    for metric in METRICS:
        lines += ["", *_table(cross, own, metric)]
    return [*lines, "", _beside_attention(cross, own), "", _alone(cross, own), ""]


def _beside_attention(cross: Run, own: Run) -> str:
    """Say how far maps differ that read no attention."""
    labels = [
        label
        for label, result in cross.results.items()
        if result.method.name in WITHOUT_ATTENTION and label in own.results
    ]
    differences = [
        f"`{label}` {_shown(_estimates(cross, own, label, METRICS[0])[2])}" for label in labels
    ]
    return (
        f"Maps that read no attention differ by {', '.join(differences)} (`{METRICS[0]}`). So far as these fall "
        "too, the decoder-only model is harder to explain under this reference, whatever the map; where a position is "
        "hidden there, every layer fills it up anew."
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


def _table(cross: Run, own: Run, metric: str) -> list[str]:
    """Return a row per method, best self-attention first, and in a sentence how many differ."""
    shared = [label for label in cross.judged() if label in own.judged()]
    rows = [(label, *_estimates(cross, own, label, metric)) for label in shared]
    rows.sort(key=lambda row: -(row[2].value or 0))
    lines = [
        f"| method, `{metric}` | cross-attention | self-attention | difference |",
        "|---|---|---|---|",
        *(f"| `{label}` | {' | '.join(_shown(e) for e in found)} |" for label, *found in rows),
    ]
    differences = [row[3] for row in rows]
    better = sum(e.low is not None and e.low > 0 for e in differences)
    worse = sum(e.high is not None and e.high < 0 for e in differences)
    rest = len(rows) - better - worse
    return [
        *lines,
        "",
        f"In short, by `{metric}`: self-attention is the better explanation for {better} of {len(rows)} methods and "
        f"the worse one for {worse}; for {rest} the interval holds 0.",
    ]


def _estimates(cross: Run, own: Run, label: str, metric: str) -> tuple[Estimate, ...]:
    """Return the mean over clips on either model, and that of the differences."""
    ids, clusters = cross.any.utterances["id"], cross.clusters
    there = dict(zip(own.any.utterances["id"], own.column(label, metric), strict=True))
    first, second = cross.column(label, metric), [there[name] for name in ids]
    differences = [
        None if one is None or other is None else other - one
        for one, other in zip(first, second, strict=True)
    ]
    return tuple(mean_estimate(v, clusters, seed=0) for v in (first, second, differences))


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
