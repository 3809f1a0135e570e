"""Is the reliability of a max-pooled reference what its halves say?

    python perf/pooling.py [--masks 4800]     prints a table (docs/validity.md holds it); minutes of a core

Many masks of superpixels are drawn for one clip of whisper-micro, as `spes-input` does. Some of them make a reference;
its reliability, carried from its halves to the whole by Spearman and Brown's formula, is what is *predicted*. What *is*
counted is how far two references of as many masks agree that share none: the mean over tokens of their rows'
correlation. Both are means over random deals of the same masks. For maps that are not pooled the two are the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from xbench.references.estimation import as_used
from xbench.references.sampled import SampledReference
from xbench.spec import Scoring

sys.path.insert(0, str(Path(__file__).parent))
from subjects import subjects
from surrogates import Drawn, counts, deal, draw, merged, plain

MODEL = "whisper-micro"
SHARES, DEALS = (8, 4, 2), 12


def corrected(drawn: Drawn, masks: np.ndarray, seed: int) -> list[float]:
    """Return the reliability of each row of the max-pooled map of these masks, by their halves."""
    some = Drawn(
        drawn.name,
        drawn.case,
        drawn.segmentation,
        drawn.level[masks],
        drawn.hidden[masks],
        drawn.effect[masks],
    )
    dealt = deal(some, len(masks), seed)
    halves = len(masks) - len(masks) // 2, len(masks) // 2
    kept = np.ones(drawn.effect.shape[1])
    reference = SampledReference(
        drawn.segmentation, plain(some, dealt), counts(some, dealt), halves, kept, "channel mean"
    )
    rows = as_used(merged(reference), drawn.case.layout, Scoring()).rows
    return [row for row in rows if row is not None]


def main() -> None:
    """Draw once, deal often, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", type=int, default=4800)
    total = parser.parse_args().masks
    subject = next(subjects(MODEL, 1))
    drawn = draw(f"{MODEL}, {subject.clip}", subject.case, total)
    print("| masks | predicted from halves | between references |\n|---|---|---|")
    for share in SHARES:
        own = total // share
        predicted, found = [], []
        for seed in range(DEALS):
            order = np.random.default_rng(seed).permutation(total)
            predicted.append(np.mean(corrected(drawn, order[:own], seed)))
            both = np.array(corrected(drawn, order[: 2 * own], seed))
            found.append(np.mean(both / (2 - both)))  # the correlation of the halves themselves
        print(f"| {own:,} | {np.mean(predicted):.2f} | {np.mean(found):.2f} |")


if __name__ == "__main__":
    main()
