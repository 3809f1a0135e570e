"""SPES: relevance of a cell = mean divergence of the output over the random masks that hide the cell.

    d[n, i] = KL( p_i || p_i under mask n )           over the full next-token distribution
    S[i, c] = sum_n d[n, i] m[n, c] / sum_n m[n, c]   m[n, c] = 1 where mask n hides cell c

`spes-input` hides superpixels of the spectrogram (p = 0.5, three granularities in turn), `spes-encoder`
zeroes encoder output frames (p = 0.7). Mask n belongs to level n mod L and to half (n div L) mod 2.
Sources: Fucci et al. 2024, arXiv 2411.01710; Papi et al. 2025, arXiv 2509.18010, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xbench.case import Case
from xbench.errors import UsageError, UtteranceError
from xbench.references.masks import draw_mask, mask_key
from xbench.references.reference import Reference
from xbench.references.segments import Segmentation, frame_segments, superpixels

# Bytes of logits per batch that keep every log-softmax temporary small beside the model itself.
_BATCH_BYTES = 64 * 2**20
_LARGEST_BATCH = 64


@dataclass(frozen=True)
class Sampling:
    """How masks are drawn and batched: seed, masks per batch (None: found), progress callback."""

    seed: int = 0
    batch_size: int | None = None
    progress: Callable[[int], None] = lambda masks: None


Perturbed = Callable[[Bool[Tensor, "batch *cells"]], Float[Tensor, "batch token vocab"]]


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

    return masked_mean(
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
    return masked_mean(
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


def masked_mean(
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
    """Draw masks, measure divergences and add them up per segment and half.

    perturbed: maps hidden cells [batch, *cells] to logits. clean: logits without a mask. Memory does
    not grow with the number of masks. Raises UtteranceError `non-finite-divergence`.
    """
    device = clean.device
    log_clean = clean.float().log_softmax(-1)
    tokens = torch.tensor(case.hypothesis.tokens, device=device)
    flat = torch.from_numpy(segmentation.flat).long().to(device)
    cells = segmentation.labels.shape[1:]
    levels, total = len(segmentation.sizes), segmentation.total
    starts = np.cumsum((0, *segmentation.sizes[:-1]))
    key = mask_key(sampling.seed, case.key)

    sums = torch.zeros(2, len(tokens), total, dtype=torch.float64)
    counts = torch.zeros(2, total, dtype=torch.float64)
    kept = torch.zeros(len(tokens), dtype=torch.float64)
    batch_size = sampling.batch_size or _batch_size(clean)
    for first in range(0, masks, batch_size):
        indices = np.arange(first, min(first + batch_size, masks))
        drawn = np.zeros((len(indices), total), dtype=bool)
        for row, index in enumerate(indices):
            level = index % levels
            start, size = starts[level], segmentation.sizes[level]
            drawn[row, start : start + size] = draw_mask(key, int(index), size, p)
        hidden = torch.from_numpy(drawn).to(device)
        in_cells = hidden.gather(1, flat[indices % levels]).reshape(len(indices), *cells)
        log_masked = perturbed(in_cells).float().log_softmax(-1)
        divergence = kl_divergence(log_clean, log_masked)
        if not torch.isfinite(divergence).all():
            raise UtteranceError(
                "non-finite-divergence", "the perturbed output distribution is not finite"
            )
        kept += (log_masked.argmax(-1) == tokens).sum(0).double().cpu()
        half = torch.from_numpy((indices // levels) % 2)
        for side in (0, 1):
            rows = half == side
            side_hidden = hidden[rows.to(device)].to(divergence.dtype)
            sums[side] += (divergence[rows.to(device)].T @ side_hidden).double().cpu()
            counts[side] += side_hidden.sum(0).double().cpu()
        sampling.progress(len(indices))
    in_half_one = sum(1 for index in range(masks) if (index // levels) % 2)
    return Reference(
        segmentation=segmentation,
        sums=sums.numpy(),
        counts=counts.numpy().astype(np.int64),
        masks=(masks - in_half_one, in_half_one),
        kept=(kept / max(masks, 1)).numpy(),
        neutral=neutral,
    )


def kl_divergence(
    log_p: Float[Tensor, "token vocab"], log_q: Float[Tensor, "batch token vocab"]
) -> Float[Tensor, "batch token"]:
    """Return KL(p || q) = sum_v p_v (log p_v - log q_v) in nats; rounding below zero becomes zero."""
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp_min(0)


def _batch_size(clean: Float[Tensor, "token vocab"]) -> int:
    return int(max(1, min(_LARGEST_BATCH, _BATCH_BYTES // (4 * clean.numel()))))
