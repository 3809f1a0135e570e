"""Explain one clip: transcribe or translate it and compute one method's map of the hypothesis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from xbench.data.audio import audio_sha256, read_audio
from xbench.data.manifest import Utterance
from xbench.errors import Unsupported, UsageError, UtteranceError
from xbench.models.kept_state import Keeper
from xbench.models.protocol import ModelInfo, SpeechModel
from xbench.notebook import map_html
from xbench.runner import stages
from xbench.runner.bench import load_or_check
from xbench.runner.keys import Job, Spoken
from xbench.runner.plan import Method
from xbench.spec import Call
from xbench.tasks import load_task

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
    model: Any,
    method: Any,
    *,
    language: str = "en",
    target_language: str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> Explanation:
    """Explain one audio file; raises UsageError when the clip or the method cannot be used.

    model: a name, or a loaded model. method: a call, a text that is read as one, or a function (`xbench.method`).
    """
    chosen = Method.of(method)
    description, call = chosen.description, chosen.call
    if description.fit or "partner" in description.needs:
        raise UsageError(
            f"'{call}' needs other utterances; use `xbench eval`, explain has one clip"
        )
    if "*" in call.given.values():
        raise UsageError(f"'{call}': explain shows one map; give a number instead of *")
    path = Path(audio)
    try:
        job = _job(
            path, language, target_language
        )  # a missing file is told before a model is loaded
        return _explain(
            job, load_or_check(model, device, trust_remote_code=trust_remote_code), chosen
        )
    except Unsupported as problem:
        raise UsageError(f"'{call}': {problem}") from None
    except UtteranceError as problem:
        raise UsageError(f"{path.name}: {str(problem).removeprefix(f'{path}: ')}") from None


def _job(path: Path, language: str, target_language: str | None) -> Job:
    """Return the clip under the generic task of its kind."""
    task = load_task("st" if target_language else "asr")
    utterance = Utterance(
        id=path.name,
        audio=path,
        language=language,
        transcript="",
        translations=(),
        cluster=path.name,
        cluster_assumed=True,
        words=None,
        audio_sha256=audio_sha256(path),
    )
    return Job(replace(task, target_language=target_language), utterance, seed=0)


def _explain(job: Job, model: SpeechModel, method: Method) -> Explanation:
    info = model.info
    samples = read_audio(job.utterance.audio, info.sampling_rate, stages.longest_seconds(info))
    if np.abs(samples).max() < _SILENCE:
        raise UtteranceError(
            "silent", "it is silent (peak below -60 dB): there is nothing to explain"
        )
    spoken = Spoken(job, stages.decode_once(model, job))
    if not spoken.decoded.hypothesis.content:
        raise UtteranceError("empty-hypothesis", "the model writes nothing for it")
    case = stages.traced(model, spoken, [method])
    values = stages.map_of(method, case, Keeper())
    axes, hypothesis = spoken.decoded.layout, spoken.decoded.hypothesis
    content = list(axes.content)
    return Explanation(
        audio=job.utterance.audio.name,
        model=model.info,
        method=method.call,
        text=hypothesis.text,
        tokens=tuple(hypothesis.texts[i] for i in content),
        values=method.on_grid(values, axes, job.task.scoring).values[content],
        spectrogram=case.features.valid.float().cpu().numpy(),
        frame_seconds=axes.stride * axes.melframe_seconds,
        seconds=spoken.decoded.seconds_of_audio,
    )
