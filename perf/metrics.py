"""What the agreement metrics cost: all of them, for many methods, from maps in memory.

    python perf/metrics.py                 50 utterances, scaled to 1,000; writes perf/metrics.md and .json
    python perf/metrics.py --full          all 1,000 utterances, shared by the processes of --workers
    python perf/metrics.py --quick         5 utterances, prints only

1. seconds for 50 methods x 1,000 utterances x 40 tokens x 250 frames, per process and on all workers;
2. what each metric adds, in milliseconds per utterance of 50 methods, in the order of the registry
   (the first one that needs ranks pays for the ranks);
3. the same against one call per map and against loops over tokens with scipy and scikit-learn.

Times are CPU seconds of the processes, which a shared machine disturbs less than wall time. The maps lie in
memory: reading them from the store is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import cosine, jensenshannon
from scipy.stats import kendalltau, pearsonr, spearmanr, wasserstein_distance
from sklearn.metrics import average_precision_score, roc_auc_score

from xbench import registry
from xbench.maps import GridMap, Layout
from xbench.metrics.batch import Maps, batches, score_all
from xbench.models import allocator
from xbench.spec import Call, Scoring

HERE = Path(__file__).parent
METHODS, UTTERANCES, TOKENS, FRAMES = 50, 1_000, 40, 250
SCORING = Scoring()
BUDGET_SECONDS = 60


def described() -> list[tuple[Any, dict[str, Any]]]:
    """Return every agreement metric with its default parameters."""
    found = [registry.metrics.resolve(Call(name)) for name in registry.metrics.names()]
    return [(d, call.given) for d, call in found if d.family == "agreement"]


def utterance(seed: int) -> tuple[list[GridMap], GridMap, Layout, tuple[tuple[float, float], ...]]:
    """Make the maps of all methods (half of them distributions), a reference, and word times."""
    rng = np.random.default_rng(seed)
    rows = TOKENS + 1  # end of text
    names = tuple(str(row) for row in range(rows))
    axes = Layout(tuple(range(rows)), names, tuple(range(TOKENS)), FRAMES, 2 * FRAMES, 2, 0.01)
    maps = rng.gamma(0.5, size=(METHODS, rows, FRAMES)).astype(np.float32).astype(np.float64)
    maps[::2] /= maps[::2].sum(2, keepdims=True)
    reference = GridMap(1 + 0.1 * rng.gamma(0.5, size=(rows, FRAMES)))
    spans = tuple((0.12 * row, 0.12 * row + 0.1) for row in range(rows))
    return [GridMap(m) for m in maps], reference, axes, spans


def score_utterance(seed: int) -> dict[str, float]:
    """Score all methods of one utterance by all metrics; return the CPU seconds of each."""
    grids, reference, axes, spans = utterance(seed)
    spent: dict[str, float] = {}
    mark = time.process_time()
    target = Maps.of([reference], axes)
    for batch in batches(grids, axes):
        maps = Maps.of([grids[index] for index in batch], axes)
        for description, params in described():
            score_all(description, params, maps, target, SCORING, spans)
            now = time.process_time()
            spent[description.name] = spent.get(description.name, 0.0) + now - mark
            mark = now
    return spent


def one_by_one(seed: int) -> float:
    """Return the CPU seconds of one plain call per map and metric, for 5 of the methods."""
    grids, reference, axes, spans = utterance(seed)
    started = time.process_time()
    for description, params in described():
        given = params | ({"spans": spans} if "words" in description.needs else {})
        compute = description.load()
        for grid in grids[:5]:
            compute(grid, reference, axes, SCORING, **given)
    return (time.process_time() - started) * METHODS / 5


def loops(seed: int) -> dict[str, float]:
    """Return the CPU seconds of loops over tokens with the usual libraries, for 2 of the methods."""
    grids, reference, _, _ = utterance(seed)
    times = 0.02 * np.arange(FRAMES)
    rows: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
        "pearson": pearsonr,
        "spearman": spearmanr,
        "kendall-tau-b": kendalltau,
        "cosine": cosine,
        "js-divergence": lambda a, b: jensenshannon(a, b, 2),
        "emd": lambda a, b: wasserstein_distance(times, times, a, b),
        "auroc": lambda a, b: roc_auc_score(b >= np.sort(b)[-25], a),
        "auprc": lambda a, b: average_precision_score(b >= np.sort(b)[-25], a),
    }
    spent = {}
    for name, compute in rows.items():
        started = time.process_time()
        for grid in grids[:2]:
            for ours, theirs in zip(grid.values, reference.values, strict=True):
                compute(ours, theirs)
        spent[name] = (time.process_time() - started) * METHODS / 2
    return spent


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    count = UTTERANCES if options.full else 5 if options.quick else 50
    allocator.keep_freed_memory()
    score_utterance(0)
    with ProcessPoolExecutor(options.workers, initializer=allocator.keep_freed_memory) as pool:
        spent = list(pool.map(score_utterance, range(count), chunksize=max(1, count // 20)))
    by_metric = {name: statistics.median(s[name] for s in spent) for name in spent[0]}
    cpu = sum(sum(s.values()) for s in spent) / count
    looped = loops(0)
    shared = sum(by_metric[name] for name in looped)
    report = {
        "utterances": count,
        "workers": options.workers,
        "load_average": os.getloadavg()[0],
        "cpu_seconds_of_all": cpu * UTTERANCES,
        "cpu_seconds_per_worker": cpu * UTTERANCES / options.workers,
        "budget_seconds": BUDGET_SECONDS,
        "milliseconds_per_utterance": {name: 1e3 * value for name, value in by_metric.items()},
        "one_by_one_over_batched": one_by_one(0) / cpu,
        "loops_over_batched": sum(looped.values()) / shared,
    }
    text = render(report)
    print(text)
    if not options.quick:
        (HERE / "metrics.json").write_text(json.dumps(report, indent=1) + "\n")
        (HERE / "metrics.md").write_text(text)


def render(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Cost of the agreement metrics",
        "",
        f"Made by `python perf/metrics.py` from {report['utterances']} utterances, scaled to "
        f"{UTTERANCES:,}; load average {report['load_average']:.1f} while it ran.",
        "",
        f"All {len(report['milliseconds_per_utterance'])} metrics for {METHODS} methods x "
        f"{UTTERANCES:,} utterances x {TOKENS} tokens x {FRAMES} frames:",
        "",
        "| | seconds |",
        "|---|---|",
        f"| CPU | {report['cpu_seconds_of_all']:.0f} |",
        f"| CPU per process, {report['workers']} processes | {report['cpu_seconds_per_worker']:.0f} |",
        f"| budget on two cores | {report['budget_seconds']} |",
        "",
        f"One call per map instead of a batch: {report['one_by_one_over_batched']:.1f} times the CPU time. "
        f"Loops over tokens with scipy and scikit-learn, the eight metrics they have: "
        f"{report['loops_over_batched']:.0f} times.",
        "",
        "| metric | ms per utterance (50 methods) |",
        "|---|---|",
    ]
    costs = report["milliseconds_per_utterance"].items()
    lines += [f"| `{name}` | {value:.1f} |" for name, value in costs]
    lines += [
        "",
        "What several metrics share (ranks, mass, z-scores) is counted where it is first used.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
