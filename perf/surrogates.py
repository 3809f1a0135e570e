"""Do regression-adjusted estimators save masks on superpixels?

    python perf/surrogates.py [--model FAMILY:FOLDER=CLIP ...]     writes perf/surrogates.json, prints a table

Every mask of one clip is kept with its effects, so that all estimators are judged on the same masks. A surrogate f of
the effect d is fitted on three of four folds of a half; on the fourth the estimate of E[d | segment hidden] is

    masked mean of d - f, plus E[f | segment hidden]

which is unbiased however bad f is (docs/references.md). E[f | s hidden] of a linear surrogate is exact; that of trees
is its masked mean over many more masks, for which no model runs:

    segments       a linear function of the segments of a level (the control variate of xbench)
    grid T x B     a linear function of the hidden shares of a grid of T ms by B bands; all levels are fitted together
    trees T x B    extremely randomised trees (Geurts et al. 2006) over the same shares

The saving is the number of masks with which the masked mean is as reliable as it is with all of them, divided by the
number with which the surrogate is. Reliability is that of the max-pooled map, as `until` judges it; halves and folds
are dealt several times, and the mean counts.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesRegressor

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.hiding.cells import SpectrogramCells
from xbench.hiding.effect import divergence
from xbench.hiding.masks import draw_mask, mask_key
from xbench.hiding.passes import Trial, choose
from xbench.hiding.segments import Segmentation, superpixels
from xbench.models.loading import load_model
from xbench.references.estimation import as_used
from xbench.references.estimators import FOLDS, Moments, Needs, control_variate
from xbench.references.sampled import SampledReference
from xbench.spec import Decoding, Scoring

sys.path.insert(0, str(Path(__file__).parent))
from subjects import MODELS, SHARED, subjects

HERE = Path(__file__).parent
P = 0.5
SLIC = {"rates": (400.0, 500.0, 600.0), "cap_seconds": 7.5, "compactness": 0.1, "sigma": 0.0}
GRIDS = ((40, 1), (80, 1), (80, 4), (160, 2))
TREES = ((80, 4), (160, 2))
# Masks per level on which the expectation of trees is taken; its variance is that of f over 1,500 masks that hide s.
FREE_MASKS = 3000
SHARES = (0.5, 1.0)


@dataclass(frozen=True)
class Drawn:
    """All masks of one clip: hidden [mask, segment] over the segments of the level of each, effects [mask, token]."""

    name: str
    case: Case
    segmentation: Segmentation
    level: np.ndarray
    hidden: np.ndarray
    effect: np.ndarray


@torch.inference_mode()
def draw(name: str, case: Case, masks: int) -> Drawn:
    """Run the model under random masks of superpixels, as `spes-input` does."""
    features = case.features
    seconds = features.melframes * features.melframe_seconds
    segmentation = superpixels(features.valid.float().cpu().numpy(), seconds, **SLIC)
    cells = SpectrogramCells(case)
    chosen = choose(cells, divergence, precision="auto", trial=Trial(segmentation, P))
    labels = torch.from_numpy(segmentation.labels).long()
    level = np.asarray(segmentation.distinct)[np.arange(masks) % len(segmentation.sizes)]
    hidden = np.zeros((masks, max(segmentation.sizes)), dtype=bool)
    key = mask_key(0, case.key)
    for n in range(masks):
        size = segmentation.sizes[level[n]]
        hidden[n, :size] = draw_mask(key, n, size, P)
    effect, first, begun = [], 0, time.perf_counter()
    while first < masks:
        rows = slice(first, first + chosen.measure.size)
        cell_masks = [
            torch.from_numpy(m)[labels[lv]] for m, lv in zip(hidden[rows], level[rows], strict=True)
        ]
        effect.append(chosen.measure(torch.stack(cell_masks)).value.double().numpy())
        first += len(cell_masks)
    pace = 1e3 * (time.perf_counter() - begun) / masks
    print(
        f"{name}: {masks} masks, {pace:.0f} ms each, {chosen.facts['precision']}", file=sys.stderr
    )
    return Drawn(name, case, segmentation, level, hidden, np.concatenate(effect))


def areas(drawn: Drawn, level: int, milliseconds: int, bands: int) -> np.ndarray:
    """Return which share of each part of the grid a segment of a level covers: [segment, part]."""
    labels = drawn.segmentation.labels[level]
    frames, mels = labels.shape
    step = max(1, round(milliseconds / 1000 / drawn.case.features.melframe_seconds))
    part = (np.arange(frames) // step)[:, None] * bands + (np.arange(mels) * bands // mels)[None]
    parts = int(part.max()) + 1
    both = labels.astype(np.int64) * parts + part
    size = drawn.segmentation.sizes[level]
    counted = np.bincount(both.ravel(), minlength=size * parts).reshape(size, parts)
    share: np.ndarray = counted / counted.sum(0, keepdims=True)
    return share


@dataclass(frozen=True)
class Dealt:
    """Which masks are used, and the half and fold of each."""

    used: np.ndarray
    half: np.ndarray
    fold: np.ndarray


def deal(drawn: Drawn, count: int, seed: int) -> Dealt:
    """Deal the first `count` masks to halves and folds at random, evenly."""
    order = np.random.default_rng(seed).permutation(count)
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    return Dealt(np.arange(count), place % 2, (place // 2) % FOLDS)


# From drawn masks, one deal, to sums [half, token, segment of all levels].
Estimator = Callable[[Drawn, Dealt], np.ndarray]


def levels_of(drawn: Drawn) -> list[int]:
    """Return the levels that differ."""
    return sorted(set(drawn.segmentation.distinct))


def columns(drawn: Drawn, level: int) -> slice:
    """Return where the segments of a level lie among all."""
    first = sum(drawn.segmentation.sizes[:level])
    return slice(first, first + drawn.segmentation.sizes[level])


def counts(drawn: Drawn, dealt: Dealt) -> np.ndarray:
    """Return how many masks of each half hide a segment."""
    found = np.zeros((2, drawn.segmentation.total), dtype=np.int64)
    for level in levels_of(drawn):
        size = drawn.segmentation.sizes[level]
        for half in (0, 1):
            rows = (drawn.level[dealt.used] == level) & (dealt.half == half)
            found[half, columns(drawn, level)] = drawn.hidden[dealt.used][rows, :size].sum(0)
    return found


def plain(drawn: Drawn, dealt: Dealt, effect: np.ndarray | None = None) -> np.ndarray:
    """Return the sums of the masked mean."""
    values = drawn.effect[dealt.used] if effect is None else effect
    sums = np.zeros((2, values.shape[1], drawn.segmentation.total))
    for level in levels_of(drawn):
        size = drawn.segmentation.sizes[level]
        for half in (0, 1):
            rows = (drawn.level[dealt.used] == level) & (dealt.half == half)
            sums[half][:, columns(drawn, level)] = (
                values[rows].T @ drawn.hidden[dealt.used][rows, :size]
            )
    return sums


def by_segments(drawn: Drawn, dealt: Dealt) -> np.ndarray:
    """Return the sums of xbench's own control variate."""
    sums = np.zeros((2, drawn.effect.shape[1], drawn.segmentation.total))
    for level in levels_of(drawn):
        size = drawn.segmentation.sizes[level]
        moments = Moments.empty(size, drawn.effect.shape[1], Needs(gram=True))
        for half in (0, 1):
            for fold in range(FOLDS):
                rows = (
                    (drawn.level[dealt.used] == level) & (dealt.half == half) & (dealt.fold == fold)
                )
                moments.add(
                    half,
                    fold,
                    torch.from_numpy(drawn.hidden[dealt.used][rows, :size]),
                    torch.from_numpy(drawn.effect[dealt.used][rows]),
                )
        sums[:, :, columns(drawn, level)] = control_variate(moments, P).numpy()
    return sums


