from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xbench.metrics import intervention as iv
from xbench.metrics import quality as judged
from xbench.metrics.sanity import largest_difference, max_sensitivity, similarity, specificity
from xbench.spec import Quality

BOUND = 0.5
STEPS = len(iv.PERCENT)


def curves(deleted: list[float], inserted: list[float] | None = None, ranked=True) -> iv.Curves:
    """Make the curves of one token."""
    other = deleted[::-1] if inserted is None else inserted
    return iv.Curves(np.array([deleted]), np.array([other]), np.array([ranked]))


# -- orders ---------------------------------------------------------------------------------------


def test_ranks_by_hand_ties_go_by_position() -> None:
    assert iv.ranks(np.array([[1.0, 3.0, 3.0, 0.0, 3.0]])).tolist() == [[3, 0, 1, 4, 2]]


@given(hnp.arrays(np.float64, (3, 17), elements=st.integers(0, 4).map(float)))
def test_ranks_are_the_places_in_a_sort_by_value_then_position(values: np.ndarray) -> None:
    expected = [
        [sorted(range(17), key=lambda j: (-row[j], j)).index(j) for j in range(17)]
        for row in values
    ]
    assert iv.ranks(values).tolist() == expected


@given(
    hnp.arrays(np.float64, (3, 9), elements=st.integers(0, 50).map(float)),
    st.integers(-3, 3),
    st.integers(-8, 8),
)
def test_ranks_do_not_see_the_scale_and_shift_of_a_row(values, power: int, shift: int) -> None:
    changed = values * 2.0**power + shift  # exact in binary
    assert iv.ranks(changed).tolist() == iv.ranks(values).tolist()


def test_counts_are_whole_numbers_of_cells() -> None:
    assert iv.counts(7).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 7]


def test_sentence_mean_by_hand() -> None:
    # Rows become (0, 1/2, 1), (1, 0, 0) and zeros; a large scale must not win, a constant row not count.
    values = np.array([[0.0, 1.0, 2.0], [900.0, 100.0, 100.0], [5.0, 5.0, 5.0]])
    assert iv.sentence_mean(values) == pytest.approx(np.array([1 / 3, 1 / 6, 1 / 3]))


# -- forced ---------------------------------------------------------------------------------------


def test_deletion_auc_of_a_worked_example() -> None:
    # The whole drop is 4. After 5 % half of it is gone, from 10 % on all: heights 0, 1/2, 1, ..., 1.
    # Trapezoids: 0.05 * ((0 + 1/2)/2 + (1/2 + 1)/2 + 18 * 1) = 0.05 * 19 = 0.95.
    score = iv.deletion_auc(curves([-1.0, -3.0] + [-5.0] * 19), smallest_drop=BOUND)
    assert score.value == pytest.approx(0.95, rel=1e-14)


def test_insertion_auc_of_a_worked_example() -> None:
    # Nothing comes back before 90 %: heights 0 up to 85 %, 1/4 at 90 %, 1 at 95 and 100 %.
    # 0.05 * (1/8 + 5/8 + 1) = 0.0875.
    inserted = [-5.0] * 18 + [-4.0, -1.0, -1.0]
    score = iv.insertion_auc(curves([-1.0] + [-5.0] * 20, inserted), smallest_drop=BOUND)
    assert score.value == pytest.approx(0.0875, rel=1e-14)


def test_a_token_whose_prefix_suffices_is_left_out_and_counted() -> None:
    moving = curves([-1.0, -3.0] + [-5.0] * 19)
    still = np.full((1, STEPS), -0.1)
    still[0, -1] = -0.5  # falls by 0.4, less than the bound
    both = iv.Curves(
        np.concatenate([moving.deleted, still]),
        np.concatenate([moving.inserted, still]),
        np.array([True, True]),
    )
    score = iv.deletion_auc(both, smallest_drop=BOUND)
    assert score.value == pytest.approx(0.95, rel=1e-14)
    assert score.left_out == (("prefix-suffices", 1),)
    assert iv.deletion_auc(both, smallest_drop=0.3).left_out == ()
    alone = iv.Curves(still, still, np.array([True]))
    assert iv.deletion_auc(alone, smallest_drop=BOUND).reason == "prefix-suffices"


@pytest.mark.parametrize("metric", [iv.deletion_auc, iv.insertion_auc])
def test_a_row_that_ranks_nothing_is_null(metric) -> None:
    flat = curves([-1.0] + [-5.0] * 20, ranked=False)
    score = metric(flat, smallest_drop=BOUND)
    assert (score.value, score.reason) == (None, "constant-map")


