"""What runs took: per run as the data files and pages state it, and pooled over runs."""

from __future__ import annotations

from collections.abc import Sequence

from xbench.site.tables.boards import Number, Row
from xbench.site.tables.entries import ListedRun


def significant(value: Number) -> Number:
    """Round a cost to four significant digits."""
    return None if value is None else float(f"{value:.4g}")


def seconds_per_audio_second(run: ListedRun) -> Number:
    """Return the seconds that a second of audio took; None where nobody timed it."""
    return significant(run.cost["seconds_per_audio_second"])


def passes_per_utterance(run: ListedRun) -> Number:
    """Return forward and backward passes per scored utterance; None where nobody counted them."""
    n = len(run.data["utterances"]["id"])
    counted = run.passes
    return significant(counted / n) if n and counted is not None else None


def peak_memory_mb(run: ListedRun) -> int | None:
    """Return the peak memory of the process (or accelerator) that made the run, in MB."""
    peak: int | None = run.cost["peak_memory_bytes"]
    return None if peak is None else peak // 1_000_000


def cost_of(rows: Sequence[Row]) -> tuple[Number, Number]:
    """Return seconds per second of audio and passes (both directions) per utterance, over all rows.

    Maps that others made come without a count: one row without it leaves the whole unknown.
    """
    spent = audio = 0.0
    for row in rows:
        rate = row.run.cost["seconds_per_audio_second"]
        if rate:
            spent += row.run.cost["seconds"]
            audio += row.run.cost["seconds"] / rate
    timed = all(row.run.cost["seconds"] is not None for row in rows)
    passes = [row.run.passes for row in rows]
    counted = [p for p in passes if p is not None]
    utterances = sum(len(row.run.data["utterances"]["id"]) for row in rows)
    return (
        spent / audio if timed and audio else None,
        sum(counted) / utterances if utterances and len(counted) == len(passes) else None,
    )
