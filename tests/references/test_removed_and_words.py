"""References that take frames out of the attention, and those that hide whole words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from xbench.case import Case
from xbench.data.manifest import Word
from xbench.errors import UtteranceError
from xbench.hiding.cells import EncoderFrames
from xbench.hiding.masks import draw_mask, mask_key
from xbench.models.families.whisper import WhisperModel
from xbench.models.optional import RemovesFrames, offers
from xbench.references.estimation import Sampling
from xbench.references.spes import spes_encoder, spes_encoder_removed, spes_input
from xbench.references.words import spes_encoder_words, spes_input_words


@pytest.fixture
def case(tiny: WhisperModel, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]) -> Case:
    return case_of(tiny, clip(0.6, 3))


def divergences(case: Case, hidden: np.ndarray) -> np.ndarray:
    """Return KL(clean || without the hidden frames) of each mask and token, in float64, one mask at a time."""
    with torch.inference_mode():
        encoded = case.model.encode(case.features.values[None])
        clean = case.model.logits(encoded, case.hypothesis)[0].double().log_softmax(-1)
        found = []
        for mask in hidden:
            keep = torch.ones(encoded.shape[1], dtype=torch.bool)
            keep[: len(mask)] = torch.from_numpy(~mask)
            logits = case.model.logits(encoded[:, keep], case.hypothesis)[0]
            moved = logits.double().log_softmax(-1)
            found.append((clean.exp() * (clean - moved)).sum(-1).numpy())
    return np.stack(found)


class _Plain:
    """The same model without passes of its own for removed frames."""

    frame_removal = None

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@pytest.mark.parametrize("plain", [False, True], ids=["by a mask", "by leaving frames out"])
def test_a_removed_frame_is_as_if_the_encoder_had_not_made_it(case: Case, plain: bool) -> None:
    if plain:
        case = replace(case, model=_Plain(case.model))
        assert not offers(case.model, RemovesFrames)
    found = spes_encoder_removed(case, Sampling(seed=3), masks=24, p=0.7)
    frames, key = case.features.frames, mask_key(3, case.key)
    hidden = np.stack([draw_mask(key, n, frames, 0.7) for n in range(24)])
    expected = (divergences(case, hidden).T @ hidden) / hidden.sum(0)
    np.testing.assert_allclose(found.mean(), expected, rtol=1e-3, atol=1e-6)
    assert found.neutral == "none: taken out of the cross-attention"
    zeroed = spes_encoder(case, Sampling(seed=3), masks=24, p=0.7)
    assert not np.allclose(found.mean(), zeroed.mean(), rtol=0.05)


def test_frames_that_are_all_removed_leave_one_frame_of_zeros(case: Case) -> None:
    """Padding stays, so only a clip without padding can lose all of its frames."""
    whole = replace(
        case, features=replace(case.features, frames=case.features.values.shape[0] // 2)
    )
    cells = EncoderFrames(whole, neutral="removed")
    hidden = torch.ones(2, *cells.shape, dtype=torch.bool)
    with torch.inference_mode():
        left = cells.encoded(hidden)
        assert left.shape[:2] == (2, 1)
        assert not left.any()
        expected = case.model.logits(left, case.hypothesis)
        for model in (case.model, _Plain(case.model)):
            found = cells.passes(model, torch.float32)(hidden)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_a_model_that_hides_where_it_attends_is_refused(
    planted: Any, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]
) -> None:
    with pytest.raises(UtteranceError, match="use spes-encoder") as caught:
        spes_encoder_removed(case_of(planted, clip(0.3, 1)), Sampling(), masks=12, p=0.7)
    assert caught.value.reason == "no-cross-attention"


def spoken(case: Case) -> Case:
    """Return the case with two words: 0.1 to 0.3 s and 0.4 to 0.5 s of 0.6 s."""
    return replace(case, words=(Word("one", 0.1, 0.3), Word("two", 0.4, 0.5)))


def test_the_frames_of_a_word_are_hidden_together(case: Case) -> None:
    found = spes_encoder_words(spoken(case), Sampling(), masks=40, p=0.7)
    rows = found.mean()
    assert rows.shape == (len(case.hypothesis.tokens), 30)
    parts = [rows[:, part] for part in np.split(np.arange(30), [5, 15, 20, 25])]
    assert all(np.ptp(part, axis=1).max() == 0 for part in parts)
    assert len({float(part[0, 0]) for part in parts}) == 5


def test_the_spectrogram_of_a_word_is_hidden_in_all_channels(case: Case) -> None:
    found = spes_input_words(spoken(case), Sampling(), masks=24, p=0.5)
    values = found.mean()
    assert values.shape[1:] == case.features.valid.shape
    assert np.ptp(values, axis=2).max() == 0
    assert np.ptp(values[:, 10:30], axis=1).max() == 0
    assert found.neutral == spes_input(
        case, Sampling(), masks=6, p=0.5, rates="400", compactness=0.1, sigma=0.0, cap_seconds=7.5
    ).neutral  # fmt: skip


@pytest.mark.parametrize("reference", [spes_encoder_words, spes_input_words])
def test_without_word_times_the_clip_is_refused(case: Case, reference: Callable[..., Any]) -> None:
    with pytest.raises(UtteranceError, match="take another reference") as caught:
        reference(replace(case, words=None), Sampling(), masks=12, p=0.5)
    assert caught.value.reason == "no-word-times"
