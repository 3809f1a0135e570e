"""Why scores of runs are missing, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from xbench.site.tables.entries import ListedRun

MOST_LINES = 60


@dataclass(frozen=True)
class Failure:
    """What is missing of a model, why, and for how many utterances or runs."""

    model: str
    what: str
    reason: str
    count: int


def failures(runs: Sequence[ListedRun]) -> tuple[Failure, ...]:
    """Return why scores of these runs are missing, and how often, most often first."""
    found: Counter[tuple[str, str, str]] = Counter()
    for run in runs:
        if run.data["status"] in ("unsupported", "failed"):
            found[run.model.title, run.data["status"], run.data["reason"] or "not recorded"] += 1
        for failure in run.data["failures"]:
            found[run.model.title, "utterance failed", failure["reason"]] += 1
        for score in run.data["scores"]:
            for reason, count in score["undefined"].items():
                found[run.model.title, f"no {score['metric']}", reason] += count
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Failure(*key, count) for key, count in ordered[:MOST_LINES])
