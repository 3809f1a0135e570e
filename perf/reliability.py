"""How reliable a reference is after how many masks, on real speech.

    python perf/reliability.py                     writes perf/reliability.md, .json and .png
    python perf/reliability.py --quick             one clip each, 2,000 masks: a look, nothing is written

For every model, clip and reference one pass over the masks; after each checkpoint the reference so far is
judged by its two halves (Spearman-Brown per row, mean over rows), so all curves come from the same masks.
Models that are not there or whose family is not registered are left out, and named.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xbench.maps import Layout
from xbench.references import spes
from xbench.references.estimation import Accumulated, Sampling, as_used
from xbench.references.reliability import row_reliability
from xbench.references.sampled import SampledReference
from xbench.spec import Scoring

sys.path.insert(0, str(Path(__file__).parent))
from subjects import MODELS, Subject, subjects

HERE = Path(__file__).parent
CHECKPOINTS = (
    *(250, 500, 750, 1000, 1500, 2000, 2500, 3000, 4000, 5000, 6000, 8000),
    *(10_000, 12_000, 14_000, 16_000, 18_000, 20_000),
)
TARGETS = (0.8, 0.9, 0.95)
JUDGED = (1000, 4000, 20_000)  # masks after which unreliable rows are counted
BY_SURROGATES = "## Other surrogates for superpixels"
FULL = 20_000
SPACES = {"spes-encoder": 0.7, "spes-input": 0.5}
# The estimators of a space; the last collects what the others need.
ESTIMATORS = {
    "spes-encoder": ("masked-mean", "least-squares", "control-variate", "window-control-variate"),
    "spes-input": ("masked-mean", "least-squares", "control-variate"),
}
# Drawn and summed up beside the paper's.
OURS = {space: names[-1] for space, names in ESTIMATORS.items()}
MAX, MEAN = Scoring(), Scoring(pool_frequency="mean", pool_time="mean")
SLIC = {"rates": "400+500+600", "compactness": 0.1, "sigma": 0.0, "cap_seconds": 7.5}


@dataclass
class Curve:
    """What one pass over the masks of one utterance shows.

    reliability: per kind of map (see `judged`) and estimator, one value per checkpoint, None where there
    is none. segments: actual counts per level. distinct: how many levels differ.
    """

    model: str
    clip: str
    space: str
    design: str
    tokens: int
    frames: int
    seconds_of_audio: float
    segments: tuple[int, ...] = ()
    distinct: int = 0
    masks: list[int] = field(default_factory=list)
    reliability: dict[str, list[float | None]] = field(default_factory=dict)
    rows_below_half: list[float] = field(default_factory=list)
    milliseconds_per_mask: float = 0.0


def full_map(reference: SampledReference, layout: Layout) -> float | None:
    """Return the reliability at full resolution: cells are frames, or (melframe, mel) pairs."""
    halves = [reference.half(i)[list(layout.content)] for i in (0, 1)]
    rows = row_reliability(*(half.reshape(len(half), -1) for half in halves))
    return mean_of(rows)


def mean_of(values: Any) -> float | None:
    """Return the mean of what is defined."""
    defined = [v for v in values if v is not None]
    return math.fsum(defined) / len(defined) if defined else None


def judged(space: str) -> dict[str, Callable[[SampledReference, Layout], float | None]]:
    """Return the maps whose reliability is asked for."""
    if space == "spes-encoder":
        return {"as used": lambda r, axes: as_used(r, axes, MAX).value}
    return {
        "max-pooled": lambda r, axes: as_used(r, axes, MAX).value,
        "mean-pooled": lambda r, axes: as_used(r, axes, MEAN).value,
        "full map": full_map,
    }


def trace_curve(subject: Subject, space: str, masks: int, design: str) -> Curve:
    """Draw all masks of one utterance once and judge the reference at every checkpoint."""
    case, axes = subject.case, subject.case.layout
    curve = Curve(
        subject.model, subject.clip, space, design, len(axes.content), axes.frames, subject.seconds
    )
    spent = [0.0, time.perf_counter()]

    def watch(sums: Accumulated) -> None:
        spent[0] += time.perf_counter() - spent[1]
        before = curve.masks[-1] if curve.masks else 0
        if sums.drawn >= masks or any(before < c <= sums.drawn for c in CHECKPOINTS):
            look(sums)
        spent[1] = time.perf_counter()

    def look(sums: Accumulated) -> None:
        curve.segments = sums.segmentation.sizes
        curve.distinct = len(set(sums.segmentation.distinct))
        curve.masks.append(sums.drawn)
        for estimator in ESTIMATORS[space]:
            reference = sums.reference(estimator)
            kinds = judged(space)
            if estimator != "masked-mean":
                kinds = dict([next(iter(kinds.items()))])
            for kind, judge in kinds.items():
                value = None if reference is None else judge(reference, axes)
                curve.reliability.setdefault(f"{kind}, {estimator}", []).append(value)
        plain = sums.reference("masked-mean")
        assert plain is not None
        rows = as_used(plain, axes, MAX).rows
        curve.rows_below_half.append(sum(r is None or r < 0.5 for r in rows) / len(rows))

    options: dict[str, Any] = {
        "masks": masks,
        "p": SPACES[space],
        "design": design,
        "estimator": ESTIMATORS[space][-1],
    }
    sampling = Sampling(block=250, watch=watch)
    if space == "spes-encoder":
        spes.spes_encoder(case, sampling, **options)
    else:
        spes.spes_input(case, sampling, **options, **SLIC)
    curve.milliseconds_per_mask = 1e3 * spent[0] / curve.masks[-1]
    return curve


def masks_for(target: float, masks: list[int], values: list[float | None]) -> float:
    """Return the masks at which a curve first reaches the target, log-linear between checkpoints.

    Infinity where it never does. The first checkpoint counts as it is.
    """
    before: tuple[int, float] | None = None
    for n, value in zip(masks, values, strict=True):
        if value is None:
            continue
        if value >= target:
            if before is None:
                return n
            share = (target - before[1]) / (value - before[1])
            return math.exp(math.log(before[0]) + share * math.log(n / before[0]))
        before = (n, value)
    return math.inf


def stopped_at(target: float, masks: list[int], values: list[float | None]) -> float:
    """Return the masks that `until` takes: whole blocks of 500, two at least; infinity if never."""
    needed = masks_for(target, masks, values)
    return needed if math.isinf(needed) else max(1000, 500 * math.ceil(needed / 500))


def measure(arguments: argparse.Namespace) -> list[Curve]:
    """Make all curves; each is told as it is done."""
    curves = []
    for model in arguments.models:
        for space in SPACES:
            clips = arguments.clips if space == "spes-encoder" else arguments.input_clips
            masks = arguments.masks if space == "spes-encoder" else arguments.input_masks
            for subject in subjects(model, clips):
                designs = ("independent", "antithetic") if arguments.designs else ("independent",)
                for design in designs:
                    curve = trace_curve(subject, space, masks, design)
                    print(
                        f"{model}, {subject.clip}, {space}, {design}: {masks} masks, "
                        f"{curve.milliseconds_per_mask:.2f} ms each",
                        flush=True,
                    )
                    curves.append(curve)
    return curves


def render(curves: list[Curve]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# How many masks a reference needs",
        "",
        "Made by `python perf/reliability.py`. Reliability is the estimated split-half reliability of mask",
        "sampling (Spearman-Brown per content token, mean over tokens): the correlation to expect between this",
        "reference and one made again from as many other masks. Same segmentation, neutral value and hypothesis.",
        "",
        *_summary(curves),
        "",
        "## Masks to a reliability, per utterance",
        "",
        "`masked-mean` is the estimator of the paper, all others estimate the same",
        "quantity (docs/references.md). `-`: not within the masks drawn.",
        "",
    ]
    for space in SPACES:
        lines += _needed_table(curves, space)
    lines += ["## Curves (masked mean, independent masks)", ""]
    for space in SPACES:
        lines += _curve_table(curves, space)
    lines += _segments_table(curves)
    lines += _unreliable_table(curves)
    return "\n".join(lines).rstrip() + "\n"


def _pick(curves: list[Curve], space: str, design: str = "independent") -> list[Curve]:
    return [c for c in curves if c.space == space and c.design == design]


def used(curve: Curve, estimator: str) -> list[float | None]:
    """Return the curve of the map as used (max-pooled where it has to be pooled)."""
    return curve.reliability[f"{next(iter(judged(curve.space)))}, {estimator}"]


def _summary(curves: list[Curve]) -> list[str]:
    lines = [
        "| model, reference | utterances | masks to 0.8 / 0.9 / 0.95, masked mean (median) | range to 0.9 "
        "| to 0.9, with the best surrogate | 20,000 over masks where `until: 0.9` stops: masked mean, best surrogate |",
        "|---|---|---|---|---|---|",
    ]
    for model in dict.fromkeys(c.model for c in curves):
        for space in SPACES:
            own = [c for c in _pick(curves, space) if c.model == model]
            if not own:
                continue
            plain = {
                t: [masks_for(t, c.masks, used(c, "masked-mean")) for c in own] for t in TARGETS
            }
            better = [masks_for(0.9, c.masks, used(c, OURS[space])) for c in own]
            stops = [
                statistics.median(FULL / stopped_at(0.9, c.masks, used(c, e)) for c in own)
                for e in ("masked-mean", OURS[space])
            ]
            lines.append(
                f"| {model}, `{space}` | {len(own)} | "
                + " / ".join(_count(statistics.median(plain[t])) for t in TARGETS)
                + f" | {_count(min(plain[0.9]))} to {_count(max(plain[0.9]))} | "
                + f"{_count(statistics.median(better))} | "
                + ", ".join("-" if ratio == 0 else f"{ratio:.1f}" for ratio in stops)
                + " |"
            )
    return lines


def _needed_table(curves: list[Curve], space: str) -> list[str]:
    chosen = [c for c in curves if c.space == space]
    if not chosen:
        return []
    kinds = list(chosen[0].reliability)
    lines = [f"### `{space}`: masks to 0.8 / 0.9 / 0.95", ""]
    lines += [f"| utterance | {' | '.join(kinds)} |", f"|---|{'---|' * len(kinds)}"]
    for curve in chosen:
        cells = [
            " / ".join(_count(masks_for(t, curve.masks, curve.reliability[kind])) for t in TARGETS)
            for kind in kinds
        ]
        design = "" if curve.design == "independent" else f", {curve.design} masks"
        lines.append(f"| {curve.model}, {curve.clip}{design} | {' | '.join(cells)} |")
    return [*lines, ""]


def _curve_table(curves: list[Curve], space: str) -> list[str]:
    chosen = _pick(curves, space)
    if not chosen:
        return []
    grid = max((c.masks for c in chosen), key=len)
    lines = [f"### `{space}`", "", f"| utterance, map | {' | '.join(f'{n:,}' for n in grid)} |"]
    lines.append(f"|---|{'---|' * len(grid)}")
    for curve in chosen:
        for kind in judged(space):
            values = dict(zip(curve.masks, curve.reliability[f"{kind}, masked-mean"], strict=True))
            cells = " | ".join(_value(values.get(n)) for n in grid)
            lines.append(f"| {curve.model}, {curve.clip}: {kind} | {cells} |")
    return [*lines, ""]


def _segments_table(curves: list[Curve]) -> list[str]:
    chosen = _pick(curves, "spes-input")
    if not chosen:
        return []
    lines = [
        "## SLIC levels",
        "",
        "scikit-image rounds the grid step of SLIC, so that levels asked for at 400, 500 and 600 segments per second",
        "can be one and the same. Equal levels are added up as one level with more masks.",
        "",
        "| utterance | seconds | segments per level | levels that differ |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {c.model}, {c.clip} | {c.seconds_of_audio:.2f} | {', '.join(map(str, c.segments))} "
        f"| {c.distinct} of {len(c.segments)} |"
        for c in chosen
    ]
    return [*lines, ""]


def _unreliable_table(curves: list[Curve]) -> list[str]:
    """Return how many rows are not reliable; what that does to ceilings is `ceilings.py`'s question."""
    lines = [
        "## Rows that are not reliable",
        "",
        "The share of content tokens whose own reliability is below 0.5, after so many masks (masked mean). The paper",
        "gives them full weight. How high a map without error could score: [ceilings.md](ceilings.md).",
        "",
        f"| utterance, reference | {' | '.join(f'{n:,} masks' for n in JUDGED)} |",
        f"|---|{'---|' * len(JUDGED)}",
    ]
    for curve in curves:
        if curve.design != "independent":
            continue
        cells = []
        for n in JUDGED:
            at = min(range(len(curve.masks)), key=lambda i: abs(curve.masks[i] - n))
            close = abs(curve.masks[at] - n) <= n / 10
            cells.append(f"{curve.rows_below_half[at]:.0%}" if close else "-")
        lines.append(f"| {curve.model}, {curve.clip}, `{curve.space}` | {' | '.join(cells)} |")
    return [*lines, ""]


