"""Whether orders of methods agree: under two normalisations, between runs, and with the demo."""

from __future__ import annotations

from collections.abc import Sequence

from findings_runs import Run, interval, table
from xbench.stats.intervals import Estimate
from xbench.stats.ranking import rank_agreement, rank_agreement_apart

MOST_MISSING = 0.1  # of the clips: a method that lacks more would leave them out for all others


def agreement(runs: Sequence[Run], demo: Run | None) -> list[str]:
    """Say how far orders agree: two normalisations, two models, languages, tasks, and the demo's clips."""
    rows, left_out = [], set()
    for run in runs:
        for name, columns in _others(run).items():
            kept = [label for label, column in columns.items() if _mostly_there(column)]
            left_out |= columns.keys() - kept
            tau = rank_agreement(
                [run.column(label, "pearson") for label in kept],
                [columns[label] for label in kept],
                run.clusters,
                seed=0,
            )
            rows.append(_row(f"{run.name}: per token against {name}", kept, tau))
    pairs = [(a, b) for index, a in enumerate(runs) for b in runs[index + 1 :]]
    for one, other in [*pairs, *((run, demo) for run in runs if demo is not None)]:
        labels = [label for label in one.judged() if label in other.judged()]
        name = f"{one.name} against {other.name}"
        rows.append(_row(name, labels, orders(one, other, labels)))
    lines = table(["orders of methods", "methods", "clips", "Kendall's tau"], rows)
    if left_out:
        names = ", ".join(f"`{label}`" for label in sorted(left_out))
        lines += [
            f"Left out where the other score lacks more than a tenth of the clips: {names}.",
            "",
        ]
    return lines


def _others(run: Run) -> dict[str, dict[str, list[float | None]]]:
    """Return the scores per utterance that the score per token is held against, by name and method."""
    labels = run.judged()
    others = {"the paper's": {label: run.column(label, "pearson-paper") for label in labels}}
    weighted = {label: run.by_effect(label) for label in labels}
    known = {label: column for label, column in weighted.items() if column is not None}
    return others | ({"by effect": known} if len(known) == len(labels) else {})


def _mostly_there(column: Sequence[float | None]) -> bool:
    return sum(value is None for value in column) <= MOST_MISSING * len(column)


def _row(name: str, labels: Sequence[str], tau: Estimate) -> list[str]:
    return [name, f"{len(labels)}", f"{tau.n}", shown(tau)]


def orders(one: Run, other: Run, labels: Sequence[str]) -> Estimate:
    """Compare orders of methods in two runs: on the clips that both have, or each on its own where none is shared."""
    first, second = ([run.column(label, "pearson") for label in labels] for run in (one, other))
    own = {key: index for index, key in enumerate(one.any.utterances["id"])}
    shared = [(own[key], i) for i, key in enumerate(other.any.utterances["id"]) if key in own]
    if not shared:
        return rank_agreement_apart(first, second, (one.clusters, other.clusters), seed=0)
    here, there = zip(*shared, strict=True)
    return rank_agreement(
        [[column[i] for i in here] for column in first],
        [[column[i] for i in there] for column in second],
        [one.clusters[i] for i in here],
        seed=0,
    )


def shown(tau: Estimate) -> str:
    """Write an agreement with its interval."""
    return interval(tau.value, None if tau.low is None or tau.high is None else (tau.low, tau.high))
