"""SPES over encoder frames with the fall of the token's probability in place of the KL divergence.

    d[n, i] = p_i(y_i) - q_ni(y_i)       y_i: the hypothesis token, q_ni its distribution under mask n

Masks, estimators and cells are those of `spes-encoder`; only the effect differs. It may be negative: hiding a frame
can help a token. Deletion and insertion look at the token's probability too. So this reference shows whether a
ranking of methods depends on the choice of the divergence (`xbench compare-references`). Passes run in the model's
own precision. Sources: as `xbench.references.spes`; the effect is that of Petsiuk et al. 2018, RISE, arXiv
1806.07421.
"""

from __future__ import annotations

import torch

from xbench.case import Case
from xbench.hiding.cells import EncoderFrames
from xbench.hiding.effect import probability_drop
from xbench.hiding.masks import Design
from xbench.hiding.segments import frame_segments
from xbench.references.estimation import Recipe, Sampling
from xbench.references.sampled import SampledReference
from xbench.references.spes import sampled


@torch.inference_mode()
def spes_encoder_drop(
    case: Case,
    sampling: Sampling,
    *,
    masks: int,
    p: float,
    estimator: str = "masked-mean",
    design: Design = "independent",
    until: float | None = None,
) -> SampledReference:
    """Estimate how far zeroing an encoder frame lowers the token's probability; cells are [frame]."""
    recipe = Recipe(masks, p, estimator, design, until)
    segments = frame_segments(case.features.frames)
    return sampled(EncoderFrames(case), probability_drop, sampling, recipe, segments)
