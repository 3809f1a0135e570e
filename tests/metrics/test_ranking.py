from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from agreement_maps import layout, mean_over_tokens, pairs
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from xbench.maps import GridMap
from xbench.metrics import Score
from xbench.metrics import ranking as metrics
from xbench.metrics.batch import Maps
from xbench.spec import Scoring

DEFAULT = Scoring()
SEEDS = range(4)
TO_REFERENCE = {"labels": "reference", "share": 0.25}


def value(metric, ours: np.ndarray, theirs: np.ndarray, **params) -> float:
    found = metric(GridMap(ours), GridMap(theirs), layout(*ours.shape), DEFAULT, **params)
    assert found.reason is None
    return found.value


# Two rows, four frames. Ranks: E_0 = (1, 2, 3, 4), S_0 = (2, 1, 4, 3);
# E_1 = (1.5, 1.5, 3, 4), S_1 = (1, 2, 3.5, 3.5).
OURS = np.array([[0.0, 1.0, 5.0, 7.0], [0.0, 0.0, 2.0, 9.0]])
THEIRS = np.array([[4.0, 3.0, 9.0, 8.0], [1.0, 2.0, 6.0, 6.0]])


def test_spearman_by_hand() -> None:
    # Row 0: 1 - 6 * 4 / (4 * 15) = 3/5. Row 1, centred ranks: E (-1, -1, .5, 1.5), S (-1.5, -.5, 1, 1):
    # 1.5 + .5 + .5 + 1.5 = 4, norms^2 4.5 and 4.5: 8/9.
    assert value(metrics.spearman, OURS, THEIRS) == pytest.approx((3 / 5 + 8 / 9) / 2, rel=1e-14)


def test_kendall_tau_b_by_hand() -> None:
    # Row 0: pairs 6, discordant (0,1) and (2,3): 4 - 2 = 2, tau 1/3. Row 1: (0,1) tied in E, (2,3)
    # tied in S, the other 4 concordant: 4 / sqrt(5 * 5).
    expected = (1 / 3 + 4 / 5) / 2
    assert value(metrics.kendall_tau_b, OURS, THEIRS) == pytest.approx(expected, rel=1e-14)


def test_top_by_hand() -> None:
    # k = 2: row 0 both {2, 3}; row 1 both {2, 3}. With k = 1: row 0 {3} and {2}; row 1 E {3}, S half
    # of 2 and half of 3: intersection 1/2, union 3/2.
    assert value(metrics.topk_overlap, OURS, THEIRS, share=0.5) == 1
    assert value(metrics.topk_overlap, OURS, THEIRS, share=0.25) == pytest.approx(1 / 4)
    assert value(metrics.topk_iou, OURS, THEIRS, share=0.25) == pytest.approx((0 + 1 / 3) / 2)


def test_roc_and_precision_by_hand() -> None:
    # share 1/4: relevant {2} in row 0, and the equal frames {2, 3} in row 1.
    # Row 0: 2 lies above two of three. Row 1: both above both.
    assert value(metrics.auroc, OURS, THEIRS, **TO_REFERENCE) == pytest.approx((2 / 3 + 1) / 2)
    assert value(metrics.auprc, OURS, THEIRS, **TO_REFERENCE) == pytest.approx((1 / 2 + 1) / 2)
    assert value(metrics.relevance_rank, OURS, THEIRS, **TO_REFERENCE) == pytest.approx(1 / 2)


def test_ties_across_the_labels_by_hand() -> None:
    # E = (0, 0, 0, 1), relevant {0, 3}: pairs (3 > 1), (3 > 2), (0 = 1), (0 = 2): 3/4.
    # Precision at 1 is 1/1, at 0 2/4: AP = 3/4. Top 2: 3, and a third of 0, 1 and 2: (1 + 1/3)/2.
    ours, theirs = np.array([[0.0, 0, 0, 1]]), np.array([[8.0, 0, 1, 9]])
    half = {"labels": "reference", "share": 0.5}
    assert value(metrics.auroc, ours, theirs, **half) == pytest.approx(3 / 4)
    assert value(metrics.auprc, ours, theirs, **half) == pytest.approx(3 / 4)
    assert value(metrics.relevance_rank, ours, theirs, **half) == pytest.approx(2 / 3)


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("seed", SEEDS)
def test_rank_correlations_are_scipys(seed: int, case: int) -> None:
    ours, theirs = pairs(seed)[case]
    rho = mean_over_tokens(lambda a, b: spearmanr(a, b).statistic, ours, theirs)
    assert value(metrics.spearman, ours, theirs) == pytest.approx(rho, abs=1e-12)
    tau = mean_over_tokens(lambda a, b: kendalltau(a, b).statistic, ours, theirs)
    assert value(metrics.kendall_tau_b, ours, theirs) == pytest.approx(tau, abs=1e-12)


@pytest.mark.parametrize("frames", [255, 256, 257, 400])
def test_kendall_counts_in_types_that_hold_the_count(frames: int) -> None:
    rng = np.random.default_rng(frames)
    falling = np.arange(frames, 0.0, -1)
    ours = np.stack([falling, rng.gamma(0.5, size=frames), np.round(rng.gamma(2.0, size=frames))])
    theirs = np.stack([falling[::-1], rng.gamma(0.5, size=frames), falling])
    tau = mean_over_tokens(lambda a, b: kendalltau(a, b).statistic, ours, theirs)
    assert value(metrics.kendall_tau_b, ours, theirs) == pytest.approx(tau, abs=1e-12)


