"""The probability drop by hand, and as a reference of a real model: the masks of spes-encoder, another effect."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from xbench.case import Case
from xbench.hiding.masks import draw_mask, mask_key
from xbench.models.families.whisper import WhisperModel
from xbench.references.drop import probability_drop, spes_encoder_drop
from xbench.references.estimation import Sampling
from xbench.references.spes import encoder_passes, spes_encoder


def test_by_hand() -> None:
    clean = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]))
    masked = torch.log(torch.tensor([[[0.2, 0.7, 0.1], [0.05, 0.05, 0.9]]]))
    shift = probability_drop(clean, torch.tensor([0, 2]), lambda _: masked)(
        torch.zeros(1, 4, dtype=torch.bool)
    )
    assert shift.divergence[0].tolist() == pytest.approx([0.3, -0.1])  # a mask may help
    assert shift.kept.tolist() == [[False, True]]


def test_it_is_the_mean_drop_over_the_masks_that_hide_a_frame(
    tiny: WhisperModel, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]
) -> None:
    case = case_of(tiny, clip(0.6, 3))
    sampling = Sampling(seed=3)
    found = spes_encoder_drop(case, sampling, masks=24, p=0.7)
    plan, build = encoder_passes(case, sampling, 0.7)
    frames, key = case.features.frames, mask_key(3, case.key)
    hidden = np.stack([draw_mask(key, n, frames, 0.7) for n in range(24)])
    with torch.inference_mode():
        logits = build(tiny, torch.float32)(torch.from_numpy(hidden))
    rows, tokens = range(len(case.hypothesis.tokens)), list(case.hypothesis.tokens)
    before = plan.clean.softmax(-1)[rows, tokens].numpy()
    drop = before - logits.softmax(-1)[:, rows, tokens].numpy()  # [mask, token]
    expected = (drop.T @ hidden) / hidden.sum(0)
    np.testing.assert_allclose(found.mean(), expected, rtol=1e-4, atol=1e-9)
    # The same masks as spes-encoder, so the two differ by the effect alone.
    same = spes_encoder(case, sampling, masks=24, p=0.7)
    assert np.array_equal(same.counts, found.counts)
