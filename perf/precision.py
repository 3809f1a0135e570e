"""Does a lower precision of perturbed passes move a map or a score? Both precisions on the same masks.

    python perf/precision.py --encoder 3000 --input 400                     writes perf/precision.md and .json
    python perf/precision.py --models whisper:FOLDER --encoder 200 --quick  a look, nothing is written

`--models` takes names of perf/subjects.py and `family:FOLDER` (real Whisper weights, for instance). Every mask is run
in float32 and in the fast precision of this machine. From the same masks, halves 0 and 1:

    noise, following     as `hiding.checks` judges them, here from all masks
    agreement / ceiling  sqrt(r(fast 0, exact 1) r(fast 1, exact 0) / (r(exact 0, exact 1) r(fast 0, fast 1))): how the
                         two maps would correlate without the noise of sampling; means over content tokens of maps as
                         used
    reliability          of either map
    score moved          largest change of a method's `pearson` and `pearson-paper`, all methods that a clip alone
                         suffices for
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xbench.hiding import checks
from xbench.hiding.batching import Start, batched_measure
from xbench.hiding.cells import EncoderFrames, SpectrogramCells
from xbench.hiding.effect import Shift, divergence
from xbench.hiding.masks import draw_masks, mask_key, number
from xbench.hiding.segments import frame_segments, superpixels
from xbench.hiding.way import way_in
from xbench.maps import GridMap, on_encoder_grid, standardise
from xbench.models.device import FLOAT32, PRECISIONS, Precision, fast_precisions
from xbench.references.estimation import Accumulated, as_used
from xbench.references.estimators import ESTIMATORS
from xbench.references.sampled import SampledReference
from xbench.tasks import load_task

sys.path.insert(0, str(Path(__file__).parent))
from fast_vs_paper import METRICS, method_maps
from subjects import MODELS, Subject, subjects

HERE = Path(__file__).parent
STEP = 96


@dataclass(frozen=True)
class Found:
    """What a precision does to one reference of one clip."""

    model: str
    clip: str
    reference: str
    precision: str
    masks: int
    tokens: int
    noise: float
    following: float
    at_most: float
    map_share: float
    agreement: float
    reliability_exact: float | None
    reliability_fast: float | None
    methods: int
    moved: dict[str, float]
    reordered: dict[str, int]


def measured(subject: Subject, reference: str, masks: int, precision: Precision) -> Found | None:
    """Run all masks in both precisions; None where the model does not run in the fast one."""
    case, scoring = subject.case, load_task("asr", "fast").scoring
    features = case.features
    if reference == "spes-encoder":
        cells: Any = EncoderFrames(case)
        segments, p = frame_segments(features.frames), 0.7
    else:
        cells, p = SpectrogramCells(case), 0.5
        segments = superpixels(
            features.valid.float().cpu().numpy(),
            features.melframes * features.melframe_seconds,
            rates=[400.0, 500.0, 600.0],
            cap_seconds=7.5,
            compactness=0.1,
            sigma=0.0,
        )
    ways = [way_in(cells, FLOAT32), way_in(cells, precision)]
    if None in ways:
        return None
    start = Start.on(features.values.device, cells.positions)
    measures = [batched_measure(way.measure(divergence, cells.clean), start) for way in ways if way]
    sums = [
        Accumulated.empty(
            segments, len(case.hypothesis.tokens), p, "", ESTIMATORS["masked-mean"].needs
        )
        for _ in measures
    ]
    labels = torch.from_numpy(segments.labels).long()
    values, shares = [], []
    for first in range(0, masks, STEP):
        numbering = number(
            np.arange(first, min(first + STEP, masks)), len(segments.sizes), "independent"
        )
        sizes = np.asarray(segments.sizes)[numbering.level]
        drawn = draw_masks(
            mask_key(7, case.key), numbering, sizes, max(segments.sizes), p, torch.device("cpu")
        )
        of_level = labels.flatten(1)[torch.from_numpy(numbering.level)]
        hidden = drawn.gather(1, of_level).unflatten(1, labels.shape[1:])
        shares.append(checks.frame_shares(hidden))
        shifts = [m(hidden.to(features.values.device)) for m in measures]
        for total, shift in zip(sums, shifts, strict=True):
            total.add(numbering, drawn, Shift(shift.value.double().cpu(), shift.kept.cpu()))
        values.append([s.value.double().cpu().numpy() for s in shifts])
    content = list(case.hypothesis.content)
    exact, fast = (np.concatenate([v[i] for v in values]).T[content] for i in (0, 1))
    judged = checks.rounding(exact, fast, np.concatenate(shares))
    assert judged is not None
    made = [total.reference("masked-mean") for total in sums]
    assert made[0] is not None
    assert made[1] is not None
    grids = [on_encoder_grid(r.mean(), case.layout, scoring) for r in made if r]
    maps = method_maps(subject, ["attention", "control"], scoring)
    scores = {
        metric: {
            name: [compute(grid, g, case.layout, scoring).value for g in grids]
            for name, grid in maps.items()
        }
        for metric, compute in METRICS.items()
    }
    return Found(
        subject.model,
        subject.clip,
        reference,
        precision.name,
        masks,
        len(content),
        judged.noise,
        judged.following,
        judged.at_most,
        _map_share(exact, np.concatenate(shares)),
        _agreement(made[0], made[1], subject, scoring),
        as_used(made[0], case.layout, scoring).value,
        as_used(made[1], case.layout, scoring).value,
        len(maps),
        {
            m: max(
                (abs(a - b) for a, b in s.values() if a is not None and b is not None), default=0.0
            )
            for m, s in scores.items()
        },
        {m: _reordered(s) for m, s in scores.items()},
    )


def _map_share(exact: np.ndarray, hidden: np.ndarray) -> float:
    """Return the share of the effects' variance that lies in the map: `following`, asked of the effects themselves."""
    d = standardise(exact, axis=1)[0]
    frames = hidden - hidden.mean(0)
    masks = len(frames)
    alike = frames @ frames.T / (masks**2 * float((frames**2).mean()))
    by_chance = float(np.trace(alike)) / (masks - 1) * masks
    return float(((d @ alike) * d).sum(1).mean()) - by_chance


