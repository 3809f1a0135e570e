"""`dtw-path:rows=all` beside Whisper's rule written down once more, and beside OpenAI's code for it (may be missing).

perf/published_whisper.md has the same on real Whisper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.methods.timing import dtw_path

PERF = Path(__file__).parents[2] / "perf"


@pytest.fixture
def published_whisper(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script whose comparison this is."""
    monkeypatch.syspath_prepend(str(PERF))
    import published_whisper as module

    return module


@pytest.fixture(params=["theo", "jackson", "nicolas", "lucas"])
def timed(
    request: pytest.FixtureRequest,
    micro: Any,
    shared_folder: Path,
    case_of: Callable[..., Case],
) -> Case:
    """Digits heard by a trained model that publishes alignment heads."""
    audio = read_audio(shared_folder / "audio" / f"en-digits-{request.param}.flac", 16000)
    case = case_of(micro, audio)
    return replace(case, trace=micro.trace(case.features, case.hypothesis, {"cross-projections"}))


def by_the_rule(case: Case, model: Any) -> np.ndarray:
    """Return the path [token, frame] by the published rule, from the network's own attention to all it can read."""
    from transformers.models.whisper.generation_whisper import _dynamic_time_warping

    ids = torch.tensor([(*case.hypothesis.prompt, *case.hypothesis.tokens)])
    decoder = model.network.model.decoder
    decoder.config._attn_implementation, before = "eager", decoder.config._attn_implementation
    try:
        with torch.inference_mode():
            encoded = model.encode(case.features.values[None])
            read = decoder(input_ids=ids, encoder_hidden_states=encoded, output_attentions=True)
    finally:
        decoder.config._attn_implementation = before
    every = torch.stack(
        [read.cross_attentions[layer][0, head] for layer, head in model.info.alignment_heads]
    )
    weights = every[:, :, : case.layout.frames].double().numpy()
    weights /= weights.sum(-1, keepdims=True)
    relative = (weights - weights.mean(1, keepdims=True)) / weights.std(1, keepdims=True)
    matrix = ndimage.median_filter(relative, size=(1, 1, 7), mode="mirror").mean(axis=0)
    path = np.zeros((len(case.hypothesis.tokens), case.layout.frames))
    path[_dynamic_time_warping(-matrix[len(case.hypothesis.prompt) - 1 : -1])] = 1
    return path


def test_it_is_the_published_rule(micro: Any, timed: Case) -> None:
    found = dtw_path(timed, filter_width=7, rows="all")
    assert np.array_equal(found.numpy(), by_the_rule(timed, micro))


def test_words_begin_and_end_where_the_published_code_has_them(
    micro: Any, timed: Case, published_whisper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    pytest.importorskip("whisper")
    network = published_whisper.published(micro.network, micro.info.alignment_heads)
    theirs = published_whisper.published_times(network, timed)
    path = dtw_path(timed, filter_width=7, rows="all").numpy()
    ours = published_whisper.path_times(path, timed.layout.content)
    for known, found in zip(theirs, ours, strict=True):
        assert len(found) == len(known) > 0
        assert np.abs(found - known).max() <= 1
