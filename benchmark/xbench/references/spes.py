"""SPES: relevance of a cell = mean divergence of the output over the random masks that hide the cell.

    d[n, i] = KL( p_i || p_i under mask n )           over the full next-token distribution
    S[i, c] = sum_n d[n, i] m[n, c] / sum_n m[n, c]   m[n, c] = 1 where mask n hides cell c

`spes-input` hides superpixels of the spectrogram (p = 0.5, three granularities in turn), `spes-encoder`
zeroes encoder output frames (p = 0.7). Mask n belongs to level n mod L and to half (n div L) mod 2.
Sources: Fucci et al. 2024, arXiv 2411.01710; Papi et al. 2025, arXiv 2509.18010, section 3.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xbench.case import Case
from xbench.errors import Unsupported, UsageError
from xbench.hiding.effect import Perturbed
from xbench.hiding.masks import Design
from xbench.hiding.passes import Build, Chosen, Plan, choose_padding, choose_precision
from xbench.hiding.segments import Segmentation, frame_segments, superpixels
from xbench.models.optional import FreezesPadding, offers
from xbench.models.protocol import NO_SPECTROGRAM, Features, SpeechModel
from xbench.references.estimation import Recipe, Sampling, estimate
from xbench.references.reference import Reference


@torch.inference_mode()
def spes_encoder(
    case: Case,
    sampling: Sampling,
    *,
    masks: int,
    p: float,
    estimator: str = "masked-mean",
    design: Design = "independent",
    until: float | None = None,
    precision: str = "float32",
) -> Reference:
    """Estimate relevance of encoder frames by zeroing them; cells are [frame].

    precision: `float32`, `bfloat16` or `auto` (`hiding.passes`).
    """
    plan, build = encoder_passes(case, sampling, p)
    recipe = Recipe(masks, p, estimator, design, until)
    return _estimate(plan, choose_precision(plan, build, precision), recipe, "zero vector")


def encoder_passes(case: Case, sampling: Sampling, p: float) -> tuple[Plan, Build]:
    """Run the encoder and a clean pass; return how passes over hidden encoder frames are made."""
    encoded = case.model.encode(case.features.values[None])
    frames = case.features.frames

    def build(model: SpeechModel, dtype: torch.dtype) -> Perturbed:
        masked = model.frame_masking(encoded, case.hypothesis)

        def perturbed(hidden: Bool[Tensor, "batch frame"]) -> Float[Tensor, "batch token output"]:
            keep = encoded.new_ones(len(hidden), encoded.shape[1])
            keep[:, :frames] = (~hidden).to(keep)
            return masked(keep)

        return perturbed

    rows = len(case.hypothesis.prompt) + len(case.hypothesis.tokens)
    clean = case.model.logits(encoded, case.hypothesis)[0]
    return Plan(case, sampling, frame_segments(frames), p, clean, rows), build


@torch.inference_mode()
def spes_input(
    case: Case,
    sampling: Sampling,
    *,
    masks: int,
    p: float,
    rates: str,
    compactness: float,
    sigma: float,
    cap_seconds: float,
    estimator: str = "masked-mean",
    design: Design = "independent",
    until: float | None = None,
    precision: str = "float32",
    padding: str = "exact",
) -> Reference:
    """Estimate relevance of spectrogram cells by hiding superpixels; cells are [melframe, mel].

    A hidden cell takes its mel channel's mean over the utterance's valid frames. precision: as `spes_encoder`.
    padding: `exact` or `frozen` (`models.optional.FreezesPadding`).
    """
    if not case.model.info.spectrogram:
        raise Unsupported(NO_SPECTROGRAM)
    segmentation = superpixels(
        case.features.valid.float().cpu().numpy(),
        case.features.melframes * case.features.melframe_seconds,
        rates=_rates(rates),
        cap_seconds=cap_seconds,
        compactness=compactness,
        sigma=sigma,
    )
    plan, build = input_passes(case, sampling, p, segmentation)
    chosen = choose_precision(plan, build, precision)
    if padding == "frozen":
        chosen = choose_padding(plan, chosen, frozen_passes(case))
    neutral = "mean of each mel channel over the valid frames"
    return _estimate(plan, chosen, Recipe(masks, p, estimator, design, until), neutral)


def input_passes(
    case: Case, sampling: Sampling, p: float, segmentation: Segmentation
) -> tuple[Plan, Build]:
    """Run the clean pass; return how passes over hidden spectrogram cells are made."""
    features = case.features

    def build(model: SpeechModel, dtype: torch.dtype) -> Perturbed:
        def perturbed(
            hidden: Bool[Tensor, "batch melframe mel"],
        ) -> Float[Tensor, "batch token output"]:
            values = features.values.to(dtype).repeat(len(hidden), 1, 1)
            values[:, : features.melframes] = _hide(features, hidden, dtype)
            return model.logits(model.encode(values), case.hypothesis)

        return perturbed

    encoded = case.model.encode(features.values[None])
    clean = case.model.logits(encoded, case.hypothesis)[0]
    return Plan(case, sampling, segmentation, p, clean, encoded.shape[1]), build


def _hide(
    features: Features, hidden: Bool[Tensor, "batch melframe mel"], dtype: torch.dtype
) -> Float[Tensor, "batch melframe mel"]:
    """Take the neutral value where a cell is hidden; `torch.where` takes 20 times as long on a CPU."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    valid = features.valid.to(dtype).view(bits)
    neutral = features.valid.mean(0).to(dtype).view(bits)
    hide = hidden.to(bits).neg_()
    return (valid ^ (hide & (valid ^ neutral))).view(dtype)


def frozen_passes(case: Case) -> Build | None:
    """Return passes over frozen padding; None for a clip that fills the window; raises UsageError."""
    if not offers(case.model, FreezesPadding):
        raise UsageError(
            f"spes-input: 'padding=frozen' is not possible with model '{case.model.info.name}': its family "
            "offers no passes over frozen padding; use padding=exact"
        )
    if case.features.melframes >= len(case.features.values):
        return None

    def build(model: SpeechModel, dtype: torch.dtype) -> Perturbed:
        assert offers(model, FreezesPadding)
        frozen = model.frozen_padding(case.features, case.hypothesis)

        def perturbed(
            hidden: Bool[Tensor, "batch melframe mel"],
        ) -> Float[Tensor, "batch token output"]:
            return frozen(_hide(case.features, hidden, dtype))

        return perturbed

    return build


def _rates(text: str) -> list[float]:
    try:
        rates = [float(rate) for rate in text.split("+")]
    except ValueError:
        rates = []
    if not rates or min(rates) <= 0:
        raise UsageError(f"spes-input: 'rates={text}' is not positive numbers joined by '+'")
    return rates


def _estimate(plan: Plan, chosen: Chosen, recipe: Recipe, neutral: str) -> Reference:
    reference = estimate(
        chosen.measure,
        plan.segmentation,
        plan.case,
        plan.sampling,
        recipe,
        batch_size=chosen.measure.size,
        neutral=neutral,
    )
    return replace(reference, computation={**chosen.facts, "batch_size": chosen.measure.size})
