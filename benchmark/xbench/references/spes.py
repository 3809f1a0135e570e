"""SPES: relevance of a cell = mean divergence of the output over the random masks that hide the cell.

    d[n, i] = KL( p_i || p_i under mask n )           over the full next-token distribution
    S[i, c] = sum_n d[n, i] m[n, c] / sum_n m[n, c]   m[n, c] = 1 where mask n hides cell c

`spes-input` hides superpixels of the spectrogram (p = 0.5, three granularities in turn), `spes-encoder`
zeroes encoder output frames (p = 0.7). Mask n belongs to level n mod L and to half (n div L) mod 2.
Sources: Fucci et al. 2024, arXiv 2411.01710; Papi et al. 2025, arXiv 2509.18010, section 3.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xbench.case import Case
from xbench.errors import Unsupported, UsageError
from xbench.models.protocol import NO_SPECTROGRAM
from xbench.references.divergence import Perturbed, against, batch_size
from xbench.references.estimation import Sampling, masked_mean
from xbench.references.reference import Reference
from xbench.references.segments import Segmentation, frame_segments, superpixels


@torch.inference_mode()
def spes_encoder(case: Case, sampling: Sampling, *, masks: int, p: float) -> Reference:
    """Estimate relevance of encoder frames by zeroing them; cells are [frame]."""
    encoded = case.model.encode(case.features.values[None])
    frames = case.features.frames

    masked_logits = case.model.frame_masking(encoded, case.hypothesis)

    def perturbed(hidden: Bool[Tensor, "batch frame"]) -> Float[Tensor, "batch token vocab"]:
        keep = torch.ones(len(hidden), encoded.shape[1], dtype=encoded.dtype, device=encoded.device)
        keep[:, :frames] = (~hidden).to(encoded.dtype)
        return masked_logits(keep)

    return _estimate(
        perturbed,
        case.model.logits(encoded, case.hypothesis)[0],
        frame_segments(frames),
        case,
        sampling,
        masks=masks,
        p=p,
        neutral="zero vector",
    )


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
) -> Reference:
    """Estimate relevance of spectrogram cells by hiding superpixels; cells are [melframe, mel].

    A hidden cell takes its mel channel's mean over the utterance's valid frames.
    """
    if not case.model.info.spectrogram:
        raise Unsupported(NO_SPECTROGRAM)
    features = case.features
    segmentation = superpixels(
        features.valid.float().cpu().numpy(),
        features.melframes * features.melframe_seconds,
        rates=_rates(rates),
        cap_seconds=cap_seconds,
        compactness=compactness,
        sigma=sigma,
    )
    neutral = features.valid.mean(0)

    def perturbed(hidden: Bool[Tensor, "batch melframe mel"]) -> Float[Tensor, "batch token vocab"]:
        values = features.values.repeat(len(hidden), 1, 1)
        values[:, : features.melframes] = torch.where(hidden, neutral, features.valid)
        return case.model.logits(case.model.encode(values), case.hypothesis)

    clean = case.model.logits(case.model.encode(features.values[None]), case.hypothesis)[0]
    return _estimate(
        perturbed,
        clean,
        segmentation,
        case,
        sampling,
        masks=masks,
        p=p,
        neutral="mean of each mel channel over the valid frames",
    )


def _rates(text: str) -> list[float]:
    try:
        rates = [float(rate) for rate in text.split("+")]
    except ValueError:
        rates = []
    if not rates or min(rates) <= 0:
        raise UsageError(f"spes-input: 'rates={text}' is not positive numbers joined by '+'")
    return rates


def _estimate(
    perturbed: Perturbed,
    clean: Float[Tensor, "token vocab"],
    segmentation: Segmentation,
    case: Case,
    sampling: Sampling,
    *,
    masks: int,
    p: float,
    neutral: str,
) -> Reference:
    tokens = torch.tensor(case.hypothesis.tokens, device=clean.device)
    return masked_mean(
        against(clean, tokens, perturbed),
        segmentation,
        case,
        sampling,
        batch_size=sampling.batch_size or batch_size(clean),
        masks=masks,
        p=p,
        neutral=neutral,
    )
