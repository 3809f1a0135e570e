"""The scores of metrics without a reference: they have a floor, but no ceiling and so no skill.

Most are means over utterances. One that declares `corpus` is a function of sums over utterances (corpus WER
per step): `results.corpus`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xbench import stats
from xbench.description import MetricDescription, load_object
from xbench.metrics import Score
from xbench.results import CeilingRecord, Interval, ScoreRecord, column_name, undefined_counts
from xbench.results.corpus import STATISTICS, corpus_estimate
from xbench.runner.compare import Column
from xbench.runner.outcome import Outcome, TaskOutcome
from xbench.runner.plan import Method
from xbench.spec import Call, Scalar, TaskSpec


def without_reference(
    task: TaskOutcome,
    outcomes: Sequence[Outcome],
    method: Method,
    metric: MetricDescription,
    seed: int,
) -> ScoreRecord:
    """Return the score of a metric that takes no reference."""
    clusters = [o.utterance.cluster for o in outcomes]
    quality = task.plan.task.quality

    def of(call: Call) -> tuple[list[Score], stats.Estimate]:
        found = [o.scored.scores[call][metric.name, None] for o in outcomes]
        if metric.corpus is None:
            return found, stats.mean_estimate([s.value for s in found], clusters, seed=seed)
        summed = [None if s.value is None else s.columns[STATISTICS] for s in found]
        return found, corpus_estimate(load_object(metric.corpus), summed, clusters, quality, seed)

    found, estimate = of(method.call)
    floor = of(task.floor.call)[1]
    reasons = {s.reason for s in found}
    no_ceiling = metric.no_ceiling or "no-ceiling"
    return ScoreRecord(
        metric=metric.name,
        reference=None,
        value=estimate.value,
        reason=next(iter(reasons)) if estimate.reason and len(reasons) == 1 else estimate.reason,
        ci=Interval.of(estimate).ci,
        ci_reason=estimate.ci_reason,
        n=estimate.n,
        n_clusters=estimate.n_clusters,
        clusters_assumed=any(o.utterance.cluster_assumed for o in outcomes),
        undefined=undefined_counts(s.reason for s in found),
        floor=Interval.of(floor),
        ceiling=CeilingRecord(None, None, no_ceiling, None, None, None),
        skill=Interval(None, None, no_ceiling, None),
        disattenuated=Interval(None, None, no_ceiling, None),
        direction="higher" if metric.higher_is_better else "lower",
        metric_params=metric_params(task.plan.task, metric.name),
        metric_version=metric.version,
        tokens_left_out=left_out_counts(found),
        computation=computation(
            [
                o.scored.computations.get(method.call, {}).get((metric.name, None), {})
                for o in outcomes
            ]
        ),
    )


def computation(
    facts: Sequence[Mapping[str, str | float | None]],
) -> dict[str, float | dict[str, int] | None]:
    """Count the utterances of each named choice; of a number give the lowest, null where there is none."""
    found: dict[str, float | dict[str, int] | None] = {}
    for name in dict.fromkeys(name for of_one in facts for name in of_one):
        values = [of_one.get(name) for of_one in facts]
        names = [value for value in values if isinstance(value, str)]
        numbers = [value for value in values if isinstance(value, int | float)]
        found[name] = dict(Counter(names)) if names else min(numbers, default=None)
    return found


def metric_params(task: TaskSpec, metric: str) -> dict[str, Scalar]:
    """Return the parameters a task gives to one of its metrics."""
    return next(call.given for call in task.metrics if call.name == metric)


def left_out_counts(scores: Iterable[Score]) -> dict[str, int]:
    """Add up the tokens that a metric leaves out, by reason."""
    counts: Counter[str] = Counter()
    for score in scores:
        counts.update(dict(score.left_out))
    return dict(sorted(counts.items()))


def detail_columns(
    outcomes: Sequence[Outcome], method: Method, column: Column
) -> dict[str, list[Any]]:
    """Return what a metric keeps per utterance beside its value: tokens left out by reason, and its columns.

    A reason that does not occur counts 0; a column that one utterance lacks is null there.
    """
    scores = [o.scored.scores[method.call][column] for o in outcomes]
    reasons = dict.fromkeys({reason for s in scores for reason, _ in s.left_out}, 0)
    found = [{**reasons, **dict(s.left_out), **s.columns} for s in scores]
    names = sorted({name for columns in found for name in columns})
    return {
        f"{column_name(*column)}:{name}": [columns.get(name) for columns in found] for name in names
    }


def own_columns(
    outcomes: Sequence[Outcome], method: Method, column: Column
) -> dict[str, list[Any]]:
    """Return the columns that a metric itself keeps per utterance; null where an utterance lacks one."""
    found = [o.scored.scores[method.call][column].columns for o in outcomes]
    names = sorted({name for columns in found for name in columns})
    return {
        f"{column_name(*column)}:{name}": [columns.get(name) for columns in found] for name in names
    }
