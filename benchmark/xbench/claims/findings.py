"""One result examined: three lists of sentences."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from xbench import registry
from xbench.claims import names, origin, references
from xbench.claims.hypotheses import hypothesis_problems
from xbench.claims.packages import package_problems
from xbench.claims.recomputed import Scores, recompute
from xbench.claims.scores import (
    floor_problems,
    map_problems,
    repeated_map_problems,
    score_problems,
    unchecked_scores,
)
from xbench.results import RunResult
from xbench.spec import content_hash


@dataclass(frozen=True)
class Findings:
    """What an examination finds.

    problems: claims that the file itself, or what it names, contradicts; as "place: message".
    outdated: what has changed here since the result was made; it is true, but of another version.
    unchecked: claims that nothing in the file shows.
    """

    problems: tuple[str, ...]
    outdated: tuple[str, ...]
    unchecked: tuple[str, ...]


def examine(result: RunResult, *, recomputed: bool = False) -> Findings:
    """Hold every claim of a result against its columns, and against what this machine knows of what it names.

    recomputed: an examination of the same `edition` found its numbers right before, so they are not computed again.
    """
    return examine_all([result], [recomputed])[0]


def examine_all(results: Sequence[RunResult], recomputed: Sequence[bool]) -> list[Findings]:
    """Return what `examine` says of each result, in less time; recomputed: of which that is so."""
    # Absurd numbers overflow where they are averaged; what comes out then differs from what is stated.
    with np.errstate(all="ignore"):
        new = [result for result, known in zip(results, recomputed, strict=True) if not known]
        scores = iter(recompute(new))
        return [
            _findings(result, None if known else next(scores))
            for result, known in zip(results, recomputed, strict=True)
        ]


def _findings(result: RunResult, scores: Scores | None) -> Findings:
    """Examine one result; scores: what its columns give of them, None where they are known to be right."""
    as_run = origin.task_as_run(result)
    problems = [
        *names.name_problems(result),
        *origin.status_problems(result),
        *origin.provenance_problems(result),
        *package_problems(result),
        *origin.task_problems(result, as_run),
        *origin.clip_problems(result),
        *origin.described_problems(result),
        *origin.cost_problems(result),
        *hypothesis_problems(result),
    ]
    if scores is not None:
        problems += references.quality_problems(result)
        problems += references.reference_problems(result)
        problems += score_problems(result, scores)
        problems += floor_problems(result)
        problems += map_problems(result)
        problems += repeated_map_problems(result)
    outdated = [*origin.outdated(result)]
    if origin.other_clips(result):
        outdated.append(f"dataset {result.task.dataset.name}: its clips here are others")
    unchecked = (*origin.unchecked_origin(result, as_run), *unchecked_scores(result))
    return Findings(tuple(problems), tuple(outdated), tuple(dict.fromkeys(unchecked)))


def edition() -> str:
    """Return a hash of what recomputes the numbers: this code, and the metrics that are registered."""
    code = [
        hashlib.sha256(file.read_bytes()).hexdigest()
        for room in ("claims", "results", "schemas", "stats")
        for file in sorted(resources.files("xbench").joinpath(room).iterdir(), key=lambda f: f.name)
        if file.is_file()
    ]
    metrics = [[d.name, d.version, d.range] for d in registry.metrics.descriptions()]
    return content_hash([code, metrics])