# What a surrogate says of masks whose hidden shares are given: from [mask, part] to [mask, token].
Surrogate = Callable[[np.ndarray], np.ndarray]


def ridge(shares: np.ndarray, effects: np.ndarray) -> Surrogate:
    """Fit a linear function; the ridge is the best one where the parts explain half of the variance."""
    mean, level = shares.mean(0), effects.mean(0)
    x = shares - mean
    gram = x.T @ x
    gram.flat[:: len(gram) + 1] += x.var(0).sum()
    slopes = np.linalg.solve(gram, x.T @ (effects - level))
    return lambda other: level + (other - mean) @ slopes


def trees(shares: np.ndarray, effects: np.ndarray) -> Surrogate:
    """Fit trees to all tokens at once, each brought to one scale."""
    level, scale = effects.mean(0), effects.std(0) + 1e-12
    forest = ExtraTreesRegressor(60, min_samples_leaf=5, max_features=0.33, random_state=0)
    forest.fit(shares, (effects - level) / scale)
    return lambda other: level + forest.predict(other) * scale


def exact(predict: Surrogate, covered: np.ndarray, seed: int) -> np.ndarray:
    """Return E[f | segment hidden] of a linear f: f of the shares that are expected then, [token, segment]."""
    expected: np.ndarray = predict(P * covered.sum(0) + (1 - P) * covered).T
    return expected


