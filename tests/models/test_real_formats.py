"""OpenAI's own weights in every format: set XBENCH_WHISPER to a transformers folder of tiny.en, base or another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from checkpoint_formats import write_ctranslate2, write_openai

from xbench.models.loading import load_model
from xbench.spec import Decoding
from xbench.testing.demo_clips import demo_audio

GREEDY = Decoding(beams=1)


@pytest.mark.slow
def test_formats_of_real_weights_agree(tmp_path: Path) -> None:
    """A file without a tokenizer beside it writes the same text, prompt included, with the same logits."""
    if not (folder := os.environ.get("XBENCH_WHISPER")):
        pytest.skip("needs OpenAI's weights: XBENCH_WHISPER names no folder")
    plain = load_model(f"whisper:{folder}", device="cpu")
    audio = demo_audio(plain.info.sampling_rate)[0]
    features = plain.features(audio)
    written = plain.decode(features, "en", None, GREEDY)
    with torch.inference_mode():
        expected = plain.logits(plain.encode(features.values[None]), written)
    assert written.content
    places = (
        write_openai(Path(folder), tmp_path / "model.pt"),
        write_ctranslate2(Path(folder), tmp_path / "single"),
    )
    for place in places:
        model = load_model(f"whisper:{place}", device="cpu")
        assert torch.equal(model.features(audio).values, features.values)
        assert model.decode(features, "en", None, GREEDY) == written
        with torch.inference_mode():
            found = model.logits(model.encode(features.values[None]), written)
        assert torch.equal(found, expected)
