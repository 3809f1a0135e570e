"""Explain one clip: transcribe or translate it and compute one method's map of the hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from xbench import registry
from xbench.case import Case
from xbench.data.audio import audio_sha256, read_audio
from xbench.errors import Unsupported, UsageError, UtteranceError
from xbench.methods.compute import compute_map
from xbench.models.loading import load_model
from xbench.models.protocol import ModelInfo
from xbench.notebook import map_html
from xbench.runner.plan import Method
from xbench.spec import Call, Decoding, Scoring

_SILENCE = 10 ** (-60 / 20)  # -60 dB below full scale


@dataclass(frozen=True)
class Explanation:
    """One clip, what the model wrote for it, and where a method says that came from.

    values: [token, frame], content tokens only, on valid encoder frames. spectrogram: [melframe, mel]
    as the model sees it. frame_seconds: distance of encoder frames.
    """

    audio: str
    model: ModelInfo
    method: Call
    text: str
    tokens: tuple[str, ...]
    values: Float[np.ndarray, "token frame"]
    spectrogram: Float[np.ndarray, "melframe mel"]
    frame_seconds: float
    seconds: float

    def _repr_html_(self) -> str:
        caption = (
            f"{self.method} of {self.model.name}: {self.audio}, {self.seconds:.2f} s: {self.text}"
        )
        return map_html(self.values, caption, self.tokens)


def explain(
    audio: str | Path,
    model: str,
    method: Call,
    *,
    language: str = "en",
    target_language: str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> Explanation:
    """Explain one audio file; raises UsageError when the clip or the method cannot be used."""
    description, call = registry.methods.resolve(method)
    if description.fit or "partner" in description.needs:
        raise UsageError(
            f"'{method}' needs other utterances; use `xbench eval`, explain has one clip"
        )
    if "*" in call.given.values():
        raise UsageError(f"'{method}': explain shows one map; give a number instead of *")
    path = Path(audio)
    try:
        return _explain(path, model, call, language, target_language, device, trust_remote_code)
    except Unsupported as problem:
        raise UsageError(f"'{method}': {problem}") from None
    except UtteranceError as problem:
        raise UsageError(f"{path.name}: {str(problem).removeprefix(f'{path}: ')}") from None


def _explain(
    path: Path,
    model_name: str,
    call: Call,
    language: str,
    target_language: str | None,
    device: str,
    trust_remote_code: bool,
) -> Explanation:
    key = audio_sha256(path)  # a missing file is told before a model is loaded
    model = load_model(model_name, device=device, trust_remote_code=trust_remote_code)
    model.check_language(language, target_language)
    samples = read_audio(path, model.info.sampling_rate)
    if np.abs(samples).max() < _SILENCE:
        raise UtteranceError(
            "silent", "it is silent (peak below -60 dB): there is nothing to explain"
        )
    features = model.features(samples)
    hypothesis = model.decode(features, language, target_language, Decoding())
    if not hypothesis.content:
        raise UtteranceError("empty-hypothesis", "the model writes nothing for it")
    method = Method.registered(call)
    trace = model.trace(features, hypothesis, method.description.needs)
    case = Case(model, features, hypothesis, key, trace)
    axes = case.layout
    grid = method.on_grid(compute_map(method.description, call, case), axes, Scoring())
    content = list(axes.content)
    return Explanation(
        audio=path.name,
        model=model.info,
        method=call,
        text=hypothesis.text,
        tokens=tuple(hypothesis.texts[i] for i in content),
        values=grid.values[content],
        spectrogram=features.valid.float().cpu().numpy(),
        frame_seconds=axes.stride * axes.melframe_seconds,
        seconds=len(samples) / model.info.sampling_rate,
    )
