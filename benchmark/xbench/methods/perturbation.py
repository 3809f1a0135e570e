"""Perturbation methods on the spectrogram (space `input`) and on the encoder output (space `encoder`).

    occlusion         f_i(x) - f_i(x with a window replaced); overlapping windows are averaged
    feature-ablation  f_i(x) - f_i(x with a group replaced)
    lime              coefficients of a sparse linear model of f_i on groups switched on and off
    kernel-shap       the same with the Shapley kernel: the groups' Shapley values
    rise              sum_n (f_i(x_n) - mean f_i) m_n / sum_n m_n     x_n = m_n x + (1 - m_n) x0, smooth random m_n

A hidden cell takes the value of the baseline x0. Groups are a grid: time is cut into `segments` equal parts and, on
the spectrogram, the mel channels into `bands`; so cost does not grow with duration. Every pass scores all tokens.
Captum's LIME and KernelSHAP work on switches (a group is on or off) instead of cells, and on one token at a time: the
same samples are drawn for each token, and each distinct sample is evaluated once.

Sources: Zeiler and Fergus 2014; Ribeiro et al. 2016; Lundberg and Lee 2017; Petsiuk et al. 2018 (RISE, whose
map differs by a constant per token: here a cell without influence is 0); captum (BSD-3).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

# Private: the Lasso that captum's LIME fits by default. No public name takes another penalty.
from captum._utils.models.linear_model import SkLearnLasso
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion
from jaxtyping import Float, Int
from torch import Tensor

from xbench.case import Case
from xbench.hiding.batching import Batched
from xbench.hiding.cells import Cells, Space, cells_of
from xbench.hiding.effect import TARGETS, Hidden, Shift
from xbench.hiding.passes import choose
from xbench.hiding.segments import grid_segments
from xbench.methods.target import in_both_spaces, seeded

Map = Float[Tensor, "token frame"] | Float[Tensor, "token melframe mel"]


@dataclass(frozen=True)
class Scored:
    """The scores of all tokens while cells are hidden. target: `logit` or `log-probability`."""

    cells: Cells
    measure: Batched[Shift]

    @classmethod
    @torch.no_grad()
    def of(cls, case: Case, space: Space, target: str, baseline: str) -> Scored:
        """Return the scores while cells of a space take the value of a baseline, in the model's own precision."""
        cells = cells_of(case, space, baseline)
        return cls(cells, choose(cells, TARGETS[target]).measure)

    @torch.no_grad()
    def __call__(self, hidden: Hidden) -> Float[Tensor, "batch token"]:
        """Return the score of every token under each mask."""
        return self.measure(hidden).value

    @property
    def batch_size(self) -> int:
        """How many masks one pass takes now."""
        return self.measure.size


# -- windows --------------------------------------------------------------------------------------


