"""How far the estimates of ceilings are from what a map without noise really scores, on real models.

    python perf/ceilings.py --blocks FOLDER                    writes perf/ceilings.md and .json
    python perf/ceilings.py --blocks FOLDER --whisper CHECKPOINT   Whisper tiny.en too, from a folder with its weights

Of every model and clip many masks are drawn, in blocks that are kept in FOLDER (a second run reads them). A reference
of few masks is made of two random sets of blocks, its halves; all other blocks together are the near-noise-free map. So
each estimate, made from the halves alone, stands beside what the near-noise-free map scores against that reference.
That map has some noise left; it is far smaller, but what it scores is a little low for it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.maps import GridMap, Layout
from xbench.metrics.agreement import pearson, pearson_paper
from xbench.models.loading import load_model
from xbench.references import spes
from xbench.references.estimation import Accumulated, Sampling
from xbench.references.reliability import (
    ceiling_pearson,
    ceiling_pearson_paper,
    structural,
    utterance_reliability,
)
from xbench.spec import Decoding, Scoring

sys.path.insert(0, str(Path(__file__).parent))
from subjects import SHARED, Subject, subjects

HERE = Path(__file__).parent
# Models, how many clips of each, and masks; a block is 500 masks (400 of Whisper tiny.en), 250 in each half.
DRAWN = (("xbench-tiny", 1, 24_000), ("whisper-micro", 1, 10_000))
WHISPER_CLIPS = ("en-vctk-p233-clam", "en-harvard-sb-spk1-snt5")
UNITS = (1, 2, 4, 8, 16)  # blocks per half
DRAWS = 12
SCORING = Scoring()
COLUMNS = (
    *("reliability", "structural", "structural of the mean", "pearson-paper", "true pearson-paper"),
    *("pearson", "true pearson"),
)


def whisper_subjects(checkpoint: Path) -> Iterator[Subject]:
    """Yield the clips of real speech with a Whisper checkpoint."""
    model = load_model(f"whisper:{checkpoint}", device="cpu")
    for clip in WHISPER_CLIPS:
        audio = read_audio(SHARED / "real" / f"{clip}.flac", model.info.sampling_rate)
        features = model.features(audio)
        hypothesis = model.decode(features, "en", None, Decoding())
        seconds = len(audio) / model.info.sampling_rate
        case = Case(model, features, hypothesis, clip)
        yield Subject("whisper-tiny.en", clip, seconds, case)


def draw(subject: Subject, masks: int, block: int, path: Path) -> None:
    """Draw the masks of one utterance and keep sums and counts of every half of every block."""
    kept: list[tuple[np.ndarray, np.ndarray]] = []

    def watch(sums: Accumulated) -> None:
        so_far = sums.reference("masked-mean")
        assert so_far is not None
        kept.append((so_far.sums.copy(), so_far.counts.copy()))

    spes.spes_encoder(subject.case, Sampling(block=block, watch=watch), masks=masks, p=0.7)
    sums = np.diff(np.stack([np.zeros_like(kept[0][0]), *(s for s, _ in kept)]), axis=0)
    counts = np.diff(np.stack([np.zeros_like(kept[0][1]), *(c for _, c in kept)]), axis=0)
    axes = subject.case.layout
    np.savez(
        path,
        sums=sums.reshape(-1, *sums.shape[2:]).astype(np.float32),
        counts=counts.reshape(-1, counts.shape[2]),
        content=axes.content,
        tokens=axes.tokens,
    )


def measure(path: Path) -> list[dict[str, Any]]:
    """Return one entry per number of masks: the mean and deviation of estimates and of what is true."""
    stored = np.load(path)
    content = list(stored["content"])
    sums, counts = stored["sums"].astype(np.float64)[:, content], stored["counts"]
    frames, rows = sums.shape[2], len(content)
    names = tuple(map(str, range(rows)))
    axes = Layout(tuple(range(rows)), names, tuple(range(rows)), frames, 2 * frames, 2, 0.01)
    rng = np.random.default_rng(0)

    def of(units: np.ndarray) -> GridMap:
        return GridMap(sums[units].sum(0) / counts[units].sum(0))

    entries = []
    for size in UNITS:
        if 4 * size > len(sums):
            break
        found: dict[str, list[float]] = {name: [] for name in COLUMNS}
        for _ in range(DRAWS):
            order = rng.permutation(len(sums))
            halves = of(order[:size]), of(order[size : 2 * size])
            mean, clean = of(order[: 2 * size]), of(order[2 * size :])
            paper = ceiling_pearson_paper(mean, *halves, axes, SCORING)
            row = {
                "reliability": utterance_reliability(*halves, axes).value,
                "structural": paper.structural,
                "structural of the mean": structural(mean, axes, SCORING),
                "pearson-paper": paper.upper,
                "true pearson-paper": pearson_paper(
                    clean, mean, axes, SCORING, rows="z-score"
                ).value,
                "pearson": ceiling_pearson(mean, *halves, axes, SCORING).upper,
                "true pearson": pearson(clean, mean, axes, SCORING).value,
            }
            for name, value in row.items():
                found[name].append(value or 0.0)
        whole = of(np.arange(len(sums)))
        masks = round(float(counts.sum(0).mean()) / 0.7 / len(sums) * 2 * size)
        entries.append(
            {
                "utterance": path.stem,
                "masks": masks,
                "whole": structural(whole, axes, SCORING),
                "whole, cross-fitted": ceiling_pearson_paper(
                    whole,
                    of(np.arange(0, len(sums), 2)),
                    of(np.arange(1, len(sums), 2)),
                    axes,
                    SCORING,
                ).structural,
                **{n: [float(np.mean(v)), float(np.std(v))] for n, v in found.items()},
            }
        )
    return entries


def render(entries: list[dict[str, Any]]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Are the ceilings right?",
        "",
        "Made by `python perf/ceilings.py`. A reference (`spes-encoder`, p = 0.7) of so many masks, 12 draws of each:",
        "what is estimated from its two halves, on average, beside what is true. *Structural* is what the",
        "normalisations of `pearson-paper` allow without noise: cross-fitted between the halves, and, as it was before",
        "version 2 of that metric, of the noisy mean map. It does not depend on the masks, so its estimates should not",
        "either. *All masks*: both of the map of all masks drawn, which is nearly free of noise. *True*: what the map",
        "of all other masks scores. Deviations are those of single draws.",
        "",
        "| utterance | masks | reliability | structural: cross-fitted | of the mean | all masks: cross-fitted, "
        "of the mean | ceiling of `pearson-paper` | true | ceiling of `pearson` | true |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for e in entries:
        shown = {n: "{:.3f} ± {:.3f}".format(*e[n]) for n in COLUMNS}
        lines.append(
            f"| {e['utterance'].removesuffix('-spes-encoder')} | {e['masks']:,} | {e['reliability'][0]:.3f} "
            f"| {shown['structural']} | {e['structural of the mean'][0]:.3f} "
            f"| {e['whole, cross-fitted']:.3f}, {e['whole']:.3f} | {shown['pearson-paper']} "
            f"| {e['true pearson-paper'][0]:.3f} | {shown['pearson']} | {e['true pearson'][0]:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw what is not there, measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=Path, required=True, help="where drawn masks are kept")
    parser.add_argument("--whisper", type=Path, help="a folder with the weights of Whisper tiny.en")
    arguments = parser.parse_args()
    arguments.blocks.mkdir(parents=True, exist_ok=True)
    todo = [(subject, n, 500) for model, k, n in DRAWN for subject in subjects(model, k)]
    if arguments.whisper:
        todo += [(subject, 12_000, 400) for subject in whisper_subjects(arguments.whisper)]
    entries = []
    for subject, masks, block in todo:
        path = arguments.blocks / f"{subject.model}-{subject.clip}-spes-encoder.npz"
        if not path.exists():
            draw(subject, masks, block, path)
        entries += measure(path)
    text = render(entries)
    print(text)
    (HERE / "ceilings.md").write_text(text)
    (HERE / "ceilings.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
