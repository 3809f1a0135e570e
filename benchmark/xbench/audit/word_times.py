"""Do maps point into the word? Top-3 hits on known word times, for references and methods alike.

For a token whose word was spoken from frame a to frame b, a row *hits* where at least one of its k highest frames lies
in the word. Frames that are equal at the threshold share what is left, so that

    hit = 1 - C(t - i, f) / C(t, f)      t frames at the threshold, i of them in the word, f of them among the top k

unless a frame above the threshold lies in the word: then it is 1. A constant row hits as often as chance does, with all
frames at the threshold. Word times say when a word was spoken, not what the model listened to: a method may miss them
rightly, and a reference may too.

Source: the top-3 criterion of Wu et al. 2024, Can We Trust Explainable AI Methods on ASR? (phones of TIMIT).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from xbench import stats
from xbench.audit.stored_maps import explained, map_of, one_run, references_of
from xbench.errors import UsageError
from xbench.maps import GridMap
from xbench.metrics.batch import Maps
from xbench.metrics.timing import word_frames
from xbench.results import RunResult
from xbench.runner.compare import word_spans
from xbench.runner.keys import Spoken
from xbench.runner.rescore import Stored
from xbench.store import Store

TOP = 3
Kind = Literal["reference", "method", "chance"]


@dataclass(frozen=True)
class Hits:
    """How often one map hits: the mean over clips of the share of tokens, with its interval."""

    kind: Kind
    name: str
    hit: stats.Estimate


def word_hits(results: Sequence[RunResult], *, top: int = TOP, store: Store) -> list[Hits]:
    """Return the hits of every reference and method of a run, and of chance; loads no model.

    Raises UsageError where the results are of several runs, or no clip has word times of what was said.
    """
    stored = one_run(results, store)
    found: dict[tuple[Kind, str], list[float]] = {}
    clusters = []
    for spoken in explained(stored):
        spans = word_spans(spoken)
        if spans is None:
            continue
        maps = _maps(stored, spoken)
        together = Maps.of(list(maps.values()), spoken.decoded.layout)
        words = word_frames(together, spans)
        if not words.any():
            continue
        clusters.append(spoken.job.utterance.cluster)
        for key, rows in zip(maps, together.rows, strict=True):
            found.setdefault(key, []).append(hit_rate(rows, words, top))
        flat = np.zeros_like(together.rows[0])
        found.setdefault(("chance", "chance"), []).append(hit_rate(flat, words, top))
    if not clusters:
        raise UsageError(
            "no clip has word times of the text that is explained; the manifest needs `words`, and the task must not "
            "translate"
        )
    seed = stored.record.spec.seed
    return [
        Hits(kind, name, stats.mean_estimate(values, clusters, seed=seed))
        for (kind, name), values in found.items()
    ]


def hit_rate(
    rows: Float[np.ndarray, "token frame"], words: Bool[np.ndarray, "token frame"], top: int
) -> float:
    """Return the mean of `hit` over the tokens that have a word."""
    found = []
    for row, inside in zip(rows, words, strict=True):
        if not inside.any():
            continue
        threshold = np.sort(row)[-min(top, len(row))]
        above, at = row > threshold, row == threshold
        if (above & inside).any():
            found.append(1.0)
            continue
        tied, own, free = (
            int(at.sum()),
            int((at & inside).sum()),
            min(top, len(row)) - int(above.sum()),
        )
        found.append(1 - comb(tied - own, free) / comb(tied, free))
    return float(np.mean(found))


def _maps(stored: Stored, spoken: Spoken) -> dict[tuple[Kind, str], GridMap]:
    """Return every reference and every method's map of one utterance on the encoder grid."""
    maps: dict[tuple[Kind, str], GridMap] = {
        ("reference", reference.call.name): reference.mean
        for reference in references_of(stored, spoken)
    }
    for method in stored.methods.values():
        maps["method", str(method.call)] = map_of(stored, spoken, method)
    return maps