def kept(report: Path) -> str:
    """Return the part of the report that `surrogates.py` is the source of; it stays."""
    return BY_SURROGATES + report.read_text("utf-8").partition(BY_SURROGATES)[2]


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _count(masks: float) -> str:
    return "-" if math.isinf(masks) else f"{float(f'{masks:.2g}'):,.0f}"


def draw(curves: list[Curve], path: Path) -> bool:
    """Draw one panel per reference; False where matplotlib is not installed."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return False
    spaces = [s for s in SPACES if _pick(curves, s)]
    figure, panels = plt.subplots(1, len(spaces), figsize=(5.5 * len(spaces), 4), squeeze=False)
    models = list(dict.fromkeys(c.model for c in curves))
    for panel, space in zip(panels[0], spaces, strict=True):
        for curve in _pick(curves, space):
            colour = f"C{models.index(curve.model)}"
            for estimator, style in (("masked-mean", "-"), (OURS[space], ":")):
                values = [np.nan if v is None else v for v in used(curve, estimator)]
                panel.plot(curve.masks, values, style, color=colour, linewidth=1)
        panel.axhline(0.9, color="grey", linewidth=0.5)
        panel.set(xscale="log", ylim=(0, 1), xlabel="masks", ylabel="reliability", title=space)
        for index, model in enumerate(models):
            panel.plot([], [], "-", color=f"C{index}", label=model)
        panel.plot([], [], "-", color="black", label="masked mean")
        panel.plot([], [], ":", color="black", label=OURS[space].replace("-", " "))
        panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    return True


def main() -> None:
    """Make the curves and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--clips", type=int, default=3, help="clips per model, spes-encoder")
    parser.add_argument("--input-clips", type=int, default=1, help="clips per model, spes-input")
    parser.add_argument("--masks", type=int, default=FULL, help="masks of spes-encoder")
    parser.add_argument("--input-masks", type=int, default=FULL, help="masks of spes-input")
    parser.add_argument(
        "--designs", action="store_true", help="antithetic masks too (twice the time)"
    )
    parser.add_argument("--quick", action="store_true", help="one clip, 2,000 masks, only printed")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.clips = arguments.input_clips = 1
        arguments.masks = arguments.input_masks = 2000
    curves = measure(arguments)
    text = render(curves)
    print(text)
    if arguments.quick:
        return
    if draw(curves, HERE / "reliability.png"):
        text = text.replace("\n## ", "\n![Reliability against masks](reliability.png)\n\n## ", 1)
    report = HERE / "reliability.md"
    report.write_text(f"{text}\n{kept(report)}", "utf-8")
    (HERE / "reliability.json").write_text(
        json.dumps([asdict(curve) for curve in curves], indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
