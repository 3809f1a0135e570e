"""SPES over the audio positions of a decoder-only model.

The map is that of `spes-encoder`: the mean divergence of a token's distribution over the random masks that hide a
position (`references.spes`). What is hidden differs. A position of the audio stands in the same stack as the text, and
every layer mixes it anew, so no value of it is neutral by itself:

    zero           it begins as zeros and fills up, layer by layer, with what stands to the left of it
    mean           it begins as the mean of all audio positions: what audio has in common
    key-removed    no position reads it in any layer; what other positions have taken from it is gone too

Whoever reports one of them should see whether another ranks methods alike (`xbench compare-references`).

Sources: the masks and the effect are those of Papi et al. 2025, arXiv 2509.18010, section 3; the neutral values: ours.
"""

from __future__ import annotations

import torch

from xbench.case import Case
from xbench.hiding.cells import AudioPositions
from xbench.hiding.effect import divergence
from xbench.hiding.masks import Design
from xbench.hiding.segments import frame_segments
from xbench.references.estimation import Recipe, Sampling
from xbench.references.sampled import SampledReference
from xbench.references.spes import sampled


@torch.inference_mode()
def spes_audio(
    case: Case,
    sampling: Sampling,
    *,
    masks: int,
    p: float,
    neutral: str = "zero",
    estimator: str = "masked-mean",
    design: Design = "independent",
    until: float | None = None,
    precision: str = "float32",
) -> SampledReference:
    """Estimate relevance of audio positions by hiding them; cells are [frame].

    neutral: `zero`, `mean` or `key-removed`. precision: as `spes_encoder`. Raises Unsupported for an encoder-decoder.
    """
    recipe = Recipe(masks, p, estimator, design, until)
    segments = frame_segments(case.features.frames)
    cells = AudioPositions(case, neutral)
    return sampled(cells, divergence, sampling, recipe, segments, precision)