def test_kendall_of_more_rows_than_one_step_takes() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.gamma(0.5, size=(2, (1 << 13) + 5, 4))
    rows = [0, 1, 8190, 8191, 8192, 8196]
    maps = Maps.of([GridMap(ours)], layout(*ours.shape))
    against = Maps.of([GridMap(theirs)], layout(*ours.shape))
    tokens = metrics.kendall_tau_b_of_many(maps, against, DEFAULT).tokens
    expected = [kendalltau(ours[row], theirs[row]).statistic for row in rows]
    assert tokens.values[0, rows] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("seed", SEEDS)
def test_areas_are_scikit_learns(seed: int, case: int) -> None:
    ours, theirs = pairs(seed)[case]

    def relevant(row: np.ndarray) -> np.ndarray:
        return row >= np.sort(row)[-10]

    roc = mean_over_tokens(lambda a, b: roc_auc_score(relevant(b), a), ours, theirs)
    assert value(metrics.auroc, ours, theirs, **TO_REFERENCE) == pytest.approx(roc, abs=1e-12)
    ap = mean_over_tokens(lambda a, b: average_precision_score(relevant(b), a), ours, theirs)
    assert value(metrics.auprc, ours, theirs, **TO_REFERENCE) == pytest.approx(ap, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_ties_the_top_is_a_set(seed: int) -> None:
    ours, theirs = pairs(seed)[0]

    def sets(a: np.ndarray, b: np.ndarray) -> tuple[set, set]:
        return set(np.argsort(a)[-8:]), set(np.argsort(b)[-8:])

    overlap = mean_over_tokens(lambda a, b: len(set.intersection(*sets(a, b))) / 8, ours, theirs)
    iou = mean_over_tokens(
        lambda a, b: len(set.intersection(*sets(a, b))) / len(set.union(*sets(a, b))), ours, theirs
    )
    assert value(metrics.topk_overlap, ours, theirs, share=0.2) == pytest.approx(overlap)
    assert value(metrics.topk_iou, ours, theirs, share=0.2) == pytest.approx(iou)
    ranked = value(metrics.relevance_rank, ours, theirs, labels="reference", share=0.2)
    assert ranked == pytest.approx(overlap)


def test_a_tie_at_the_threshold_is_the_mean_over_all_ways_to_break_it() -> None:
    ours, theirs = np.array([[5.0, 1, 1, 1, 0, 0]]), np.array([[9.0, 8, 7, 2, 1, 0]])
    wanted = {0, 1, 2}
    ways = [len(wanted & {0, *rest}) / 3 for rest in combinations([1, 2, 3], 2)]
    assert value(metrics.topk_overlap, ours, theirs, share=0.5) == pytest.approx(np.mean(ways))


@pytest.mark.parametrize(
    ("share", "frames", "k"),
    [(0.1, 250, 25), (0.1, 3, 1), (0.0, 50, 1), (0.5, 3, 2), (0.1, 45, 5), (0.1, 44, 4)],
)
def test_top_count(share: float, frames: int, k: int) -> None:
    assert metrics.top_count(share, frames) == k


def test_a_sparse_map_does_not_win_by_its_zeros() -> None:
    rng = np.random.default_rng(9)
    theirs = rng.gamma(0.5, size=(50, 200))
    sparse = np.zeros_like(theirs)
    sparse[:, 0] = 1  # one frame that has nothing to do with the reference
    chance = value(metrics.topk_overlap, sparse, theirs, share=0.1)
    assert chance == pytest.approx(0.1, abs=0.02)


# -- labels from words ----------------------------------------------------------------------------

WORDS = ((0.02, 0.06), None, (0.0, 0.12), (0.1, 0.1))  # frames {1, 2}, none, all six, {5}


def with_words(metric, ours: np.ndarray, spans=WORDS) -> Score:
    axes = layout(*ours.shape)
    theirs = GridMap(np.ones(ours.shape))
    return metric(GridMap(ours), theirs, axes, DEFAULT, labels="words", share=0.1, spans=spans)


def test_labels_from_words_by_hand() -> None:
    ours = np.array([[0.0, 3, 1, 2, 0, 0], [1.0, 2, 3, 4, 5, 6]] * 2)
    # Token 0: {1, 2} of values (0, 3, 1, 2, 0, 0): 4 + 3 of 8 pairs. Token 3: frame 5, the highest.
    # The reference is constant and does not enter.
    left_out = (("no-word-time", 1), ("one-class", 1))
    found = with_words(metrics.auroc, ours)
    assert (found.value, found.left_out) == (pytest.approx((7 / 8 + 1) / 2), left_out)
    assert with_words(metrics.auprc, ours).value == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert with_words(metrics.relevance_rank, ours).value == pytest.approx((1 / 2 + 1) / 2)


def test_without_word_times_there_are_no_labels() -> None:
    ours = np.arange(24.0).reshape(4, 6)
    for metric in (metrics.auroc, metrics.auprc, metrics.relevance_rank):
        assert with_words(metric, ours, None) == Score(None, "no-word-time", (("no-word-time", 4),))


def test_equal_frames_at_the_cut_are_all_relevant() -> None:
    ours, theirs = np.array([[1.0, 2, 3, 4]]), np.array([[5.0, 5, 5, 0]])
    assert value(metrics.auroc, ours, theirs, **TO_REFERENCE) == 0, "three, all below the fourth"
