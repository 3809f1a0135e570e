"""Two packaged clips of different length, as audio and as decoded cases: what batteries try things on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.data.demo import demo_manifest
from xbench.data.manifest import read_manifest
from xbench.models.protocol import SpeechModel
from xbench.spec import Decoding, Selection

_DEMO_CLIPS = ("en-0001", "en-0002")


def demo_audio(rate: int) -> list[Float32[np.ndarray, " sample"]]:
    """Read two packaged clips of different length."""
    manifest = read_manifest(demo_manifest("test"), selection=Selection(ids=_DEMO_CLIPS))
    return [read_audio(utterance.audio, rate) for utterance in manifest.utterances]


def demo_cases(model: SpeechModel) -> list[Case]:
    """Decode two packaged clips of different length."""
    manifest = read_manifest(demo_manifest("test"), selection=Selection(ids=_DEMO_CLIPS))
    cases = []
    for utterance in manifest.utterances:
        features = model.features(read_audio(utterance.audio, model.info.sampling_rate))
        hypothesis = model.decode(features, utterance.language, None, Decoding())
        cases.append(
            Case(model, features, hypothesis, utterance.audio_sha256, words=utterance.words)
        )
    return cases
