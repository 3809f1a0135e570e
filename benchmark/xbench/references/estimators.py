"""Estimators of one quantity, E[d | segment hidden], from moments of masks and divergences.

d is the divergence that a mask causes. All estimators return sums and counts per half, whose quotient is the
estimate. So halves stay independent, a map is the mean over levels weighted by counts, and the map from all masks is
the weighted mean of its halves (which the Spearman-Brown formula assumes).

    masked-mean      sum_n d_n m_ns / sum_n m_ns
    least-squares    c + p sum_t b_t + (1 - p) b_s, with (b, c) the regression of d on m
    control-variate  masked mean of d - f plus E[f | s hidden], f(m) = c + b m fitted on other masks
    window-control-variate  the same with f(m) = c + b m + sum_w a_w prod_{t in w} m_t over windows of neighbours

m_ns is 1 where mask n hides segment s. Segments are hidden independently, so E[f | s hidden] = c + p sum_t b_t + (1 -
p) b_s exactly; for the regression over all possible masks this equals E[d | s hidden]. So least squares estimates the
very quantity that the masked mean does. It is consistent, not unbiased, and needs more masks than segments.

The control variate is fitted on the other three of four folds of the half. So its expectation is that of the masked
mean, however bad the fit and with any number of masks; a good fit removes the variance that it explains. Ridge of
strength K p (1 - p) would be the best for K segments that explain half of the variance.

Neighbouring frames carry the same sound, so a token often moves only when all of them are hidden. Windows see that, and
their expectation is exact as well: E[prod_{t in w} m_t | s hidden] = p^(|w| - 1) where s lies in w, else p^|w|.

Sources: masked mean: Fucci et al. 2024, arXiv 2411.01710, after RISE (Petsiuk et al. 2018, arXiv 1806.07421).
Regression on masks: LIME (Ribeiro et al. 2016), Kernel SHAP (Lundberg & Lee 2017). Cross-fitted control
variates: ours, after Rubinstein & Marcus 1985 and Chernozhukov et al. 2018, arXiv 1608.00060.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

FOLDS = 4

# Keeps the normal equations solvable when segments were hidden by no mask or by all (p = 0 or 1).
_SMALLEST_RIDGE = 1e-9


@dataclass(frozen=True)
class Moments:
    """Sums over the masks of one level, per half and fold: all that an estimator needs.

    The features f of a mask m are m itself and, for each length in `windows`, whether all segments of each run of that
    many neighbours are hidden. masks: number of masks. hidden: sum of f. divergence: sum of d. cross: sum of d f. gram:
    sum of f f', only where an estimator needs it. Masks are added in place, so memory does not grow with their number.
    All sums are in float64, on the device where passes run; `masks` is known without asking the device.
    """

    masks: Int[Tensor, "half fold"]
    hidden: Float[Tensor, "half fold feature"]
    divergence: Float[Tensor, "half fold token"]
    cross: Float[Tensor, "half fold token feature"]
    gram: Float[Tensor, "half fold feature feature"] | None
    segments: int
    windows: tuple[int, ...] = ()

    @classmethod
    def empty(
        cls, segments: int, tokens: int, needs: Needs, device: torch.device | str = "cpu"
    ) -> Moments:
        """Return moments of no masks, with what an estimator needs."""
        windows = tuple(width for width in needs.windows if width <= segments)
        count = segments + sum(segments - width + 1 for width in windows)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(2, FOLDS, *shape, dtype=torch.float64, device=device)

        return cls(
            masks=torch.zeros(2, FOLDS, dtype=torch.int64),
            hidden=zeros(count),
            divergence=zeros(tokens),
            cross=zeros(tokens, count),
            gram=zeros(count, count) if needs.gram else None,
            segments=segments,
            windows=windows,
        )

    def add(
        self,
        half: int,
        fold: int,
        hidden: Bool[Tensor, "mask segment"],
        divergence: Float[Tensor, "mask token"],
    ) -> None:
        """Add masks of one half and fold."""
        design, outcome = features(hidden, self.windows), divergence.double()
        self.masks[half, fold] += len(design)
        self.hidden[half, fold] += design.sum(0)
        self.divergence[half, fold] += outcome.sum(0)
        self.cross[half, fold].addmm_(outcome.T, design)
        if self.gram is not None:
            self.gram[half, fold].addmm_(design.T, design)

    def of_segments(self) -> Moments:
        """Return the same moments without the features of windows."""
        own = slice(self.segments)
        return replace(
            self,
            hidden=self.hidden[..., own],
            cross=self.cross[..., own],
            gram=None if self.gram is None else self.gram[..., own, own],
            windows=(),
        )

    @property
    def counts(self) -> Int[Tensor, "half segment"]:
        """How many masks of each half hide a segment."""
        return self.hidden.sum(1)[:, : self.segments].long()


def features(
    hidden: Bool[Tensor, "mask segment"], windows: Sequence[int]
) -> Float[Tensor, "mask feature"]:
    """Return m of every segment, then for every width whether the segments from s to s + width - 1 are all hidden."""
    runs = [hidden.unfold(1, width, 1).all(-1) for width in windows]
    return torch.cat([hidden, *runs], 1).double()


def expected_features(
    segments: int, windows: Sequence[int], p: float, device: torch.device | str = "cpu"
) -> Float[Tensor, "segment feature"]:
    """Return E[feature | segment hidden] for independent masks."""
    each = torch.eye(segments, dtype=torch.bool, device=device)

    def chosen(where: Tensor, there: float, elsewhere: float) -> Tensor:
        values = torch.full(where.shape, elsewhere, dtype=torch.float64, device=device)
        return values.masked_fill_(where, there)

    columns = [chosen(each, 1.0, p)]
    for width in windows:
        inside = each.unfold(1, width, 1).any(-1)
        columns.append(chosen(inside, p ** (width - 1), p**width))
    return torch.cat(columns, 1)


@dataclass(frozen=True)
class _Sample:
    """The moments of some masks of one half."""

    masks: int
    hidden: Float[Tensor, " feature"]
    divergence: Float[Tensor, " token"]
    cross: Float[Tensor, "token feature"]
    gram: Float[Tensor, "feature feature"]

    def __sub__(self, part: _Sample) -> _Sample:
        """Return the moments of the masks that are not in a part."""
        return _Sample(
            self.masks - part.masks,
            self.hidden - part.hidden,
            self.divergence - part.divergence,
            self.cross - part.cross,
            self.gram - part.gram,
        )


@dataclass(frozen=True)
class _Surrogate:
    """f = intercept + slopes features, one for each token."""

    intercept: Float[Tensor, " token"]
    slopes: Float[Tensor, "token feature"]

    def given_hidden(
        self, expected: Float[Tensor, "segment feature"]
    ) -> Float[Tensor, "token segment"]:
        """Return E[f | segment hidden]."""
        return self.intercept[:, None] + self.slopes @ expected.T


Sums = Float[Tensor, "half token segment"]


def masked_mean(moments: Moments, p: float) -> Sums:
    """Return the plain sums of divergences over the masks that hide a segment."""
    sums: Sums = moments.cross.sum(1)
    return sums


def least_squares(moments: Moments, p: float) -> Sums | None:
    """Return the regression estimate times the counts; None while a half has no more masks than segments."""
    if moments.masks.sum(1).min() <= moments.segments:
        return None
    expected = expected_features(moments.segments, moments.windows, p, moments.cross.device)
    sums = []
    for half in (0, 1):
        sample = _sample(moments, half)
        sums.append(_fit(sample, 0.0).given_hidden(expected) * sample.hidden)
    return torch.stack(sums)


def control_variate(moments: Moments, p: float) -> Sums:
    """Return the sums of divergences, where the part that the other folds predict is replaced by its expectation."""
    segments = moments.segments
    ridge = segments * p * (1 - p)
    expected = expected_features(segments, moments.windows, p, moments.cross.device)
    sums = moments.cross.new_zeros(2, moments.cross.shape[2], segments)
    for half in (0, 1):
        together = _sample(moments, half)
        for fold in range(FOLDS):
            own = _sample(moments, half, fold)
            surrogate = _fit(together - own, ridge)
            hidden = own.hidden[:segments]
            predicted = surrogate.intercept[:, None] * hidden
            predicted += surrogate.slopes @ own.gram[:, :segments]
            sums[half] += own.cross[:, :segments] - predicted
            sums[half] += surrogate.given_hidden(expected) * hidden
    return sums


@dataclass(frozen=True)
class Needs:
    """Which moments an estimator needs beside sums; windows: lengths of runs of neighbouring segments."""

    gram: bool = False
    windows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Estimator:
    """The function from moments and p to sums (None while masks are too few), and which moments it needs."""

    sums: Callable[[Moments, float], Sums | None]
    needs: Needs

    def __call__(self, moments: Moments, p: float) -> Sums | None:
        """Return sums from moments that hold at least what is needed."""
        return self.sums(moments if self.needs.windows else moments.of_segments(), p)


# Of the lengths that were tried (2 to 20 frames, alone and together), 4 and 8 need about the fewest masks and add few
# features.
_WINDOWS = (4, 8)

ESTIMATORS: Mapping[str, Estimator] = {
    "masked-mean": Estimator(masked_mean, Needs()),
    "least-squares": Estimator(least_squares, Needs(gram=True)),
    "control-variate": Estimator(control_variate, Needs(gram=True)),
    "window-control-variate": Estimator(control_variate, Needs(gram=True, windows=_WINDOWS)),
}


def _sample(moments: Moments, half: int, fold: int | None = None) -> _Sample:
    """Return the moments of one half, of one fold or of all."""
    assert moments.gram is not None
    folds = slice(None) if fold is None else slice(fold, fold + 1)
    return _Sample(
        int(moments.masks[half, folds].sum()),
        moments.hidden[half, folds].sum(0),
        moments.divergence[half, folds].sum(0),
        moments.cross[half, folds].sum(0),
        moments.gram[half, folds].sum(0),
    )


def _fit(sample: _Sample, ridge: float) -> _Surrogate:
    """Regress d on m: minimise sum_n (d_n - c - b m_n)^2 + ridge |b|^2, from centred moments."""
    masks = max(1, sample.masks)
    centred = sample.gram - torch.outer(sample.hidden, sample.hidden) / masks
    centred.diagonal().add_(ridge + _SMALLEST_RIDGE * masks)
    cross = sample.cross - torch.outer(sample.divergence, sample.hidden) / masks
    slopes = torch.cholesky_solve(cross.T, torch.linalg.cholesky(centred)).T
    return _Surrogate((sample.divergence - slopes @ sample.hidden) / masks, slopes)
