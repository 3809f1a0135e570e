"""The probability drop as a reference of a real model: the masks of spes-encoder, another effect."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from xbench.case import Case
from xbench.hiding.cells import EncoderFrames
from xbench.hiding.masks import draw_mask, mask_key
from xbench.models.families.whisper import WhisperModel
from xbench.references.drop import spes_encoder_drop
from xbench.references.estimation import Sampling
from xbench.references.spes import spes_encoder


def test_it_is_the_mean_drop_over_the_masks_that_hide_a_frame(
    tiny: WhisperModel, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]
) -> None:
    case = case_of(tiny, clip(0.6, 3))
    sampling = Sampling(seed=3)
    found = spes_encoder_drop(case, sampling, masks=24, p=0.7)
    frames, key = case.features.frames, mask_key(3, case.key)
    hidden = np.stack([draw_mask(key, n, frames, 0.7) for n in range(24)])
    with torch.inference_mode():
        cells = EncoderFrames(case)
        logits = tiny.logits(cells.encoded(torch.from_numpy(hidden)), case.hypothesis)
        clean = cells.clean.logits
    rows, tokens = range(len(case.hypothesis.tokens)), list(case.hypothesis.tokens)
    before = clean.softmax(-1)[rows, tokens].numpy()
    drop = before - logits.softmax(-1)[:, rows, tokens].numpy()  # [mask, token]
    expected = (drop.T @ hidden) / hidden.sum(0)
    np.testing.assert_allclose(found.mean(), expected, rtol=1e-4, atol=1e-6)
    # The same masks as spes-encoder, so the two differ by the effect alone.
    same = spes_encoder(case, sampling, masks=24, p=0.7)
    assert np.array_equal(same.counts, found.counts)
