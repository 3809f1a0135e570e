"""Areas under ROC and precision-recall curves: by hand, and against scikit-learn with its own weights."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from xbench.stats.detection import DRAWS, detection
from xbench.stats.draws import drawn_counts


def test_areas_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    truth = np.array([True, False, True, False, False])
    found = detection(scores, truth, list("abcde"), seed=0)
    # Pairs: the first beats all three, the third two of them. Precision at the two recalls: 1 and 2/3.
    assert found.auroc.value == pytest.approx(5 / 6)
    assert found.pr_auc.value == pytest.approx((1 + 2 / 3) / 2)
    assert found.base_rate == pytest.approx(2 / 5)


def test_a_score_that_says_nothing_has_half_and_the_base_rate() -> None:
    truth = np.array([True, False, False, True, False])
    found = detection(np.zeros(5), truth, list("abcde"), seed=0)
    assert (found.auroc.value, found.pr_auc.value) == pytest.approx((0.5, 0.4))


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.random(300) < 0.3
    scores = np.round(generator.normal(size=300) + truth, 1)  # many ties
    return scores, truth, generator.integers(12, size=300)


@pytest.mark.parametrize("seed", range(3))
def test_areas_are_those_of_scikit_learn(seed: int) -> None:
    scores, truth, clusters = drawn(seed)
    found = detection(scores, truth, list(map(str, clusters)), seed=0)
    assert found.auroc.value == pytest.approx(roc_auc_score(truth, scores))
    assert found.pr_auc.value == pytest.approx(average_precision_score(truth, scores))


def test_intervals_are_quantiles_over_drawn_clusters() -> None:
    scores, truth, clusters = drawn(5)
    found = detection(scores, truth, [f"{c:02d}" for c in clusters], seed=7)
    weights = drawn_counts(7, 12, DRAWS)[:, clusters]
    for estimate, area in ((found.auroc, roc_auc_score), (found.pr_auc, average_precision_score)):
        areas = [area(truth, scores, sample_weight=w) for w in weights]
        assert (estimate.low, estimate.high) == pytest.approx(np.quantile(areas, [0.025, 0.975]))


def test_without_both_classes_or_with_few_clusters_it_says_so() -> None:
    scores = np.arange(4.0)
    assert (
        detection(scores, np.ones(4, dtype=bool), list("abcd"), seed=0).auroc.reason == "one-class"
    )
    assert detection(np.zeros(0), np.zeros(0, dtype=bool), [], seed=0).pr_auc.reason == "no-item"
    few = detection(scores, scores > 1, list("aabb"), seed=0)
    assert (few.auroc.value, few.auroc.low, few.auroc.ci_reason) == (
        1.0,
        None,
        "fewer-than-5-clusters",
    )
    # All positive items in one of five clusters: a third of the draws has none.
    truth = np.array([True, False, False, False, False])
    rare = detection(np.arange(5.0), truth, list("abcde"), seed=0)
    assert rare.auroc.ci_reason == "one-class-in-draws"