def simulated(predict: Surrogate, covered: np.ndarray, seed: int) -> np.ndarray:
    """Return E[f | segment hidden] of any f, from masks that nothing else uses: [token, segment]."""
    hidden = np.random.default_rng(seed).random((FREE_MASKS, len(covered))) < P
    told = predict(hidden @ covered)
    # The mean of f is the same for all segments and known better than that over the masks that hide one of them.
    mean = told.mean(0)
    centred: np.ndarray = (told - mean).T @ hidden / hidden.sum(0) + mean[:, None]
    return centred


def adjusted(
    milliseconds: int,
    bands: int,
    fit: Callable[[np.ndarray, np.ndarray], Surrogate] = ridge,
    expect: Callable[[Surrogate, np.ndarray, int], np.ndarray] = exact,
) -> Estimator:
    """Return the estimator with a surrogate on the grid, cross-fitted within each half."""

    def estimate(drawn: Drawn, dealt: Dealt) -> np.ndarray:
        levels, tokens = levels_of(drawn), drawn.effect.shape[1]
        covered = {level: areas(drawn, level, milliseconds, bands) for level in levels}
        level, hidden, effect = (
            drawn.level[dealt.used],
            drawn.hidden[dealt.used],
            drawn.effect[dealt.used],
        )
        shares = np.zeros((len(level), next(iter(covered.values())).shape[1]))
        for each in levels:
            rows = level == each
            shares[rows] = hidden[rows][:, : drawn.segmentation.sizes[each]] @ covered[each]
        rest = np.zeros_like(effect)
        expected = np.zeros((2, FOLDS, tokens, drawn.segmentation.total))
        for half in (0, 1):
            for fold in range(FOLDS):
                own = (dealt.half == half) & (dealt.fold == fold)
                others = (dealt.half == half) & (dealt.fold != fold)
                predict = fit(shares[others], effect[others])
                rest[own] = effect[own] - predict(shares[own])
                for each in levels:
                    seed = (half * FOLDS + fold) * len(drawn.segmentation.sizes) + each
                    given = expect(predict, covered[each], seed)
                    expected[half, fold][:, columns(drawn, each)] = given
        sums = plain(drawn, dealt, rest)
        for half in (0, 1):
            for fold in range(FOLDS):
                for each in levels:
                    rows = (level == each) & (dealt.half == half) & (dealt.fold == fold)
                    times = hidden[rows][:, : drawn.segmentation.sizes[each]].sum(0)
                    where = columns(drawn, each)
                    sums[half][:, where] += expected[half, fold][:, where] * times
        return sums

    return estimate


ESTIMATORS: dict[str, Estimator] = {
    "masked mean": plain,
    "segments": by_segments,
    **{f"grid {t} ms x {b}": adjusted(t, b) for t, b in GRIDS},
    **{f"trees {t} ms x {b}": adjusted(t, b, trees, simulated) for t, b in TREES},
}


