"""What hiding cells does to the hypothesis, as curves, effects and scores: arithmetic, no model.

The runner measures once per ranking of cells and stores that (`runner/hearing.py`); everything here is computed
from what was measured. Cells are ranked by the row of a token, or by the mean of min-max scaled rows. Column z-scores
are never used: their mean over tokens is zero, so that its ranking would be rounding error (scoring section 6).

    order    cells by falling relevance, ties by position (earlier frame, then lower mel channel, first)
    k(q)     floor(q n / 100) of n cells, q = 0, 5, ..., 100 percent
    area     trapezoid over q / 100, so a curve that is 1 everywhere has area 1

Signed maps are ranked by absolute value. `Effects` keep the sign: the metrics on them are about it. If the whole drop
log p(0) - log p(100) of a token is below `smallest_drop` (nats), there is nothing to explain: the tokens before it
suffice (`prefix-suffices`). It is left out and counted (`Score.left_out`), as is a token whose row is constant.

Reasons for null: `constant-map` (no row ranks anything), `prefix-suffices` (no token is left),
`no-effect` (the drops of no token vary).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from xbench.maps import standardise
from xbench.metrics import Score
from xbench.metrics.quality import of_statistics
from xbench.spec import Quality

PERCENT = tuple(range(0, 101, 5))
ERASER_PERCENT = (5, 10, 20, 50)

# -- orders and areas -----------------------------------------------------------------------------


def ranks(values: Float[np.ndarray, "row cell"]) -> Int[np.ndarray, "row cell"]:
    """Return the place of every cell in its row's order: 0 is the most relevant, ties go by position."""
    order = np.argsort(-values, axis=1, kind="stable")
    places = np.empty(values.shape, dtype=np.int32)
    np.put_along_axis(places, order, np.arange(values.shape[1], dtype=np.int32)[None], axis=1)
    return places


