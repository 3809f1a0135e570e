"""The models and clips that the reference reports are made on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.data.demo import demo_manifest
from xbench.errors import UsageError, XbenchError
from xbench.models.loading import load_model
from xbench.spec import Decoding

SHARED = Path(__file__).parents[2] / "shared"

# Real speech that the small models of the shared folder understand: model, target language, clips.
_MICRO = (
    *("en-digits-theo", "zh-words-2", "en-digits-nicolas", "zh-words-3", "he-yesno-1"),
    *("en-digits-lucas", "zh-words-1", "en-digits-jackson", "he-yesno-2"),
)
MODELS = {
    "xbench-tiny": (
        "xbench-tiny",
        None,
        tuple(
            f"{language}-dev-000{n}" for n in (1, 2, 3, 4) for language in ("de", "en", "fr", "it")
        ),
    ),
    "whisper-micro": ("whisper:models/whisper-micro-en-zh-he", None, _MICRO),
    "speech2text-micro": (
        "speech_to_text:models/speech2text-micro-en-zh-he-to-en",
        "en",
        tuple(clip for clip in _MICRO if not clip.startswith("en-")),
    ),
}


@dataclass(frozen=True)
class Subject:
    """One utterance of one model, with its own hypothesis."""

    model: str
    clip: str
    seconds: float
    case: Case


# English and German clips of read and spoken prose that real Whisper models understand.
REAL_CLIPS = ("en-jfk", "de-leopard", "en-librivox-austen-0870", "en-librispeech-61-70968-0000")


def subjects(model: str, clips: int, device: str = "cpu") -> Iterator[Subject]:
    """Yield the first clips of a model, or of `family:FOLDER`; says why where there is none."""
    name, target, names = MODELS.get(model) or (model, None, REAL_CLIPS)
    if model in MODELS:
        name = name.replace(":", f":{SHARED}/", 1)
    model = model.rstrip("/").rpartition("/")[2]
    try:
        loaded = load_model(name, device=device)
    except XbenchError as problem:
        print(f"{model} is left out: {problem}")
        return
    for clip in names[:clips]:
        try:
            audio, language = _clip(clip, loaded.info.sampling_rate)
            features = loaded.features(audio)
            hypothesis = loaded.decode(features, language, target, Decoding())
        except XbenchError as problem:
            print(f"{model}, {clip} is left out: {problem}")
            continue
        if not hypothesis.content:
            print(f"{model}, {clip} is left out: the model writes nothing")
            continue
        seconds = len(audio) / loaded.info.sampling_rate
        yield Subject(model, clip, seconds, Case(loaded, features, hypothesis, clip))


def _clip(clip: str, rate: int):  # type: ignore[no-untyped-def]
    for manifest in (demo_manifest("dev"), SHARED / "audio" / "manifest.jsonl"):
        if not manifest.is_file():
            continue
        for line in manifest.read_text("utf-8").splitlines():
            entry = json.loads(line)
            if entry["id"] == clip:
                return read_audio(manifest.parent / entry["audio"], rate), entry["language"]
    raise UsageError(f"there is no clip '{clip}'")
