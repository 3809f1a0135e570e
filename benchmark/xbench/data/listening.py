"""Clips of which it is known what can be heard in them, made from other clips: what the task `listening` is run on.

Of every clip in the language of the model:

    speech      the clip as it is
    no-speech   noise with its long-term spectrum and level (its Fourier coefficients with random phases): no word
    spliced     the clip, noise of its own as above, and the clip of another speaker
    looped      the clip twice; a hypothesis that repeats itself is right here

and of every clip in another language:

    foreign     the clip as it is, given to the model as its own language: none of its words can be heard

The transcript of a made clip is what can be heard in it in the language of the model, so any other word of a hypothesis
is made up. Clips that would be longer than 30 s, the window of Whisper, are not made.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from xbench.data.audio import audio_sha256, read_audio
from xbench.data.manifest import Utterance, read_manifest
from xbench.errors import UsageError, UtteranceError
from xbench.spec import slug
from xbench.store import write_atomically

RATE = 16_000
_LONGEST = 30.0
_PAUSE = 0.3  # seconds of silence between the rounds of a looped clip
_LOUDEST = 0.99
Samples = Float[np.ndarray, " sample"]


@dataclass(frozen=True)
class Made:
    """A written manifest: how many clips of each construction, and those that could not be made, with the reason."""

    manifest: Path
    clips: dict[str, int]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Clip:
    construction: str
    source: Utterance
    samples: Samples
    transcript: str


def make_listening(manifest: Path, out: Path, language: str, *, seed: int = 0) -> Made:
    """Write the clips and their manifest; language: that of the model, a code such as `en`.

    Clusters stay those of the clips they are made of. Raises UsageError where there are fewer than two clips in the
    language.
    """
    utterances = read_manifest(manifest).utterances
    own = [u for u in utterances if u.language == language and u.transcript.strip()]
    if len(own) < 2:
        raise UsageError(
            f"{manifest} has {len(own)} clips with a transcript in '{language}'; splicing takes at least two"
        )
    folder = out.absolute().parent / f"{out.stem}-clips"
    lines, counts, problems = [], dict[str, int](), []
    audio: dict[str, Samples] = {}
    for utterance in utterances:
        try:
            audio[utterance.id] = read_audio(utterance.audio, RATE).astype(np.float64)
        except UtteranceError as problem:
            problems.append(f"{utterance.id}: {problem}")
    spoken = [u for u in own if u.id in audio]
    foreign = [u for u in utterances if u.language != language and u.id in audio]
    for clip in _made(spoken, foreign, audio, seed):
        name = f"{clip.source.id}-{clip.construction}"
        if len(clip.samples) > _LONGEST * RATE:
            problems.append(
                f"{name}: {len(clip.samples) / RATE:.1f} s are longer than {_LONGEST:g} s"
            )
            continue
        path = folder / f"{slug(name)}.flac"
        write_atomically(path, _flac(clip.samples))
        counts[clip.construction] = counts.get(clip.construction, 0) + 1
        lines.append(
            {
                "id": name,
                "audio": str(path.relative_to(out.absolute().parent)),
                "language": language,
                "transcript": clip.transcript,
                "cluster": clip.source.cluster,
                "construction": clip.construction,
                "sha256": audio_sha256(path),
            }
        )
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomically(out.absolute(), text.encode())
    return Made(out, counts, tuple(problems))


def _made(
    spoken: Sequence[Utterance],
    foreign: Sequence[Utterance],
    audio: dict[str, Samples],
    seed: int,
) -> Iterator[_Clip]:
    generator = np.random.default_rng(seed)
    for index, utterance in enumerate(spoken):
        samples, said = audio[utterance.id], utterance.transcript
        noise = noise_like(samples, generator)
        other = _of_another_speaker(spoken, index)
        pause = np.zeros(round(_PAUSE * RATE))
        yield _Clip("speech", utterance, samples, said)
        yield _Clip("no-speech", utterance, noise, "")
        yield _Clip(
            "spliced",
            utterance,
            np.concatenate([samples, noise_like(samples, generator), audio[other.id]]),
            f"{said} {other.transcript}",
        )
        yield _Clip(
            "looped", utterance, np.concatenate([samples, pause, samples]), f"{said} {said}"
        )
    for utterance in foreign:
        yield _Clip("foreign", utterance, audio[utterance.id], "")


def _of_another_speaker(spoken: Sequence[Utterance], index: int) -> Utterance:
    """Return the next clip of another speaker; the next clip where all are of one."""
    after = [*spoken[index + 1 :], *spoken[:index]]
    return next((u for u in after if u.cluster != spoken[index].cluster), after[0])


def noise_like(samples: Samples, generator: np.random.Generator) -> Samples:
    """Return noise with the magnitudes of the Fourier coefficients of `samples`, their phases drawn: no word is left.

    The root of the mean square, and the spectrum over the whole length, stay.
    """
    coefficients = np.fft.rfft(samples)
    turned = np.abs(coefficients) * np.exp(2j * np.pi * generator.random(len(coefficients)))
    # The mean, and of an even number of samples the highest frequency, have no phase.
    turned[0] = coefficients[0]
    turned[-1] = coefficients[-1]
    noise: Samples = np.fft.irfft(turned, len(samples))
    return noise


def _flac(samples: Samples) -> bytes:
    import soundfile

    loudest = np.abs(samples).max()
    buffer = io.BytesIO()
    within = samples * min(1.0, _LOUDEST / loudest) if loudest else samples
    soundfile.write(buffer, within, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
