"""What 95 % intervals cover and how often a table names a false difference, in four regimes of clusters.

    python perf/intervals.py     writes perf/intervals.md and .json

Clusters (speakers) are drawn as `REGIMES` say, one utterance each. Coverage: the share of draws in which the interval
of a mean holds the truth, for the interval of xbench and for the plain t interval. False differences: the share of
draws in which `stats.compare` distinguishes any two of four methods that have the same mean. Power: how far two of six
methods must lie apart so that their simultaneous interval leaves out 0. Diagnosis: whether the sample itself could warn
of rare bad clusters, by the leverage of its furthest cluster or by its kurtosis.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import kurtosis, sem
from scipy.stats import t as student

from xbench.stats import compare, mean_estimate

HERE = Path(__file__).parent
DRAWS, TABLES = 4000, 300
BOOTSTRAP_DRAWS = 1000  # with 40 clusters and more, where each interval is also a bootstrap
CLUSTERS = (5, 8, 12, 20, 39, 60, 100)
COMPARED = (8, 16, 30, 60)
Regime = Callable[[np.random.Generator, int], np.ndarray]

# Each has the mean 0.
REGIMES: dict[str, Regime] = {
    "normal": lambda rng, n: 0.1 * rng.normal(size=n),
    "exponential tail": lambda rng, n: 0.1 * (1 - rng.exponential(size=n)),
    "lognormal tail": lambda rng, n: 0.1 * (np.exp(0.5) - rng.lognormal(size=n)),
    "8 % bad speakers": lambda rng, n: (
        0.5 * (0.08 - (rng.random(n) < 0.08)) + 0.05 * rng.normal(size=n)
    ),
}


def coverage(regime: Regime, count: int) -> tuple[float, float]:
    """Return the coverage of the interval of xbench and of the plain t interval."""
    rng = np.random.default_rng(count)
    names = [str(c) for c in range(count)]
    quantile = student.ppf(0.975, count - 1)
    ours = plain = 0
    draws = DRAWS if count < 40 else BOOTSTRAP_DRAWS
    for _ in range(draws):
        values = regime(rng, count)
        found = mean_estimate(values.tolist(), names, seed=0)
        assert found.low is not None
        assert found.high is not None
        ours += found.low <= 0 <= found.high
        plain += abs(values.mean()) <= quantile * sem(values)
    return ours / draws, plain / draws


def false_differences(regime: Regime, count: int) -> float:
    """Return how often any of three quiet methods and one of this regime, all of mean 0, are told apart."""
    rng = np.random.default_rng(count)
    names = [str(c) for c in range(count)]
    found = 0
    for seed in range(TABLES):
        rows = [*(0.01 * rng.normal(size=(3, count))), regime(rng, count)]
        table = compare(
            list("abcd"),
            [row.tolist() for row in rows],
            names,
            higher_is_better=True,
            seed=seed,
        )
        found += any(pair.distinguished for pair in table.pairs)
    return found / TABLES


BAD, DROP = 0.08, 0.5  # of the regime with bad speakers: how many are bad, and by how much
WARNED = 0.05  # share of normal samples that a diagnosis may flag


def leverage(values: np.ndarray) -> float:
    """Return the share of the furthest cluster in the sum of squares around the mean."""
    squares = (values - values.mean()) ** 2
    return float(squares.max() / squares.sum())


DIAGNOSES: dict[str, Callable[[np.ndarray], float]] = {"leverage": leverage, "kurtosis": kurtosis}


def diagnosed(count: int) -> dict[str, float]:
    """Return, of false differences among rare bad clusters, which share no diagnosis of the sample could have told.

    false: how often two methods of one mean are told apart, one of which is far worse on 8 % of the clusters. unseen:
    the share of these samples that hold no bad cluster. Then, per diagnosis that flags 5 % of normal samples, the share
    of the false differences that it flags, and `real ...` of true ones of the same size without any bad cluster.
    """
    rng = np.random.default_rng(count)
    names = [str(c) for c in range(count)]

    def distinguished(values: np.ndarray, seed: int) -> bool:
        rows = [(0.01 * rng.normal(size=count)).tolist(), values.tolist()]
        table = compare(list("ab"), rows, names, higher_is_better=True, seed=seed)
        return table.pairs[0].distinguished

    normal = rng.normal(size=(4000, count))
    bounds = {
        name: float(np.quantile([measure(row) for row in normal], 1 - WARNED))
        for name, measure in DIAGNOSES.items()
    }
    false, real, unseen = [], [], 0
    for seed in range(TABLES):
        quiet, bad = 0.05 * rng.normal(size=count), rng.random(count) < BAD
        values = DROP * (BAD - bad) + quiet
        if distinguished(values, seed):
            false.append(values)
            unseen += not bad.any()
        if distinguished(DROP * BAD + quiet, seed):
            real.append(DROP * BAD + quiet)
    found = {"false": len(false) / TABLES, "unseen": unseen / max(1, len(false))}
    for name, measure in DIAGNOSES.items():
        for label, samples in (("", false), ("real ", real)):
            flagged = [measure(values) > bounds[name] for values in samples]
            found[f"{label}{name}"] = float(np.mean(flagged)) if flagged else 0.0
    return found


def smallest_difference(count: int) -> float:
    """Return the median half-width of simultaneous intervals of six methods whose differences have a sd of 0.1."""
    rng = np.random.default_rng(count)
    names = [str(c) for c in range(count)]
    widths = []
    for seed in range(40):
        rows = 0.1 / np.sqrt(2) * rng.normal(size=(6, count))
        table = compare(list("abcdef"), rows.tolist(), names, higher_is_better=True, seed=seed)
        widths += [(p.high - p.low) / 2 for p in table.pairs if p.low is not None and p.high]
    return float(np.median(widths)) if widths else float("inf")


def main() -> None:
    """Simulate all, and write the report."""
    covered = {
        name: {str(c): coverage(regime, c) for c in CLUSTERS} for name, regime in REGIMES.items()
    }
    false = {
        name: {str(c): false_differences(regime, c) for c in COMPARED}
        for name, regime in REGIMES.items()
    }
    warned = {str(c): diagnosed(c) for c in COMPARED[:3]}
    power = {str(c): smallest_difference(c) for c in (6, 8, 12, 20, 40)}
    lines = [
        "# What intervals cover, and what a table tells apart",
        "",
        "Made by `python perf/intervals.py`. Coverage of 95 % intervals of a mean, 4,000 draws (1,000 from 40 clusters",
        "on): of xbench (that of the plain t interval).",
        "",
        "| clusters | " + " | ".join(REGIMES) + " |",
        "|---|" + "---|" * len(REGIMES),
    ]
    for c in CLUSTERS:
        cells = ("{:.3f} ({:.3f})".format(*covered[name][str(c)]) for name in REGIMES)
        lines.append(f"| {c} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "How often `stats.compare` tells any two of four methods apart that have the same mean (three are quiet, the",
        "fourth is of the regime), 300 tables; it should be 0.05.",
        "",
        "| clusters | " + " | ".join(REGIMES) + " |",
        "|---|" + "---|" * len(REGIMES),
    ]
    for c in COMPARED:
        lines.append(f"| {c} | " + " | ".join(f"{false[n][str(c)]:.3f}" for n in REGIMES) + " |")
    lines += [
        "",
        "Could the sample itself warn of rare bad clusters? Two methods of one mean, the second far worse on 8 % of",
        "the clusters: false differences; the share of them whose sample holds no bad cluster; the share that a",
        "diagnosis flags which flags 5 % of normal samples (in brackets: of real differences of the same size).",
        "",
        "| clusters | false differences | no bad cluster in the sample | flagged by leverage | by kurtosis |",
        "|---|---|---|---|---|",
    ]
    for c, row in warned.items():
        cells = [f"{row['false']:.3f}", f"{row['unseen']:.2f}"]
        cells += [f"{row[name]:.2f} ({row[f'real {name}']:.2f})" for name in DIAGNOSES]
        lines.append(f"| {c} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "The difference that two of six methods must have so that their simultaneous interval leaves out 0, in",
        "standard deviations of their difference over clusters (normal): "
        + ", ".join(f"{10 * width:.2f} with {c} clusters" for c, width in power.items())
        + ".",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (HERE / "intervals.md").write_text(text)
    facts = {"coverage": covered, "false_differences": false, "diagnosis": warned, "power": power}
    (HERE / "intervals.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
