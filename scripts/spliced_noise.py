"""Do maps point into the speech, where noise was spliced before and after it? The truth is known: noise holds no word.

    python scripts/spliced_noise.py [CLIPS]    prints a Markdown table (docs/validity.md holds it); minutes of a core

Clips are packaged English ones (default: 8, of other voices), the model is xbench-tiny. Half a second of white noise
stands before and after the speech, 20 dB below it. A clip counts where the model still writes what it writes for the
speech alone: then whatever is relevant lies in the speech. A column says which share of the three highest frames of a
token, and of its relevance above the smallest of its row, lies there, as means over tokens and clips; `chance` is the
share of frames that are speech.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from known_truth import maps, needs
from xbench.case import Case
from xbench.data.audio import read_audio
from xbench.data.demo import demo_manifest
from xbench.data.manifest import Utterance, read_manifest
from xbench.models.loading import load_model
from xbench.models.protocol import SpeechModel
from xbench.spec import Decoding, Selection

SECONDS, BELOW, TOP = 0.5, 20, 3


def spliced(speech: np.ndarray, rate: int, seed: int) -> np.ndarray:
    """Return the speech between two pieces of noise."""
    level = np.sqrt((speech**2).mean()) * 10 ** (-BELOW / 20)
    noise = np.random.default_rng(seed).normal(0, level, (2, round(SECONDS * rate)))
    return np.concatenate([noise[0], speech, noise[1]]).astype(np.float32)


def cases(model: SpeechModel, clips: list[Utterance]) -> Iterator[tuple[Case, np.ndarray]]:
    """Yield each case whose text did not change, and which of its frames are speech."""
    rate = model.info.sampling_rate
    for seed, utterance in enumerate(clips):
        speech = read_audio(utterance.audio, rate)
        alone, features = model.features(speech), model.features(spliced(speech, rate, seed))
        said = model.decode(alone, utterance.language, None, Decoding())
        hypothesis = model.decode(features, utterance.language, None, Decoding())
        if hypothesis.tokens != said.tokens:
            print(f"left out, for its text changed: {utterance.id}", file=sys.stderr)
            continue
        trace = model.trace(features, hypothesis, needs())
        case = Case(model, features, hypothesis, f"spliced:{utterance.audio_sha256}", trace)
        centres = (np.arange(features.frames) + 0.5) * features.stride * features.melframe_seconds
        yield case, (centres >= SECONDS) & (centres < SECONDS + len(speech) / rate)


def shares(rows: np.ndarray, speech: np.ndarray) -> tuple[float, float]:
    """Return which share of the highest frames, and of the relevance above the minimum, lies in the speech."""
    highest = np.argsort(-rows, axis=1, kind="stable")[:, :TOP]
    mass = rows - rows.min(axis=1, keepdims=True)
    total = mass.sum(axis=1)
    return float(speech[highest].mean()), float((mass[:, speech].sum(axis=1) / total).mean())


def main() -> None:
    """Print the table."""
    wanted = int(sys.argv[1]) if sys.argv[1:] else 8
    manifest = read_manifest(demo_manifest("test"), selection=Selection())
    english = {u.cluster: u for u in manifest.utterances if u.language == "en"}
    found: dict[str, list[tuple[float, float]]] = {}
    chance = []
    for case, speech in cases(load_model("xbench-tiny"), list(english.values())[:wanted]):
        chance.append(float(speech.mean()))
        for name, rows in maps(case):
            found.setdefault(name, []).append(shares(rows, speech))
    print(f"| map, {len(chance)} clips | {TOP} highest frames | relevance |\n|---|---|---|")
    for name, each in found.items():
        top, mass = np.mean(each, axis=0)
        print(f"| `{name}` | {top:.3f} | {mass:.3f} |")
    print(f"| chance | {np.mean(chance):.3f} | {np.mean(chance):.3f} |")


if __name__ == "__main__":
    main()