def reliability(drawn: Drawn, estimator: Estimator, count: int, deals: int) -> float:
    """Return the reliability of the max-pooled map, the mean over several deals of the same masks."""
    found = []
    for seed in range(deals):
        dealt = deal(drawn, count, seed)
        reference = SampledReference(
            drawn.segmentation,
            estimator(drawn, dealt),
            counts(drawn, dealt),
            (count - count // 2, count // 2),
            np.ones(drawn.effect.shape[1]),
            "channel mean",
        )
        found.append(as_used(merged(reference), drawn.case.layout, Scoring()).value or 0.0)
    return math.fsum(found) / len(found)


def merged(reference: SampledReference) -> SampledReference:
    """Return the reference over the levels that differ (equal levels are added up as the first of them)."""
    kept = sorted(set(reference.segmentation.distinct))
    sizes = reference.segmentation.sizes
    offsets = np.cumsum((0, *sizes))
    own = np.concatenate([np.arange(offsets[level], offsets[level + 1]) for level in kept])
    return SampledReference(
        Segmentation(reference.segmentation.labels[kept], tuple(sizes[level] for level in kept)),
        reference.sums[:, :, own],
        reference.counts[:, own],
        reference.masks,
        reference.kept,
        reference.neutral,
    )


def saving(counts_: Sequence[int], values: Sequence[float], target: float) -> float:
    """Return all masks over the masks at which a curve reaches the target; below 1 where it ends below it.

    Between checkpoints (and beyond the last) (1 - r) / r is taken to fall as a power of the number of masks.
    """
    x = np.log(counts_)
    y = np.log([(1 - r) / max(r, 1e-3) for r in values])
    wanted = math.log((1 - target) / target)
    slope, offset = np.polyfit(x, y, 1)
    return float(math.exp(x[-1] - (wanted - offset) / slope))


def report(drawn: Drawn, deals: int) -> dict[str, object]:
    """Judge all estimators at every checkpoint."""
    total = len(drawn.level)
    checkpoints = [round(share * total) for share in SHARES]
    curves: dict[str, list[float]] = {}
    for name, estimator in ESTIMATORS.items():
        begun = time.perf_counter()
        curves[name] = [reliability(drawn, estimator, count, deals) for count in checkpoints]
        spent = time.perf_counter() - begun
        print(
            f"{drawn.name}, {name}: {[f'{v:.3f}' for v in curves[name]]}, {spent:.0f} s",
            file=sys.stderr,
        )
    target = curves["masked mean"][-1]
    fitted = {name: saving(checkpoints, curve, target) for name, curve in curves.items()}
    return {
        "clip": drawn.name,
        "masks": checkpoints,
        "reliability": curves,
        "saving": {name: value / fitted["masked mean"] for name, value in fitted.items()},
    }


def main() -> None:
    """Collect, judge, write and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="FAMILY:FOLDER=CLIP of ../shared/audio, beside the three small models",
    )
    parser.add_argument("--masks", type=int, default=1200)
    parser.add_argument(
        "--own-masks", type=int, default=400, help="masks of models given with --model"
    )
    parser.add_argument("--deals", type=int, default=2)
    parser.add_argument("--small", nargs="*", default=list(MODELS))
    parser.add_argument("--out", type=Path, default=HERE / "surrogates.json")
    arguments = parser.parse_args()
    done = []
    for name in arguments.small:
        for subject in subjects(name, 1):
            done.append(
                report(
                    draw(f"{name}, {subject.clip}", subject.case, arguments.masks), arguments.deals
                )
            )
    for text in arguments.model:
        location, _, clip = text.rpartition("=")
        model = load_model(location, device="cpu")
        features = model.features(
            read_audio(SHARED / "audio" / f"{clip}.flac", model.info.sampling_rate)
        )
        case = Case(model, features, model.decode(features, "en", None, Decoding()), clip)
        done.append(
            report(draw(f"{model.info.name}, {clip}", case, arguments.own_masks), arguments.deals)
        )
    (arguments.out).write_text(json.dumps(done, indent=1) + "\n")
    print("| clip | masks | " + " | ".join(ESTIMATORS) + " |")
    print("|---" * (len(ESTIMATORS) + 2) + "|")
    for row in done:
        cells = [f"{row['reliability'][n][-1]:.3f} ({row['saving'][n]:.2f})" for n in ESTIMATORS]  # type: ignore[index]
        print(f"| {row['clip']} | {row['masks'][-1]} | " + " | ".join(cells) + " |")  # type: ignore[index]


if __name__ == "__main__":
    main()
