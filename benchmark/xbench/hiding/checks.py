"""Is a faster way of running perturbed passes accurate enough? Judged on the same masks as the exact way.

Two ways need two questions.

A lower *precision* rounds. Let d be the exact effect of a mask on a token, and e the error of the fast pass without the
part that is proportional to d (a scale, which no correlation sees). An error that has nothing to do with what the mask
hides is noise: it averages out over masks as their own randomness does, and the halves of a reference count it in its
reliability. It costs masks and nothing else. An error that *follows the mask* adds to the map and never averages out.
So `rounding` asks for both, as shares of the variance of d, means over the content tokens:

    noise      var(e) / var(d): so many more masks give the same reliability
    following  S(e) / var(d) with S(e) = sum_f cov(e, m_f)^2 / mean_f var(m_f), less what is expected of an e that does
               not depend on the mask

m_f is the share of frame f that a mask hides. The sum over frames is the relevance map that the errors alone would
make. Shuffling e over the masks makes it independent of them, so shuffles give the spread of `following` by chance. A
precision is accepted where the upper end of the 95 % interval of `following` lies below a thousandth: a map holds a
fifth to a half of the variance of d (perf/precision.md), so of the map's variance at most 1/200 to 1/500 is foreign
error, and its correlation with the exact map is at least 0.9975 to 0.999. Measured over whole references it is higher.

*Frozen padding* is another function of the mask, so everything in it follows the mask. There the content token with the
lowest correlation of d decides (over all tokens together, a correlation of 0.99996 once hid a token at 0.992).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xbench.hiding.effect import Measure
from xbench.hiding.masks import draw_mask
from xbench.hiding.segments import Segmentation
from xbench.maps import standardise

# Masks of a trial, eight per level of spes-input; where they leave a precision undecided, more.
MASKS = 48
MORE_MASKS = 192
PADDING = 0.99
FOLLOWING = 0.001
NOISE = 0.05

_SHUFFLES = 200
_ONE_SIDED_95 = 1.645


@dataclass(frozen=True)
class Rounding:
    """What a lower precision does to a reference (see the head of this module).

    spread: standard deviation of `following` by chance.
    """

    noise: float
    following: float
    spread: float

    @property
    def at_most(self) -> float:
        """The upper end of the interval of `following`."""
        return max(0.0, self.following) + _ONE_SIDED_95 * self.spread

    @property
    def accepted(self) -> bool:
        """Whether it does no harm to a map, and costs few masks."""
        return self.noise <= NOISE and self.at_most <= FOLLOWING

    @property
    def undecided(self) -> bool:
        """Whether more masks of the trial could still lead to acceptance."""
        lowest = self.following - _ONE_SIDED_95 * self.spread
        return not self.accepted and self.noise <= NOISE and lowest <= FOLLOWING


def check_masks(
    segmentation: Segmentation, key: int, p: float, device: torch.device, numbers: range
) -> Bool[Tensor, "batch *cells"]:
    """Return which cells the masks of a check hide; the levels of the segmentation take turns."""
    levels = len(segmentation.sizes)
    hidden = [
        draw_mask(key, n, segmentation.sizes[n % levels], p)[segmentation.labels[n % levels]]
        for n in numbers
    ]
    return torch.from_numpy(np.stack(hidden)).to(device)


def frame_shares(hidden: Bool[Tensor, "batch *cells"]) -> Float[np.ndarray, "mask frame"]:
    """Return the share of each frame that each mask hides."""
    shares: np.ndarray = (
        hidden.flatten(1).unflatten(1, (hidden.shape[1], -1)).double().mean(-1).cpu().numpy()
    )
    return shares


def rounding(
    exact: Float[np.ndarray, "token mask"],
    fast: Float[np.ndarray, "token mask"],
    hidden: Float[np.ndarray, "mask frame"],
) -> Rounding | None:
    """Return noise and following of the errors; None where a row is constant or not finite.

    hidden: the share of each frame that each mask hides.
    """
    if not (np.isfinite(exact).all() and np.isfinite(fast).all()) or not len(exact):
        return None
    d, constant = standardise(exact, axis=1)
    frames = hidden - hidden.mean(0)
    varies = float((frames**2).mean())
    if constant.any() or varies == 0:
        return None
    error = (fast - exact) / exact.std(1, keepdims=True)
    error -= error.mean(1, keepdims=True)
    error -= (error * d).mean(1, keepdims=True) * d
    masks = len(frames)
    alike = frames @ frames.T / (masks**2 * varies)
    by_chance = float(np.trace(alike)) / (masks - 1) * float((error**2).sum(1).mean())

    def follows(x: Float[np.ndarray, "token mask"]) -> float:
        return float(((x @ alike) * x).sum(1).mean()) - by_chance

    shuffles = np.random.default_rng(0)
    spread = np.std([follows(error[:, shuffles.permutation(masks)]) for _ in range(_SHUFFLES)])
    return Rounding(float((error**2).mean()), follows(error), float(spread))


def lowest_agreement(
    exact: Measure,
    fast: Measure,
    hidden: Bool[Tensor, "batch *cells"],
    content: Sequence[int],
) -> float | None:
    """Correlate, for each content token, the divergences of both ways over the masks; return the lowest.

    None where a content token diverges by the same amount under every mask, or by an infinite amount.
    """
    return lowest_correlation(*effects(exact, fast, hidden, content))


def lowest_correlation(
    exact: Float[np.ndarray, "token mask"], fast: Float[np.ndarray, "token mask"]
) -> float | None:
    """Return the smallest row-wise Pearson correlation; None where a row is constant or not finite."""
    if not (np.isfinite(exact).all() and np.isfinite(fast).all()):
        return None
    z_exact, constant_exact = standardise(exact, axis=1)
    z_fast, constant_fast = standardise(fast, axis=1)
    if (constant_exact | constant_fast).any() or not len(exact):
        return None
    return float((z_exact * z_fast).mean(1).min())


def effects(
    exact: Measure, fast: Measure, hidden: Bool[Tensor, "batch *cells"], content: Sequence[int]
) -> tuple[Float[np.ndarray, "token mask"], Float[np.ndarray, "token mask"]]:
    """Run both ways on the masks of a trial; return their effects on content tokens."""
    first, second = (
        way(hidden).value.double().cpu().numpy()[:, list(content)].T for way in (exact, fast)
    )
    return first, second
