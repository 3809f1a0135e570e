"""Score metrics without a reference from what was measured while cells were hidden; needs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from xbench.description import MetricDescription
from xbench.maps import standardise
from xbench.metrics import Score
from xbench.metrics.intervention import (
    Curves,
    Effects,
    Redecoded,
)
from xbench.metrics.quality import statistics
from xbench.metrics.strangers import FAILED, checked, is_ours, tried
from xbench.runner import compare
from xbench.runner.bench import Shelf
from xbench.runner.keys import Spoken
from xbench.runner.plan import Method
from xbench.runner.ranked import (
    RankedMap,
    drawn_sets,
    measurement_key,
    ranked_map,
    why_not,
    without_reference,
)
from xbench.spec import Call
from xbench.store import Artefact, Store


def with_interventions(
    scored: compare.Scored,
    shelf: Shelf,
    spoken: Spoken,
    methods: Sequence[Method],
    *,
    absent: str = "not-measured",
) -> compare.Scored:
    """Add the scores of the metrics without a reference, from the store; needs no model.

    A measurement that is not there is null with the reason `absent`: it needs a run with the model, or
    the model cannot be measured so.
    """
    metrics = without_reference(spoken.job)
    if not metrics or spoken.decoded.unexplained:
        return scored
    scores = {call: dict(of_method) for call, of_method in scored.scores.items()}
    computations: dict[Call, dict[compare.Column, Mapping[str, Any]]] = {}
    for method in methods:
        ranked = ranked_map(shelf, spoken, method)
        for metric, call in metrics:
            score, computation = _score(metric, call, ranked, shelf.store, absent)
            scores[method.call][metric.name, None] = score
            computations.setdefault(method.call, {})[metric.name, None] = computation
    return replace(scored, scores=scores, computations=computations)


def _score(
    metric: MetricDescription, call: Call, ranked: RankedMap, store: Store, absent: str
) -> tuple[Score, Mapping[str, Any]]:
    """Return the score, and how the passes that it rests on were run (empty where none says)."""
    reason = why_not(metric, call, ranked)
    if reason:
        return Score(None, reason), {}
    if metric.takes == "map":
        return _asked(metric, call, ranked.rows(metric.space)), {}
    stored = store.get(measurement_key(metric, call, ranked))
    if stored is None:
        return Score(None, absent), {}
    return judged(metric, call, ranked, stored), stored.facts.get("computation", {})


def judged(
    metric: MetricDescription, call: Call, ranked: RankedMap, measurement: Artefact
) -> Score:
    """Return the score that follows from what the model said while the cells of a map were hidden."""
    given = _given(metric, call, ranked, measurement)
    if given is None:
        return Score(None, "no-target-text")
    return _asked(metric, call, given)


def _asked(metric: MetricDescription, call: Call, given: Any) -> Score:
    """Return what a metric says of what was measured."""

    def compute() -> Any:
        return metric.load()(given, **_own(metric, call))

    if is_ours(metric):
        return cast(Score, compute())
    return tried(metric, lambda: checked(metric, compute())) or FAILED


def _own(metric: MetricDescription, call: Call) -> dict[str, Any]:
    """Return the parameters of the metric itself: not those that say what is measured."""
    return {k: value for k, value in call.given.items() if k not in metric.measured}


def _given(
    metric: MetricDescription, call: Call, ranked: RankedMap, stored: Artefact
) -> Curves | Effects | Redecoded | None:
    arrays = stored.arrays
    if metric.takes == "curves":
        varies = ~standardise(ranked.rows(metric.space), axis=1)[1]
        return Curves(arrays["deleted"], arrays["inserted"], varies)
    if metric.takes == "effects":
        hidden, share = drawn_sets(ranked)
        return Effects(ranked.additive, hidden, share, arrays["drop"], arrays["total"])
    task, utterance = ranked.job.task, ranked.job.utterance
    target = utterance.target_text(task.target_language)
    assert target is not None
    language = task.target_language or utterance.language
    plain = call.given.get("text") == "plain"
    found = [
        statistics(task.quality, text, target, language, plain=plain)
        for text in stored.facts["texts"]
    ]
    if found[0] is None:
        return None
    return Redecoded(np.array(found), task.quality)