def _reordered(scores: dict[str, list[float | None]]) -> int:
    """Return how many pairs of methods that lie 0.003 apart or more change their order."""
    pairs = [s for s in scores.values() if None not in s]
    return sum(
        (a[0] - b[0]) * (a[1] - b[1]) < 0 and abs(a[0] - b[0]) >= 0.003  # type: ignore[operator]
        for i, a in enumerate(pairs)
        for b in pairs[:i]
    )


def _agreement(
    exact: SampledReference, fast: SampledReference, subject: Subject, scoring: Any
) -> float:
    axes = subject.case.layout
    content = list(axes.content)

    def rows(grid: GridMap) -> np.ndarray:
        z: np.ndarray = standardise(grid.values[content], axis=1)[0]
        return z

    e, f = (
        [rows(on_encoder_grid(r.half(i), axes, scoring)) for i in (0, 1)] for r in (exact, fast)
    )

    def r(a: np.ndarray, b: np.ndarray) -> float:
        return float((a * b).mean())

    return math.sqrt(r(f[0], e[1]) * r(f[1], e[0]) / (r(e[0], e[1]) * r(f[0], f[1])))


def render(found: list[Found]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# What a lower precision does to a reference",
        "",
        "Made by `python perf/precision.py`, whose head defines the columns. Every mask was run in float32 and in the",
        "precision named. `noise`, `following` and `map` are shares of the variance of the effects of masks: of the",
        "rounding, of rounding that follows the mask (with the upper end of its interval by chance), and of the map.",
        "",
        "| model, clip, reference | precision | masks | noise | following (at most) | map | agreement / ceiling "
        "| reliability, exact and fast | score moved: pearson, pearson-paper | pairs 0.003 apart, reordered |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for f in found:
        moved = ", ".join(f"{v:.4f}" for v in f.moved.values())
        changed = ", ".join(str(v) for v in f.reordered.values())
        lines.append(
            f"| {f.model}, {f.clip}, `{f.reference}` | {f.precision} | {f.masks:,} | {f.noise:.5f} "
            f"| {f.following:.6f} ({f.at_most:.6f}) | {f.map_share:.2f} | {f.agreement:.5f} "
            f"| {_value(f.reliability_exact)}, {_value(f.reliability_fast)} | {moved} ({f.methods} methods) "
            f"| {changed} |"
        )
    return "\n".join(lines) + "\n"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def main() -> None:
    """Measure and write the report; what perf/precision.json has of other clips stays."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["xbench-tiny", "whisper-micro"])
    parser.add_argument("--clips", type=int, default=2, help="clips per model")
    parser.add_argument("--encoder", type=int, default=3000, help="masks of spes-encoder (0: none)")
    parser.add_argument("--input", type=int, default=400, help="masks of spes-input (0: none)")
    parser.add_argument("--precision", choices=list(PRECISIONS), help="by default this machine's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="only print")
    arguments = parser.parse_args()
    fast = fast_precisions(arguments.device)
    if not fast and not arguments.precision:
        sys.exit("this machine computes no lower precision in hardware; name one with --precision")
    precision = PRECISIONS[arguments.precision] if arguments.precision else fast[0]
    path = HERE / "precision.json"
    found = [Found(**f) for f in json.loads(path.read_text())] if path.is_file() else []
    for model in arguments.models:
        assert model in MODELS or ":" in model, (
            f"{model}: neither in perf/subjects.py nor family:FOLDER"
        )
        for subject in subjects(model, arguments.clips, arguments.device):
            for reference, masks in (
                ("spes-encoder", arguments.encoder),
                ("spes-input", arguments.input),
            ):
                if not masks:
                    continue
                with torch.inference_mode():
                    one = measured(subject, reference, masks, precision)
                if one is None:
                    print(f"{subject.model} does not run in {precision.name}")
                    continue
                print(render([one]).splitlines()[-1], flush=True)
                same = (one.model, one.clip, one.reference, one.precision)
                found = [f for f in found if (f.model, f.clip, f.reference, f.precision) != same]
                found.append(one)
                if not arguments.quick:
                    (HERE / "precision.md").write_text(render(found))
                    path.write_text(json.dumps([asdict(f) for f in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
