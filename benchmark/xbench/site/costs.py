"""What runs took: per run as the data files and pages state it, and pooled over runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xbench.site.tables.boards import Number
from xbench.site.tables.entries import ListedRun


def significant(value: Number) -> Number:
    """Round a cost to four significant digits."""
    return None if value is None else float(f"{value:.4g}")


def seconds_per_audio_second(run: ListedRun) -> Number:
    """Return the seconds that a second of audio took; None where nobody timed it."""
    return significant(run.cost["seconds_per_audio_second"])


def passes_per_utterance(run: ListedRun) -> Number:
    """Return forward and backward passes per scored utterance; None where nobody counted them."""
    n = run.utterances
    counted = run.passes
    return significant(counted / n) if n and counted is not None else None


def peak_memory_mb(run: ListedRun) -> int | None:
    """Return the peak memory of the process (or accelerator) that made the run, in MB."""
    peak: int | None = run.cost["peak_memory_bytes"]
    return None if peak is None else peak // 1_000_000


def pooled_cost(costs: Sequence[tuple[Mapping[str, Any], int]]) -> tuple[Number, Number]:
    """Return seconds per second of audio and passes (both directions) per utterance, over several runs.

    costs: what each run took, as its result states it, and its number of scored utterances. Maps that
    others made come without a count: one run without it leaves the whole unknown.
    """
    spent = audio = 0.0
    passes: list[int | None] = []
    for cost, _ in costs:
        rate = cost["seconds_per_audio_second"]
        if rate:
            spent += cost["seconds"]
            audio += cost["seconds"] / rate
        both = (cost["forward_passes"], cost["backward_passes"])
        passes.append(None if None in both else sum(both))
    timed = all(cost["seconds"] is not None for cost, _ in costs)
    counted = [p for p in passes if p is not None]
    utterances = sum(n for _, n in costs)
    return (
        spent / audio if timed and audio else None,
        sum(counted) / utterances if utterances and len(counted) == len(passes) else None,
    )
