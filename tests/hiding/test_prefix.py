"""Hidden tokens of the text so far: against transformers' own `inputs_embeds`, and against causality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from xbench.case import Case
from xbench.errors import Unsupported, UtteranceError
from xbench.hiding.cells import EncoderFrames
from xbench.hiding.effect import kl_divergence
from xbench.hiding.masks import draw_mask, mask_key
from xbench.hiding.prefix import PreviousTokens, leaning
from xbench.models.loading import load_model
from xbench.references.estimation import Sampling
from xbench.references.prefix import prefix_relevance
from xbench.testing.small import WRITERS, write_small


@pytest.fixture
def case(tiny: Any, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]) -> Case:
    return case_of(tiny, clip(0.6, 3))


def divergence_of(case: Case, hidden: torch.Tensor) -> torch.Tensor:
    """Return the divergence [mask, token] from embeddings that are handed to the decoder in the place of ids."""
    network, hypothesis = case.model.network, case.hypothesis  # type: ignore[attr-defined]
    ids = torch.tensor([hypothesis.prompt + hypothesis.tokens[:-1]])
    embedded = network.model.decoder.embed_tokens(ids).repeat(len(hidden), 1, 1)
    embedded[:, len(hypothesis.prompt) :][hidden] = 0
    encoded = case.model.encode(case.features.values[None]).expand(len(hidden), -1, -1)
    states = network.model.decoder(inputs_embeds=embedded, encoder_hidden_states=encoded)
    logits = network.proj_out(states.last_hidden_state)[:, len(hypothesis.prompt) - 1 :]
    return kl_divergence(EncoderFrames(case).clean.log_p, logits.log_softmax(-1))


@torch.inference_mode()
def test_hidden_tokens_are_zero_embeddings(case: Case) -> None:
    previous = PreviousTokens(case)
    hidden = torch.rand(5, previous.cells, generator=torch.manual_seed(0)) < 0.5
    found = previous.measure()(hidden).value
    assert found.max() > 0.01, "hiding does something"
    torch.testing.assert_close(found, divergence_of(case, hidden), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_token_does_not_see_what_comes_after_it(case: Case) -> None:
    previous = PreviousTokens(case)
    found = previous.measure()(torch.eye(previous.cells, dtype=torch.bool)).value
    # Mask j hides token j alone; tokens 0 to j come before it or are it.
    before = torch.arange(found.shape[1]) <= torch.arange(previous.cells)[:, None]
    assert found[before].max() < 1e-6
    assert found[~before].max() > 1e-3


@torch.inference_mode()
def test_the_model_is_as_before(case: Case) -> None:
    encoded = case.model.encode(case.features.values[None])
    before = case.model.logits(encoded, case.hypothesis)
    leaning(case)
    assert torch.equal(case.model.logits(encoded, case.hypothesis), before)


def test_relevance_is_the_mean_over_the_masks_that_hide_a_token(case: Case) -> None:
    previous, n = PreviousTokens(case), 24
    key = mask_key(3, f"prefix:{case.key}")
    hidden = np.stack([draw_mask(key, i, previous.cells, 0.5) for i in range(n)])
    with torch.inference_mode():
        each = divergence_of(case, torch.from_numpy(hidden)).numpy()
    expected = np.tril((each.T @ hidden) / hidden.sum(0), k=-1)
    found = prefix_relevance(case, Sampling(seed=3), masks=n)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_leaning_is_the_loss_of_either_source(case: Case) -> None:
    lost, frames = leaning(case), EncoderFrames(case)
    with torch.inference_mode():
        hidden = torch.ones(1, PreviousTokens(case).cells, dtype=torch.bool)
        text = divergence_of(case, hidden)[0].double()
        silent = torch.zeros_like(case.model.encode(case.features.values[None]))
        silent[:, frames.shape[0] :] = frames.encoded(hidden[:, :1].expand(1, *frames.shape))[
            :, frames.shape[0] :
        ]
        logits = case.model.logits(silent, case.hypothesis)
        audio = kl_divergence(frames.clean.log_p, logits.log_softmax(-1))[0].double()
    torch.testing.assert_close(lost.text, text, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(lost.audio, audio, rtol=1e-3, atol=1e-5)
    assert lost.text[0] == pytest.approx(0, abs=1e-6), "nothing comes before the first token"


def test_what_cannot_be_hidden_is_said(
    planted: Any, case_of: Callable[..., Case], case: Case
) -> None:
    with pytest.raises(Unsupported, match="does not show its network"):
        leaning(case_of(planted))
    one = replace(case.hypothesis, tokens=case.hypothesis.tokens[:1])
    with pytest.raises(UtteranceError, match="no token of the hypothesis follows"):
        leaning(replace(case, hypothesis=one))


@pytest.mark.parametrize("family", sorted(WRITERS))
def test_every_family_hides_tokens(
    family: str, tmp_path: Any, case_of: Callable[..., Case], clip: Callable[..., np.ndarray]
) -> None:
    model = load_model(f"{family}:{write_small(family, tmp_path / family)}", device="cpu")
    lost = leaning(case_of(model, clip(0.6, 3)))
    assert lost.text[1:].max() > 1e-4
    assert lost.audio.max() > 1e-4
