"""Contrastive references: the masks of spes, and the token against its foil as the effect."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.case import Case
from xbench.hiding.cells import EncoderFrames
from xbench.hiding.effect import Clean, contrast_difference, contrast_relative, from_logits
from xbench.hiding.masks import draw_mask, mask_key
from xbench.models.families.whisper import WhisperModel
from xbench.references.contrast import spes_encoder_contrast, spes_input_contrast
from xbench.references.estimation import Sampling
from xbench.references.spes import spes_input

NOTHING = torch.zeros(1, 1, dtype=torch.bool)


def effects(clean: list[float], masked: list[float], token: int) -> tuple[float, float]:
    """Return difference and relative contrast of one token, from probabilities."""
    before = Clean(torch.tensor([clean]).log(), torch.tensor([token]))
    after = torch.tensor([[masked]]).log()
    difference, relative = (
        from_logits(quantity, before, lambda _: after)(NOTHING).value.item()
        for quantity in (contrast_difference, contrast_relative)
    )
    return difference, relative


def test_by_hand_the_foil_is_the_runner_up() -> None:
    # y = 0 falls from 0.5 to 0.2, z = 1 rises from 0.3 to 0.6.
    difference, relative = effects([0.5, 0.3, 0.2], [0.2, 0.6, 0.2], 0)
    assert difference == pytest.approx(0.3 + 0.3, abs=1e-6)
    assert relative == pytest.approx(0.5 / 0.8 - 0.2 / 0.8, abs=1e-6)


def test_the_foil_of_a_token_that_is_not_the_first_choice_is_the_first_choice() -> None:
    assert Clean(torch.tensor([[0.0, 5.0, 1.0]]), torch.tensor([2])).foils.tolist() == [1]


def test_what_hurts_token_and_foil_alike_is_no_contrast() -> None:
    # Both fall to half; the rest goes to a third token.
    difference, relative = effects([0.6, 0.3, 0.1], [0.3, 0.15, 0.55], 0)
    assert relative == pytest.approx(0, abs=1e-6)
    assert difference == pytest.approx(0.3 - 0.15, abs=1e-6)


def plainly(logits: Tensor, clean: Tensor, tokens: list[int]) -> np.ndarray:
    """Return the relative contrast [mask, token] of logits, written out in float64."""
    rows = range(len(tokens))
    others = clean.clone()
    others[rows, tokens] = -math.inf
    foils = others.argmax(-1).tolist()
    p, q = clean.double().softmax(-1), logits.double().softmax(-1)
    before = p[rows, tokens] / (p[rows, tokens] + p[rows, foils])
    after = q[:, rows, tokens] / (q[:, rows, tokens] + q[:, rows, foils])
    return (before - after).numpy()


def test_it_is_the_mean_contrast_over_the_masks_that_hide_a_frame(
    tiny: WhisperModel, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]
) -> None:
    case = case_of(tiny, clip(0.6, 3))
    found = spes_encoder_contrast(case, Sampling(seed=3), masks=24, p=0.7)
    frames, key = case.features.frames, mask_key(3, case.key)
    hidden = np.stack([draw_mask(key, n, frames, 0.7) for n in range(24)])
    with torch.inference_mode():
        cells = EncoderFrames(case)
        logits = tiny.logits(cells.encoded(torch.from_numpy(hidden)), case.hypothesis)
    contrast = plainly(logits, cells.clean.logits, list(case.hypothesis.tokens))
    expected = (contrast.T @ hidden) / hidden.sum(0)
    np.testing.assert_allclose(found.mean(), expected, rtol=1e-3, atol=1e-6)


def test_over_the_spectrogram_it_has_the_masks_of_spes_input(
    tiny: WhisperModel, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]
) -> None:
    case = case_of(tiny, clip(0.3, 3))
    segments = {"rates": "100", "compactness": 0.1, "sigma": 0.0, "cap_seconds": 7.5}
    same = {"masks": 8, "p": 0.5, **segments}
    relative = spes_input_contrast(case, Sampling(), **same)
    difference = spes_input_contrast(case, Sampling(), contrast="difference", **same)
    plain = spes_input(case, Sampling(), **same)
    assert np.array_equal(plain.counts, relative.counts)
    assert relative.mean().shape == plain.mean().shape
    assert not np.allclose(relative.mean(), difference.mean())
