"""The value of a metric that is no mean over utterances, from what its result keeps of each of them.

Corpus WER is such a metric: a function f of edits and words summed over all utterances. Its interval comes from the
jackknife pseudo-values of the clusters, C f(all) - (C - 1) f(all but c), which enter `stats.mean_estimate` like any
other mean (Efron and Tibshirani 1993, chapter 11).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from xbench import stats
from xbench.spec import Quality

Corpus = Callable[[Float[np.ndarray, "step statistic"], Quality], float]
STATISTICS = "statistics"
"""The column that holds what is summed, `METRIC:statistics`: [step, statistic] per utterance."""


def corpus_estimate(
    corpus: Corpus,
    statistics: Sequence[Sequence[Sequence[float]] | None],
    clusters: Sequence[str],
    quality: Quality,
    seed: int,
) -> stats.Estimate:
    """Return a function of summed statistics [step, statistic] with its interval.

    statistics, clusters: one entry per utterance, None where it has no value.
    """
    kept = [(s, c) for s, c in zip(statistics, clusters, strict=True) if s is not None]
    if not kept:
        return stats.mean_estimate([], [], seed=seed)
    table = np.array([s for s, _ in kept])
    names, index = np.unique([c for _, c in kept], return_inverse=True)
    sums = np.zeros((len(names), *table.shape[1:]))
    np.add.at(sums, index, table)
    total = sums.sum(axis=0)
    value = corpus(total, quality)
    if len(names) < stats.FEWEST_CLUSTERS:
        reason = "fewer-than-5-clusters"
        return stats.Estimate(value, None, None, len(kept), len(names), ci_reason=reason)
    pseudo = [len(names) * value - (len(names) - 1) * corpus(total - own, quality) for own in sums]
    mean = stats.mean_estimate(pseudo, list(names.tolist()), seed=seed)
    assert mean.value is not None
    # The interval belongs to the corpus value, not to its bias-corrected twin.
    shift = value - mean.value
    low, high = (None if x is None else x + shift for x in (mean.low, mean.high))
    earlier = mean.bootstrap and (mean.bootstrap[0] + shift, mean.bootstrap[1] + shift)
    return stats.Estimate(
        value, low, high, len(kept), len(names), ci_reason=mean.ci_reason, bootstrap=earlier
    )