def occlusion(
    case: Case, *, space: Space, target: str, baseline: str, window: int, step: int, bands: int = 1
) -> Map:
    """Slide a window of `window` frames by `step` over each band; the map is the loss of score."""
    scored = Scored.of(case, space, target, baseline)
    shape = scored.cells.shape
    width = min(window, shape[0])
    heights = [-(-channels // min(bands, channels)) for channels in shape[1:]]
    return Occlusion(lambda on: scored(on == 0)).attribute(
        torch.ones(1, *shape, device=scored.cells.values.device),
        sliding_window_shapes=(width, *heights),
        strides=(min(step, width), *heights),
    )


# -- groups ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Switches:
    """The scores as a function of which groups of cells are on; each distinct setting is evaluated once.

    labels: the group of every cell, from 0.
    """

    scored: Scored
    labels: Int[Tensor, "*cells"]
    seen: dict[bytes, Float[Tensor, " token"]] = field(default_factory=dict)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.labels.max()) + 1

    def __call__(self, on: Float[Tensor, "batch group"]) -> Float[Tensor, "batch token"]:
        """Return the score of every token for settings of 1 (as it is) and 0 (hidden)."""
        keys = [row.to(torch.bool).numpy().tobytes() for row in on]
        missing = {key: row for key, row in zip(keys, on, strict=True) if key not in self.seen}
        rows = list(missing.values())
        for first in range(0, len(rows), self.scored.batch_size):
            part = torch.stack(rows[first : first + self.scored.batch_size])
            kept = part.bool().to(self.labels.device)[:, self.labels]
            found = self.scored(~kept).cpu()
            self.seen.update(zip(list(missing)[first : first + len(part)], found, strict=True))
        return torch.stack([self.seen[key] for key in keys])

    def one_token(self, on: Float[Tensor, "batch group"], token: int) -> Float[Tensor, " batch"]:
        """Return one token's score for each setting."""
        return self(on)[:, token]

    def to_map(self, values: Float[Tensor, "token group"]) -> Map:
        """Give every cell the value of its group."""
        return values.to(self.labels.device)[:, self.labels].float()


def _switches(
    case: Case, space: Space, target: str, baseline: str, segments: int, bands: int
) -> Switches:
    scored = Scored.of(case, space, target, baseline)
    frames, channels = (*scored.cells.shape, 1)[:2]
    labels = grid_segments(frames, channels, segments, bands).labels[0]
    on_cells = torch.from_numpy(labels).long().reshape(scored.cells.shape)
    return Switches(scored, on_cells.to(scored.cells.values.device))


def feature_ablation(
    case: Case, *, space: Space, target: str, baseline: str, segments: int, bands: int = 1
) -> Map:
    """Replace one group at a time; the map is the loss of score."""
    switches = _switches(case, space, target, baseline, segments, bands)
    attributions = FeatureAblation(switches).attribute(
        torch.ones(1, switches.groups), baselines=torch.zeros(1, switches.groups)
    )
    return switches.to_map(attributions)


def lime(
    case: Case,
    *,
    space: Space,
    target: str,
    baseline: str,
    segments: int,
    samples: int,
    penalty: float,
    seed: int,
    bands: int = 1,
) -> Map:
    """Fit a lasso on random settings, weighted by their cosine similarity with the full input."""
    switches = _switches(case, space, target, baseline, segments, bands)
    method = Lime(switches.one_token, interpretable_model=SkLearnLasso(alpha=penalty))
    return _fit(method, switches, case, samples, seed)


def kernel_shap(
    case: Case,
    *,
    space: Space,
    target: str,
    baseline: str,
    segments: int,
    samples: int,
    seed: int,
    bands: int = 1,
) -> Map:
    """Estimate the Shapley values of the groups by weighted least squares."""
    switches = _switches(case, space, target, baseline, segments, bands)
    if switches.groups == 1:
        # With one group there are no sets between none and all, on which the kernel is defined: it gets the whole
        # difference.
        ends = switches(torch.tensor([[1.0], [0.0]]))
        return switches.to_map((ends[0] - ends[1])[:, None])
    return _fit(KernelShap(switches.one_token), switches, case, samples, seed)


def _fit(method: Any, switches: Switches, case: Case, samples: int, seed: int) -> Map:
    values = []
    for token in range(len(case.hypothesis.tokens)):
        with seeded(seed, case):
            values.append(
                method.attribute(
                    torch.ones(1, switches.groups),
                    baselines=torch.zeros(1, switches.groups),
                    additional_forward_args=(token,),
                    n_samples=samples,
                    perturbations_per_eval=switches.scored.batch_size,
                    return_input_shape=False,
                )
            )
    return switches.to_map(torch.stack(values).float().reshape(-1, switches.groups))


# -- smooth random masks --------------------------------------------------------------------------


def rise(
    case: Case,
    *,
    space: Space,
    target: str,
    baseline: str,
    samples: int,
    p: float,
    cell: int,
    seed: int,
    bands: int = 1,
) -> Map:
    """Correlate scores with smooth random masks of grid cells that are `cell` frames wide."""
    scored = Scored.of(case, space, target, baseline)
    frames, channels = (*scored.cells.shape, 1)[:2]
    weighted, weight, total, masked = (torch.zeros(()) for _ in range(4))
    for first in range(0, samples, scored.batch_size):
        indices = range(first, min(first + scored.batch_size, samples))
        drawn = [smooth_mask(case.key, seed, n, frames, channels, cell, bands, p) for n in indices]
        stacked = torch.from_numpy(np.stack(drawn)).to(scored.cells.values.device)
        masks = stacked.reshape(len(drawn), *scored.cells.shape)
        values = scored(1 - masks).double()
        weighted = weighted + torch.einsum("nt,n...->t...", values, masks.double())
        weight = weight + masks.double().sum(0)
        total = total + values.sum(0)
        masked = masked + len(values)
    mean = (total / masked).reshape(-1, *[1] * weight.ndim)
    # A cell that no mask kept was never seen.
    return torch.where(weight > 0, weighted / weight.clamp_min(1e-12) - mean, 0).float()


def smooth_mask(
    key: str, seed: int, index: int, frames: int, channels: int, cell: int, bands: int, p: float
) -> Float[np.ndarray, "frame channel"]:
    """Draw mask number `index`: a coarse random grid, shifted at random and interpolated linearly.

    A grid cell is on with probability p; the mask follows from (audio, seed, index) alone.
    """
    digest = hashlib.blake2b(f"rise:{seed}:{index}:{key}".encode(), digest_size=16).digest()
    generator = np.random.default_rng(int.from_bytes(digest, "little"))
    height = channels / min(bands, channels)
    coarse = generator.random((frames // cell + 3, min(bands, channels) + 2)) < p
    time = np.arange(frames) / cell + generator.random()
    if bands == 1:
        return np.repeat(_interpolated(coarse[:, :1], time), channels, axis=1)
    band = np.arange(channels) / height + generator.random()
    return _interpolated(_interpolated(coarse, time).T, band).T


def _interpolated(
    values: np.ndarray, places: Float[np.ndarray, " place"]
) -> Float[np.ndarray, "place column"]:
    low = np.floor(places).astype(int)
    share = (places - low)[:, None].astype(np.float32)
    found: np.ndarray = (1 - share) * values[low] + share * values[low + 1]
    return found.astype(np.float32)


occlusion_input, occlusion_encoder = in_both_spaces(occlusion)
feature_ablation_input, feature_ablation_encoder = in_both_spaces(feature_ablation)
lime_input, lime_encoder = in_both_spaces(lime)
kernel_shap_input, kernel_shap_encoder = in_both_spaces(kernel_shap)
rise_input, rise_encoder = in_both_spaces(rise)
