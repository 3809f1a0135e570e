"""Contrastive SPES: what makes the model write this token and not another one.

    difference   d[n, i] = (p_i(y_i) - q_ni(y_i)) - (p_i(z_i) - q_ni(z_i))
    relative     d[n, i] = p_i(y_i) / (p_i(y_i) + p_i(z_i)) - q_ni(y_i) / (q_ni(y_i) + q_ni(z_i))

y_i: the hypothesis token. z_i: its foil, the most likely other token of the clean pass. q_ni: the distribution under
mask n. Masks, segments and estimators are those of `spes-encoder` and `spes-input`; only the effect differs. A cell
that speaks for both tokens alike has no relevance by `relative`, however much the distribution moves with it. The
effect may be negative: hiding the cell favours the token over its foil. Passes run in the model's own precision.

The formulas are those of Conti et al. 2025, arXiv 2509.26543 (`relative` after Jacovi et al. 2021, arXiv 2103.01378).
They take foils that people have annotated (the other gender of a word); the runner-up needs no annotation, and is our
choice.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from xbench.case import Case
from xbench.hiding.cells import EncoderFrames, SpectrogramCells
from xbench.hiding.effect import Quantity, contrast_difference, contrast_relative
from xbench.hiding.masks import Design
from xbench.hiding.segments import frame_segments
from xbench.references.estimation import Recipe, Sampling
from xbench.references.sampled import SampledReference
from xbench.references.spes import input_segments, sampled

_CONTRASTS: Mapping[str, Quantity] = {
    "difference": contrast_difference,
    "relative": contrast_relative,
}


@torch.inference_mode()
def spes_encoder_contrast(
    case: Case,
    sampling: Sampling,
    *,
    masks: int,
    p: float,
    contrast: str = "relative",
    estimator: str = "masked-mean",
    design: Design = "independent",
    until: float | None = None,
) -> SampledReference:
    """Estimate how far zeroing an encoder frame makes the token give way to its foil; cells are [frame]."""
    recipe = Recipe(masks, p, estimator, design, until)
    segments = frame_segments(case.features.frames)
    return sampled(EncoderFrames(case), _CONTRASTS[contrast], sampling, recipe, segments)


@torch.inference_mode()
def spes_input_contrast(
    case: Case,
    sampling: Sampling,
    *,
    masks: int,
    p: float,
    rates: str,
    compactness: float,
    sigma: float,
    cap_seconds: float,
    contrast: str = "relative",
    estimator: str = "masked-mean",
    design: Design = "independent",
    until: float | None = None,
) -> SampledReference:
    """Estimate how far hiding a superpixel makes the token give way to its foil; cells are [melframe, mel]."""
    segments = input_segments(case, rates, compactness, sigma, cap_seconds)
    recipe = Recipe(masks, p, estimator, design, until)
    return sampled(SpectrogramCells(case), _CONTRASTS[contrast], sampling, recipe, segments)
