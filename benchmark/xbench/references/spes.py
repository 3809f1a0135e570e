"""SPES: relevance of a cell = mean divergence of the output over the random masks that hide the cell.

    d[n, i] = KL( p_i || p_i under mask n )           over the full next-token distribution
    S[i, c] = sum_n d[n, i] m[n, c] / sum_n m[n, c]   m[n, c] = 1 where mask n hides cell c

`spes-input` hides superpixels of the spectrogram (p = 0.5, three granularities in turn), `spes-encoder`
zeroes encoder output frames (p = 0.7), `spes-encoder-removed` takes them out of the cross-attention. With L
granularities (levels), mask n belongs to level n mod L and to half (n div L) mod 2.
Sources: Fucci et al. 2024, arXiv 2411.01710; Papi et al. 2025, arXiv 2509.18010, section 3.
"""

from __future__ import annotations

import hashlib

import torch

from xbench.case import Case
from xbench.errors import Unsupported, UsageError, UtteranceError
from xbench.hiding.cells import Cells, EncoderFrames, SpectrogramCells, neutral_words
from xbench.hiding.effect import Quantity, divergence
from xbench.hiding.masks import Design
from xbench.hiding.passes import Trial, choose, choose_again
from xbench.hiding.segments import Segmentation, frame_segments, superpixels
from xbench.models.optional import FreezesPadding, ShowsAttention, offers
from xbench.models.protocol import NO_SPECTROGRAM
from xbench.references.estimation import Recipe, Sampling, estimate
from xbench.references.sampled import SampledReference
from xbench.spec import content_hash


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
) -> SampledReference:
    """Estimate relevance of encoder frames by zeroing them; cells are [frame].

    precision: `float32`, `bfloat16` or `auto` (`hiding.passes`).
    """
    recipe = Recipe(masks, p, estimator, design, until)
    segments = frame_segments(case.features.frames)
    return sampled(EncoderFrames(case), divergence, sampling, recipe, segments, precision)


@torch.inference_mode()
def spes_encoder_removed(
    case: Case,
    sampling: Sampling,
    *,
    masks: int,
    p: float,
    estimator: str = "masked-mean",
    design: Design = "independent",
    until: float | None = None,
    precision: str = "float32",
) -> SampledReference:
    """Estimate relevance of encoder frames by taking their keys out of the cross-attention; cells are [frame].

    A zeroed frame keeps a key (the bias of its projection) and with it a share of every softmax, so zeroing many frames
    also dilutes the attention to the others. precision: as `spes_encoder`. Raises UtteranceError `no-cross-attention`
    for a model that does not say where it attends: fewer frames might mean something else to it than hidden ones.
    """
    if not offers(case.model, ShowsAttention):
        raise UtteranceError(
            "no-cross-attention",
            f"spes-encoder-removed: model '{case.model.info.name}' does not say where its cross-attention is, so no "
            "frame can be taken out of it; use spes-encoder",
        )
    recipe = Recipe(masks, p, estimator, design, until)
    segments = frame_segments(case.features.frames)
    cells = EncoderFrames(case, neutral="removed")
    return sampled(cells, divergence, sampling, recipe, segments, precision)


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
) -> SampledReference:
    """Estimate relevance of spectrogram cells by hiding superpixels; cells are [melframe, mel].

    A hidden cell takes its mel channel's mean over the utterance's valid frames. precision: as `spes_encoder`.
    padding: `exact` or `frozen` (`models.optional.FreezesPadding`).
    """
    segments = input_segments(case, rates, compactness, sigma, cap_seconds)
    if padding == "frozen" and not offers(case.model, FreezesPadding):
        raise UsageError(
            f"spes-input: 'padding=frozen' is not possible with model '{case.model.info.name}': its family "
            "offers no passes over frozen padding; use padding=exact"
        )
    recipe = Recipe(masks, p, estimator, design, until)
    cells = SpectrogramCells(case)
    return sampled(cells, divergence, sampling, recipe, segments, precision, padding)


def input_segments(
    case: Case, rates: str, compactness: float, sigma: float, cap_seconds: float
) -> Segmentation:
    """Divide a spectrogram into superpixels; raises Unsupported for a model of the raw waveform."""
    if not case.model.info.spectrogram:
        raise Unsupported(NO_SPECTROGRAM)
    return superpixels(
        case.features.valid.float().cpu().numpy(),
        case.features.melframes * case.features.melframe_seconds,
        rates=_rates(rates),
        cap_seconds=cap_seconds,
        compactness=compactness,
        sigma=sigma,
    )


def sampled(
    cells: Cells,
    quantity: Quantity,
    sampling: Sampling,
    recipe: Recipe,
    segments: Segmentation,
    precision: str | None = None,
    padding: str = "exact",
) -> SampledReference:
    """Return the mean of a quantity over random masks that hide each segment.

    precision: None for the model's own.
    """
    measured = {
        "case": cells.case.key,
        "cells": neutral_words(cells),
        "space": cells.space,
        "quantity": f"{quantity.__module__}:{quantity.__qualname__}",
        "seed": sampling.seed,
        "p": recipe.p,
        "padding": padding,
        "segments": hashlib.sha256(segments.labels.tobytes()).hexdigest(),
    }
    blocks, part, chosen = sampling.blocks, content_hash(measured), None
    choice = blocks.choice(part)
    if choice is not None:
        chosen = choose_again(cells, quantity, choice, sampling.batch_size)
    if chosen is None:
        chosen = choose(
            cells,
            quantity,
            precision=precision,
            padding=padding,
            batch_size=sampling.batch_size,
            trial=Trial(segments, recipe.p, sampling.seed),
        )
        blocks.choose(part, chosen.choice)
    # Effects that were measured in another way, or of other masks, are not of this reference.
    way = {name: chosen.choice.get(name) for name in ("precision", "padding")}
    masks = [recipe.design, sampling.block]
    return estimate(
        chosen.measure,
        segments,
        cells.case,
        sampling,
        recipe,
        neutral=neutral_words(cells),
        computation=lambda: chosen.facts,
        part=content_hash([part, way, masks]),
    )


def _rates(text: str) -> list[float]:
    try:
        rates = [float(rate) for rate in text.split("+")]
    except ValueError:
        rates = []
    if not rates or min(rates) <= 0:
        raise UsageError(f"spes-input: 'rates={text}' is not positive numbers joined by '+'")
    return rates