def counts(cells: int) -> Int[np.ndarray, " step"]:
    """Return how many cells each step of `PERCENT` takes: floor(q n / 100), in whole numbers."""
    return np.array([percent * cells // 100 for percent in PERCENT])


def area(curve: Float[np.ndarray, "*row step"]) -> Float[np.ndarray, "*row"]:
    """Return the trapezoidal area under curves over `PERCENT` / 100."""
    return np.asarray(np.trapezoid(curve, np.array(PERCENT) / 100, axis=-1))


def min_max(values: Float[np.ndarray, "row cell"]) -> Float[np.ndarray, "row cell"]:
    """Return (x - min) / (max - min) per row, 0 for a row that is constant up to rounding."""
    low = values.min(axis=1, keepdims=True)
    spread = values.max(axis=1, keepdims=True) - low
    constant = standardise(values, axis=1)[1][:, None]
    scaled: Float[np.ndarray, "row cell"] = np.where(
        constant, 0.0, (values - low) / np.where(constant | (spread == 0), 1.0, spread)
    )
    return scaled


def sentence_mean(values: Float[np.ndarray, "row cell"]) -> Float[np.ndarray, " cell"]:
    """Return the mean over tokens of the min-max scaled rows: one map for the whole sentence."""
    return np.asarray(min_max(values).mean(axis=0))


# -- forced: each token by its own row ------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """Log-probability of each content token while its own row hides cells.

    deleted: the k(q) most relevant cells hidden. inserted: all others hidden. ranked: the row is not constant.
    """

    deleted: Float[np.ndarray, "token step"]
    inserted: Float[np.ndarray, "token step"]
    ranked: Bool[np.ndarray, " token"]

    @property
    def total(self) -> Float[np.ndarray, " token"]:
        """The whole drop, log p(0) - log p(100)."""
        return np.asarray(self.deleted[:, 0] - self.deleted[:, -1])


def deletion_auc(curves: Curves, *, smallest_drop: float) -> Score:
    """Return the mean over tokens of the area under [log p(0) - log p(q)] / [log p(0) - log p(100)].

    Each token is judged by its own row. Higher: the token depends on the cells that are hidden first. Null: see the
    module.
    Source: Petsiuk et al. 2018, arXiv 1806.07421; scoring section 6.
    """
    return _normalised_area(curves.deleted[:, :1] - curves.deleted, curves, smallest_drop)


def insertion_auc(curves: Curves, *, smallest_drop: float) -> Score:
    """Return the mean over tokens of the area under [log p'(q) - log p(100)] / [log p(0) - log p(100)].

    p'(q): only the first q percent are heard. Higher: few cells bring the token back. Null: see the
    module. Source: Petsiuk et al. 2018, arXiv 1806.07421.
    """
    return _normalised_area(curves.inserted - curves.deleted[:, -1:], curves, smallest_drop)


def _normalised_area(
    rise: Float[np.ndarray, "token step"], curves: Curves, smallest_drop: float
) -> Score:
    moves = curves.total >= smallest_drop
    used = moves & curves.ranked
    left_out = _left_out(**{"prefix-suffices": ~moves, "constant-map": moves & ~curves.ranked})
    if not used.any():
        reason = "prefix-suffices" if curves.ranked.any() else "constant-map"
        return Score(None, reason, left_out)
    return Score(float(area(rise[used] / curves.total[used, None]).mean()), None, left_out)


def _left_out(**reasons: Bool[np.ndarray, " token"]) -> tuple[tuple[str, int], ...]:
    return tuple((reason, int(tokens.sum())) for reason, tokens in reasons.items() if tokens.any())


def comprehensiveness(curves: Curves) -> Score:
    """Return the mean of p(y) - p(y without the top q percent), q = 5, 10, 20, 50, over tokens.

    Higher: without the rationale the token goes. Null: `constant-map`.
    Source: DeYoung et al. 2020 (ERASER), arXiv 1911.03429, area over the perturbation curve.
    """
    return _probability_drop(curves.deleted, curves)


def sufficiency_eraser(curves: Curves) -> Score:
    """Return the mean of p(y) - p(y with only the top q percent), q = 5, 10, 20, 50, over tokens.

    Lower: the rationale alone keeps the token. Null: `constant-map`. Source: DeYoung et al. 2020
    (ERASER), arXiv 1911.03429; not the sufficiency of Dasgupta et al. 2022.
    """
    return _probability_drop(curves.inserted, curves)


def _probability_drop(curve: Float[np.ndarray, "token step"], curves: Curves) -> Score:
    if not curves.ranked.any():
        return Score(None, "constant-map")
    bins = [PERCENT.index(percent) for percent in ERASER_PERCENT]
    clean = np.exp(curves.deleted[:, :1])
    drop = (clean - np.exp(curve[:, bins]))[curves.ranked]
    return Score(float(drop.mean()), None, _left_out(**{"constant-map": ~curves.ranked}))


# -- effects of random subsets --------------------------------------------------------------------


@dataclass(frozen=True)
class Effects:
    """What hiding random sets of frames does to each content token, beside the map that should predict it.

    relevance: the map with its sign, input-space maps summed over each frame's cells. hidden: the sets.
    share: percent of the frames in each set. drop: log p(y_i) - log p(y_i with the set hidden).
    total: the same with all frames hidden.
    """

    relevance: Float[np.ndarray, "token frame"]
    hidden: Bool[np.ndarray, "draw frame"]
    share: Int[np.ndarray, " draw"]
    drop: Float[np.ndarray, "draw token"]
    total: Float[np.ndarray, " token"]

    @property
    def claimed(self) -> Float[np.ndarray, "draw token"]:
        """Sum of the map over each set."""
        claimed: Float[np.ndarray, "draw token"] = self.hidden.astype(np.float64) @ self.relevance.T
        return claimed


def faithfulness_correlation(effects: Effects, *, share: str, smallest_drop: float) -> Score:
    """Return the mean over tokens of corr(sum of the map over S, drop when S is hidden), |S| fixed.

    Source: Bhatt et al. 2020, arXiv 2005.00631. Null: see the module.
    """
    return _correlations(effects, [int(share)], smallest_drop)


def sensitivity_n(effects: Effects, *, smallest_drop: float) -> Score:
    """Return the mean of that correlation over all set sizes; its curve is the column `<metric>:curve`.

    Source: Ancona et al. 2018, arXiv 1711.06104. Null: see the module.
    """
    return _correlations(effects, sorted(set(effects.share.tolist())), smallest_drop)


def _correlations(effects: Effects, shares: list[int], smallest_drop: float) -> Score:
    used, refused = _usable(effects, smallest_drop)
    if refused:
        return refused
    found = []
    for share in shares:
        draws = effects.share == share
        claimed, silent = standardise(effects.claimed[draws], axis=0)
        drop, fixed = standardise(effects.drop[draws], axis=0)
        vary = used & ~silent & ~fixed
        found.append(float((claimed * drop).mean(axis=0)[vary].mean()) if vary.any() else None)
    columns = {"curve": found} if len(shares) > 1 else {}
    defined = [value for value in found if value is not None]
    if not defined:
        return Score(None, "no-effect", columns=columns)
    return Score(float(np.mean(defined)), None, _counted(effects, smallest_drop), columns)


def _usable(
    effects: Effects, smallest_drop: float
) -> tuple[Bool[np.ndarray, " token"], Score | None]:
    """Return the tokens that are judged, and the null score where there are none."""
    ranked = ~standardise(effects.relevance, axis=1)[1]
    moves = effects.total >= smallest_drop
    used = ranked & moves
    if used.any():
        return used, None
    reason = "prefix-suffices" if ranked.any() else "constant-map"
    return used, Score(None, reason, _counted(effects, smallest_drop))


def _counted(effects: Effects, smallest_drop: float) -> tuple[tuple[str, int], ...]:
    moves = effects.total >= smallest_drop
    constant = standardise(effects.relevance, axis=1)[1]
    return _left_out(**{"prefix-suffices": ~moves, "constant-map": moves & constant})


def infidelity(effects: Effects, *, smallest_drop: float) -> Score:
    """Return the mean over tokens of E[(b a - d)^2] / E[d^2], a = sum of the map over S, d = the drop.

    b = E[a d] / E[a^2] scales the map, which otherwise would be ranked by its norm; dividing by E[d^2] makes
    tokens comparable. 0: the drops are proportional to the map; 1: it says nothing. A map of the wrong
    sign is not punished (`polarity` does that). Null: see the module.
    Source: Yeh et al. 2019, arXiv 1901.09392; the scale as in captum's `normalize`.
    """
    used, refused = _usable(effects, smallest_drop)
    if refused:
        return refused
    claimed, drop = effects.claimed[:, used], effects.drop[:, used]
    power, change = (claimed**2).mean(axis=0), (drop**2).mean(axis=0)
    if not (change > 0).all():
        return Score(None, "no-effect")
    scale = (claimed * drop).mean(axis=0) / np.where(power > 0, power, 1.0)
    error = ((scale * claimed - drop) ** 2).mean(axis=0)
    return Score(float((error / change).mean()), None, _counted(effects, smallest_drop))


def polarity(effects: Effects, *, smallest_drop: float) -> Score:
    """Return the share of the map's mass on frames whose sign is that of the effect of hiding them.

    sum_j |E_ij| [sign E_ij = sign b_ij] / sum_j |E_ij|, mean over tokens, where b_ij is the effect of frame j
    on token i estimated from the sets (`_effect_of_frames`). An unsigned map
    claims that every frame supports the token. Null: see the module.
    Source: after the faithfulness violation of Liu et al. 2022, arXiv 2201.12114.
    """
    used, refused = _usable(effects, smallest_drop)
    if refused:
        return refused
    mass = np.abs(effects.relevance)
    agrees = np.sign(effects.relevance) == np.sign(_effect_of_frames(effects))
    share = (mass * agrees).sum(axis=1)[used] / mass.sum(axis=1)[used]
    return Score(float(share.mean()), None, _counted(effects, smallest_drop))


def _effect_of_frames(effects: Effects) -> Float[np.ndarray, "token frame"]:
    """Return the effect b of hiding each frame, estimated per set size, averaged over the sizes that tell.

    All sets of one size have n of T frames, so a set with j spares some other frame instead. If effects add up, the
    mean drop of the sets with j minus that of those without it is therefore b_j - (B - b_j) / (T - 1), with B = sum b
    = mean drop * T / n. This is solved for b_j.
    """
    frames = effects.relevance.shape[1]
    total = np.zeros(effects.relevance.shape)
    for share in sorted(set(effects.share.tolist())):
        draws = effects.share == share
        hidden = effects.hidden[draws].astype(np.float64)
        drop = effects.drop[draws]
        with_it, without = hidden.sum(axis=0), (1 - hidden).sum(axis=0)
        difference = (drop.T @ hidden) / np.maximum(with_it, 1)
        difference -= (drop.T @ (1 - hidden)) / np.maximum(without, 1)
        whole = drop.mean(axis=0)[:, None] * frames / hidden[0].sum()
        effect = ((frames - 1) * difference + whole) / frames
        total += np.where((with_it > 0) & (without > 0), effect, 0.0)
    return total


# -- free: what the model writes ------------------------------------------------------------------


@dataclass(frozen=True)
class Redecoded:
    """Sufficient statistics of the quality of what is written at each step (`quality.statistics`)."""

    statistics: Float[np.ndarray, "step statistic"]
    quality: Quality


def auc_free(redecoded: Redecoded) -> Score:
    """Return the area under the loss of what the model writes while cells are hidden, 0 to 100.

    loss: WER clipped at 100, or 100 - BLEU, 100 - chrF. The utterance's own value; the value of a result is
    the corpus one, from the sums of the column `<metric>:statistics` (`corpus_auc_free`).
    Source: the deletion metric of SPES, Fucci et al. 2024, arXiv 2411.01710; protocol section 5.
    """
    value = corpus_auc_free(redecoded.statistics, redecoded.quality)
    return Score(value, columns={"statistics": redecoded.statistics.tolist()})


def corpus_auc_free(statistics: Float[np.ndarray, "step statistic"], quality: Quality) -> float:
    """Return the area under the loss of the summed statistics; WER is clipped on the corpus value."""
    values = np.array([of_statistics(quality, row) for row in statistics.tolist()])
    loss = np.minimum(values, 100.0) if quality.metric == "wer" else 100.0 - values
    return float(area(loss))


# -- the map alone --------------------------------------------------------------------------------


def size(values: Float[np.ndarray, "token cell"]) -> Score:
    """Return the area under the percentage of cells at or above a threshold 0, 0.05, ..., 1, 0 to 100.

    Rows are min-max scaled; a constant row is left out. Lower: more compact. Descriptive, says nothing of
    faithfulness. Null: `constant-map`. Source: Fucci et al. 2024, arXiv 2411.01710; protocol section 5.
    """
    varies = ~standardise(values, axis=1)[1]
    if not varies.any():
        return Score(None, "constant-map")
    scaled = min_max(values[varies])
    above = [100 * float((scaled >= percent / 100).mean()) for percent in PERCENT]
    return Score(float(area(np.array(above))), None, _left_out(**{"constant-map": ~varies}))