def test_eraser_by_hand() -> None:
    # p = 0.8 clean; without the top 5, 10, 20, 50 %: 0.8, 0.4, 0.2, 0.2: mean drop 0.4.
    # With only these: 0.1, 0.3, 0.8, 0.8: mean drop 0.3.
    deleted, inserted = np.full(STEPS, log(0.5)), np.full(STEPS, log(0.5))
    deleted[0] = log(0.8)
    for percent, without, alone in ((5, 0.8, 0.1), (10, 0.4, 0.3), (20, 0.2, 0.8), (50, 0.2, 0.8)):
        step = iv.PERCENT.index(percent)
        deleted[step], inserted[step] = log(without), log(alone)
    given = curves(deleted.tolist(), inserted.tolist())
    assert iv.comprehensiveness(given).value == pytest.approx(0.4, rel=1e-13)
    assert iv.sufficiency_eraser(given).value == pytest.approx(0.3, rel=1e-13)
    assert iv.comprehensiveness(replace(given, ranked=np.array([False]))).reason == "constant-map"


# -- effects --------------------------------------------------------------------------------------


def additive(relevance: np.ndarray, importance: np.ndarray, seed: int = 0) -> iv.Effects:
    """Draw sets of two sizes; drops are sums of the true importance [token, frame]."""
    rng = np.random.default_rng(seed)
    frames = relevance.shape[1]
    share = np.repeat([20, 50], 40)
    places = rng.random((80, frames)).argsort(1).argsort(1)
    hidden = places < (share * frames // 100)[:, None]
    return iv.Effects(relevance, hidden, share, hidden @ importance.T, importance.sum(1))


TRUE = np.random.default_rng(1).gamma(0.5, size=(3, 10)) + 0.1


def test_the_true_map_of_an_additive_model_is_perfect_at_any_scale() -> None:
    effects = additive(TRUE * np.array([[1.0], [7.0], [0.01]]), TRUE)
    keep = {"smallest_drop": BOUND}
    assert iv.faithfulness_correlation(effects, share="20", **keep).value == pytest.approx(1)
    assert iv.sensitivity_n(effects, **keep).value == pytest.approx(1)
    assert iv.sensitivity_n(effects, **keep).columns["curve"] == pytest.approx([1, 1])
    assert iv.infidelity(effects, **keep).value == pytest.approx(0, abs=1e-12)
    assert iv.polarity(effects, **keep).value == pytest.approx(1, abs=0.05)


def test_the_opposite_map_correlates_negatively() -> None:
    effects = additive(-TRUE, TRUE)
    keep = {"smallest_drop": BOUND}
    assert iv.faithfulness_correlation(effects, share="20", **keep).value == pytest.approx(-1)
    assert iv.infidelity(effects, **keep).value == pytest.approx(0, abs=1e-12)  # blind to the sign
    ours = iv.polarity(additive(TRUE, TRUE), **keep).value
    assert iv.polarity(effects, **keep).value == pytest.approx(1 - ours)  # type: ignore[operator]


def test_polarity_by_hand() -> None:
    # Hiding frame 0 costs 2, hiding frame 1 gains 1: difference 3 and -3, B = 1/2 * 2 = 1, so
    # b = (1 * 3 + 1) / 2 = 2 and (-3 + 1) / 2 = -1. The map says +3 and +1: 3 of 4 parts are right.
    hidden = np.array([[True, False], [False, True]])
    effects = iv.Effects(
        np.array([[3.0, 1.0]]),
        hidden,
        np.array([50, 50]),
        np.array([[2.0], [-1.0]]),
        np.array([1.0]),
    )
    assert iv.polarity(effects, smallest_drop=BOUND).value == pytest.approx(0.75)


@pytest.mark.parametrize("seed", range(3))
def test_infidelity_agrees_with_captum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    effects = additive(rng.normal(size=(1, 10)), TRUE[:1], seed)
    effects = replace(effects, drop=effects.drop + 0.3 * rng.normal(size=effects.drop.shape))
    sets = torch.from_numpy(effects.hidden).double()
    drops = torch.from_numpy(effects.drop[:, 0])

    def forward(heard: torch.Tensor) -> torch.Tensor:
        # captum calls once with the clean input and once with all perturbed ones, in order
        return torch.zeros(1).double() if len(heard) == 1 else -drops

    theirs = captum_infidelity(
        forward,
        lambda inputs: (sets, inputs - sets),
        torch.ones(1, 10).double(),
        torch.from_numpy(effects.relevance),
        n_perturb_samples=len(sets),
        normalize=True,
    )
    ours = iv.infidelity(effects, smallest_drop=0.0)
    power = float((effects.drop**2).mean())
    assert ours.value == pytest.approx(float(theirs) / power, rel=1e-6)


@pytest.mark.parametrize(
    "metric",
    [
        lambda e: iv.faithfulness_correlation(e, share="20", smallest_drop=BOUND),
        lambda e: iv.sensitivity_n(e, smallest_drop=BOUND),
        lambda e: iv.infidelity(e, smallest_drop=BOUND),
        lambda e: iv.polarity(e, smallest_drop=BOUND),
    ],
)
def test_effects_without_anything_to_say_are_null(metric) -> None:
    constant = additive(np.ones_like(TRUE), TRUE)
    assert (metric(constant).value, metric(constant).reason) == (None, "constant-map")
    still = additive(TRUE, 0.01 * TRUE / TRUE.sum())
    assert (metric(still).value, metric(still).reason) == (None, "prefix-suffices")
    one = additive(np.concatenate([TRUE[:2], np.ones((1, 10))]), TRUE)
    assert metric(one).left_out == (("constant-map", 1),)


def test_drops_that_never_vary_are_no_effect() -> None:
    effects = replace(additive(TRUE, TRUE), drop=np.zeros((80, 3)))
    assert iv.sensitivity_n(effects, smallest_drop=BOUND).reason == "no-effect"
    assert iv.infidelity(effects, smallest_drop=BOUND).reason == "no-effect"


# -- free -----------------------------------------------------------------------------------------

WER, BLEU, CHRF = Quality("wer", 50), Quality("bleu", 10), Quality("chrf", 30)


@pytest.mark.parametrize("quality", [WER, BLEU, CHRF])
def test_summed_statistics_give_the_corpus_score(quality: Quality) -> None:
    said = ["the cat sat on the old mat", "eight dogs", "a long and winding road to nowhere"]
    heard = ["the cat sat on old mats", "", "a long and binding road to nowhere else at all"]
    rows = [judged.statistics(quality, h, s, "en") for h, s in zip(heard, said, strict=True)]
    summed = np.sum(rows, axis=0)
    expected = judged.corpus_quality(quality, heard, said, ["en"] * 3)
    assert judged.of_statistics(quality, summed.tolist()) == pytest.approx(expected, abs=1e-9)


def test_no_target_word_has_no_statistics() -> None:
    assert judged.statistics(WER, "a", "...", "en") is None
    assert judged.statistics(CHRF, "a", " ", "en") is None


def test_corpus_wer_is_clipped_after_summing_by_hand() -> None:
    # Clean 0 of 10 words wrong, then 30: 300 %, clipped to 100. 0.05 * (50 + 19 * 100) = 97.5.
    statistics = np.array([[0.0, 10.0]] + [[30.0, 10.0]] * 20)
    assert iv.corpus_auc_free(statistics, WER) == pytest.approx(97.5)
    # With an utterance of 90 words and no error the corpus has 30 of 100: clipping first would say 10 %.
    statistics[:, 1] += 90
    assert iv.corpus_auc_free(statistics, WER) == pytest.approx(0.975 * 30)


def test_the_utterance_keeps_its_statistics() -> None:
    statistics = np.array([[0.0, 4.0]] + [[2.0, 4.0]] * 20)
    score = iv.auc_free(iv.Redecoded(statistics, WER))
    assert score.value == pytest.approx(0.975 * 50)
    assert score.columns["statistics"] == statistics.tolist()


# -- the map alone --------------------------------------------------------------------------------


def test_size_of_a_worked_example() -> None:
    # (2, 3, 4) becomes (0, 1/2, 1). Cells at or above 0: all; above 0 up to 0.5 (10 steps): 2 of 3; beyond
    # (10 steps): 1 of 3. 0.05 * (100/2 + 10 * 200/3 + 9 * 100/3 + 100/6) = 0.05 * 3100/3 = 155/3.
    assert iv.size(np.array([[2.0, 3.0, 4.0]])).value == pytest.approx(155 / 3, rel=1e-13)
    several = iv.size(np.array([[2.0, 3.0, 4.0], [20.0, 30.0, 40.0], [1.0, 1.0, 1.0]]))
    assert several.value == pytest.approx(155 / 3, rel=1e-13)
    assert several.left_out == (("constant-map", 1),)
    assert iv.size(np.ones((2, 3))).reason == "constant-map"


# -- what gates judge -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_max_sensitivity_agrees_with_captum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(1, 6)))
    noise = torch.from_numpy(0.1 * rng.normal(size=(4, 6)))

    def explain(inputs: torch.Tensor | tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return ((inputs[0] if isinstance(inputs, tuple) else inputs) ** 3,)

    theirs = sensitivity_max(explain, x, lambda inputs: inputs + noise, n_perturb_samples=4)
    ours = max_sensitivity((x**3)[0].numpy(), ((x + noise) ** 3).numpy())
    assert ours == pytest.approx(float(theirs), rel=1e-6)


def test_what_gates_judge_by_hand() -> None:
    rows = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [5.0, 5.0, 5.0]])
    assert similarity(rows, rows) == pytest.approx(1)
    assert similarity(rows, rows[::-1][[1, 2, 0]]) == pytest.approx(-1)
    assert similarity(rows[2:], rows[2:]) is None
    assert specificity(rows) == pytest.approx(2)
    assert specificity(rows[[0, 0, 0]]) == pytest.approx(0, abs=1e-12)
    assert specificity(rows[:1]) is None
    assert largest_difference(rows, rows + 0.5) == pytest.approx(0.1)
    assert max_sensitivity(np.zeros(3), np.ones((2, 3))) is None
