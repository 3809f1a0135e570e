"""How long the statistics of a table take: 50 methods, 1,000 utterances.

    python perf/significance.py              writes perf/significance.md and perf/significance.json

10,000-draw bootstrap of score, floor, ceiling, skill and disattenuated score of 50 methods, all 1,225 pairwise
tests with 10,000 flips, and Kendall's tau-b of two rankings with its interval, for 100 speakers and for
1,000 clusters of one utterance; beside them what scipy takes for the bootstrap of one mean, times 50.
The bound is 20 s on two cores (bootstrap and tests together).
"""

from __future__ import annotations

import sys
from pathlib import Path

# This file is called like a module of the standard library that others import.
sys.path = [p for p in sys.path if Path(p).resolve() != Path(__file__).resolve().parent]

# ruff: noqa: E402
import json
import time
from collections.abc import Callable

import numpy as np
from scipy.stats import bootstrap

from xbench import stats

HERE = Path(__file__).parent
METHODS, UTTERANCES, BOUND = 50, 1000, 20.0


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(n_clusters: int) -> dict[str, float]:
    """Time the statistics of one table with this many clusters."""
    rng = np.random.default_rng(n_clusters)
    clusters = [f"{index % n_clusters:04}" for index in range(UTTERANCES)]
    ceiling = rng.uniform(0.7, 0.95, size=UTTERANCES)
    floor = 0.2 + 0.05 * rng.normal(size=UTTERANCES)
    share = np.linspace(0.3, 0.7, METHODS)[:, None]
    scores = share * ceiling + 0.1 * rng.normal(size=(METHODS, UTTERANCES))
    others = scores + 0.1 * rng.normal(size=scores.shape)
    rows, floors, ceilings = scores.tolist(), floor.tolist(), ceiling.tolist()
    names = [f"method-{index}" for index in range(METHODS)]

    def intervals() -> None:
        for row in rows:
            stats.mean_estimate(row, clusters, seed=0)
            stats.mean_estimate(floors, clusters, seed=0)
            stats.mean_estimate(ceilings, clusters, seed=0)
            stats.skill(row, floors, ceilings, clusters, seed=0)
            stats.disattenuated(row, ceilings, clusters, seed=0)

    by_cluster = np.stack([scores[:, i::n_clusters].mean(axis=1) for i in range(n_clusters)])
    return {
        "clusters": n_clusters,
        "intervals": seconds(intervals),
        "pairwise tests": seconds(
            lambda: stats.compare(names, rows, clusters, higher_is_better=True, seed=0)
        ),
        "rank agreement": seconds(
            lambda: stats.rank_agreement(rows, others.tolist(), clusters, seed=0)
        ),
        "scipy, 50 means": METHODS
        * seconds(
            lambda: bootstrap(
                (by_cluster[:, 0],), np.mean, n_resamples=10_000, method="percentile", batch=500
            )
        ),
    }


def main() -> None:
    """Measure and write the table."""
    measured = [measure(100), measure(1000)]
    lines = [
        "# Statistics of a table",
        "",
        f"{METHODS} methods, {UTTERANCES} utterances, seconds; made by `python perf/significance.py`. Intervals are "
        "five per method (250 bootstraps); the scipy column is the time of one mean of clusters, times 50.",
        "",
        "| " + " | ".join(measured[0]) + " |",
        "|" + "---|" * len(measured[0]),
    ]
    for row in measured:
        cells = (f"{v:.0f}" if k == "clusters" else f"{v:.2f}" for k, v in row.items())
        lines.append("| " + " | ".join(cells) + " |")
    worst = max(row["intervals"] + row["pairwise tests"] for row in measured)
    lines += ["", f"Intervals and tests together: {worst:.1f} s at most; the bound is {BOUND:g} s."]
    (HERE / "significance.md").write_text("\n".join(lines) + "\n")
    (HERE / "significance.json").write_text(json.dumps(measured, indent=1) + "\n")
    print("\n".join(lines))
    if worst > BOUND:
        sys.exit(f"too slow: {worst:.1f} s, the bound is {BOUND:g} s")


if __name__ == "__main__":
    main()
