"""SPES over encoder frames with the fall of the token's probability in place of the KL divergence.

    d[n, i] = p_i(y_i) - q_ni(y_i)       y_i: the hypothesis token, q_ni its distribution under mask n

Masks, estimators and cells are those of `spes-encoder`; only the effect differs, and here it may be negative: hiding a
frame can help a token. This is what deletion and insertion ask for, so it shows whether a ranking of methods
hangs on the choice of the divergence (`xbench compare-references`). Passes run in the model's own precision.
Sources: as `xbench.references.spes`; the effect is that of Petsiuk et al. 2018, RISE, arXiv 1806.07421.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xbench.case import Case
from xbench.hiding.batching import Batched, starting_size
from xbench.hiding.effect import Measure, Perturbed, Shift
from xbench.hiding.masks import Design
from xbench.references.estimation import Recipe, Sampling, estimate
from xbench.references.sampled import SampledReference
from xbench.references.spes import encoder_passes


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
    plan, build = encoder_passes(case, sampling, p)
    tokens = torch.tensor(case.hypothesis.tokens, device=plan.clean.device)
    own = getattr(torch, case.model.info.precision)
    measure = probability_drop(plan.clean, tokens, build(case.model, own))
    size = sampling.batch_size or starting_size(plan.clean.device, plan.rows)
    return estimate(
        Batched(measure, size),
        plan.segmentation,
        case,
        sampling,
        Recipe(masks, p, estimator, design, until),
        batch_size=size,
        neutral="zero vector",
    )


def probability_drop(
    clean: Float[Tensor, "token vocab"], tokens: Int[Tensor, " token"], perturbed: Perturbed
) -> Measure:
    """Return the function from hidden cells to the fall of each token's probability, as a shift."""
    place = tokens[:, None]
    before = clean.float().softmax(-1).gather(-1, place)[:, 0]

    def measure(hidden: Bool[Tensor, "batch *cells"]) -> Shift:
        after = perturbed(hidden).float().softmax(-1)
        own = after.gather(-1, place.expand(len(after), -1, -1))[..., 0]
        return Shift(before - own, after.argmax(-1) == tokens)

    return measure
