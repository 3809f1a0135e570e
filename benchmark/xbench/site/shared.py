"""Facts that many results state and a page shows once: from the results that have them, never from one of them.

Every result of a model on a task says how good the hypotheses are and how reliable the references; a
result without an outcome (the method does not support the model) says it with nulls. So a fact comes
from the results that have it, and what they state differently is shown with how many state it.
Statements are compared as they are shown: two numbers that read the same are one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from xbench.site.charts import number
from xbench.site.text import told

MOST_STATEMENTS = 6

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Statement(Generic[T]):
    """What some results state; count: how many, of: out of how many that state anything."""

    what: T
    count: int
    of: int

    @property
    def disputed(self) -> bool:
        """Whether other results state something else."""
        return self.count < self.of


@dataclass(frozen=True)
class Shared(Generic[T]):
    """All statements of one fact, most often made first; left_out: results whose statement found no room."""

    statements: tuple[Statement[T], ...]
    left_out: int = 0

    @property
    def most(self) -> T:
        """What is stated most often; of several the first in order."""
        return self.statements[0].what


@dataclass(frozen=True)
class Quality:
    """How good hypotheses are, as it is shown; value is None with a reason."""

    metric: str
    value: str | None
    reason: str | None
    n: int
    poor: int


@dataclass(frozen=True)
class ReferenceFacts:
    """How a reference was made and how reliable it is, as it is shown.

    ceilings: (metric, value or None, reason), then the second ceilings. hidden: what a hidden cell becomes.
    audio_tokens: the share of tokens that depend on the audio; None in older files.
    """

    version: str
    masks: str
    reliability: str | None
    reliability_reason: str | None
    ceilings: tuple[tuple[str, str | None, str | None], ...]
    hidden: str
    computation: str
    audio_tokens: str | None


def shared(stated: Iterable[T]) -> Shared[T]:
    """Return what these results state, each statement once with how many make it."""
    counts = Counter(stated)
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], repr(item[0])))
    kept = ordered[:MOST_STATEMENTS]
    return Shared(
        tuple(Statement(what, count, total) for what, count in kept),
        total - sum(count for _, count in kept),
    )


def shared_quality(results: Iterable[Mapping[str, Any]]) -> Shared[Quality]:
    """Return how good the hypotheses are; without any value, why."""
    found = [result["quality"] for result in results]
    known = [quality for quality in found if quality["value"] is not None]
    return shared(quality_of(quality) for quality in known or found)


_MEASURES = {"wer": "word error rate", "chrf": "chrF", "bleu": "BLEU"}


def quality_of(quality: Mapping[str, Any]) -> Quality:
    """Word the quality that one result states."""
    value, rate = quality["value"], quality["metric"] == "wer"
    return Quality(
        metric=_MEASURES.get(quality["metric"], quality["metric"]),
        value=None if value is None else number(value, 1) + (" %" if rate else ""),
        reason=quality["reason"],
        n=quality["n"],
        poor=quality["poor"],
    )


def shared_references(results: Iterable[Mapping[str, Any]]) -> dict[str, Shared[ReferenceFacts]]:
    """Return the references of these results by name; results that made none say nothing, if others did."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        for reference in result["references"]:
            found.setdefault(reference["name"], []).append(reference)
    return {
        name: shared(reference_of(r) for r in [r for r in records if was_made(r)] or records)
        for name, records in sorted(found.items())
    }


def was_made(reference: Mapping[str, Any]) -> bool:
    """Say whether a result really made this reference: took masks or passes, or knows something of it."""
    return (
        any(reference["masks"])
        or reference["forward_passes"] > 0
        or reference["reliability"]["value"] is not None
        or any(ceiling["value"] is not None for ceiling in reference["ceiling"].values())
    )


def reference_of(reference: Mapping[str, Any]) -> ReferenceFacts:
    """Word the reference that one result describes."""
    reliability = reference["reliability"]
    how = (reference["estimator"], told(reference.get("computation") or {}))
    return ReferenceFacts(
        version=reference["version"],
        masks=masks_of(reference),
        reliability=None if reliability["value"] is None else number(reliability["value"]),
        reliability_reason=reliability["reason"],
        ceilings=tuple(
            (name, None if c["value"] is None else number(c["value"]), c["reason"])
            for name, c in [
                *sorted(reference["ceiling"].items()),
                *(
                    (f"pearson of {rival['reference']} (second)", rival["ceiling"])
                    for rival in reference.get("rivals", ())
                ),
            ]
        ),
        hidden=reference["neutral_value"] or "not recorded",
        computation="; ".join(text for text in how if text),
        audio_tokens=_share_of_tokens(reference.get("audio_tokens")),
    )


def _share_of_tokens(tokens: Mapping[str, Any] | None) -> str | None:
    return f"{100 * tokens['depend'] / tokens['n']:.0f} %" if tokens and tokens["n"] else None


def masks_of(reference: Mapping[str, Any]) -> str:
    """Word the masks that utterances took: `1,000 to 3,500, median 2,000`.

    Results older than that field state only those of the utterance that took most.
    """
    counts = reference.get("masks_per_utterance")
    if counts is not None:
        low, middle, high = counts["min"], counts["median"], counts["max"]
        return f"{low:,}" if low == high else f"{low:,} to {high:,}, median {_plain(middle)}"
    most = sum(reference["masks"])
    if not most:
        return "none"
    return f"{most:,}" if reference["converged"] is None else f"at most {most:,}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def shared_padding(results: Iterable[Mapping[str, Any]]) -> Shared[str]:
    """Return which share of attention, in per cent, lies on padding; no statement where none is recorded."""
    found = [result["padding_mass"] for result in results]
    return shared(number(100 * mass, 1) for mass in found if mass is not None)


@dataclass(frozen=True)
class Dispute:
    """A fact that results about the same thing state differently."""

    fact: str
    said: Shared[str]


def most_stated(
    records: Sequence[Mapping[str, Any]], free: frozenset[str] = frozenset()
) -> tuple[Mapping[str, Any], tuple[Dispute, ...]]:
    """Return the record that most results state (of several the last in order), and where others differ.

    free: facts that may differ without a dispute; they are left out.
    """
    distinct: list[tuple[Mapping[str, Any], list[int]]] = []
    for record in records:
        kept = {key: value for key, value in record.items() if key not in free}
        for other, count in distinct:
            if other == kept:
                count[0] += 1
                break
        else:
            distinct.append((kept, [1]))
    most, _ = max(distinct, key=lambda item: (item[1][0], repr(sorted(item[0].items()))))
    if len(distinct) == 1:
        return most, ()
    leaves = [dict(_leaves(record)) for record in records]
    names = sorted({name for found in leaves for name in found if name.split(".")[0] not in free})
    disputes = (Dispute(name, shared(found.get(name, "–") for found in leaves)) for name in names)
    return most, tuple(d for d in disputes if len(d.said.statements) > 1)


def _leaves(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", str(value)
