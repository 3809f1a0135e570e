"""Make the speech that xbench-tiny is trained on, and the clips of the demo suite.

python scripts/make_demo_data.py corpus --out CACHE     training and held-out log-mels
python scripts/make_demo_data.py package                test and dev clips with manifests

A seed fixes every sentence, voice, speed and pause. The packaged clips come out bit for bit the
same with the same libespeak-ng; those of the corpus may differ by milliseconds from run to run,
because the library carries some state from one clip to the next and the workers share the clips.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from demo_grammar import LANGUAGES, draw_front, draw_meaning, say, split_of, translation
from espeak_speech import Phone, SpeechError, Synthesiser

SAMPLE_RATE = 16_000
WINDOW_S = 6
HOP = 160
DEMO = Path(__file__).resolve().parents[1] / "benchmark" / "xbench" / "demo"
LIBRARY_VOICES = {"en": "en-us", "it": "it", "de": "de", "fr": "fr"}
TEST_VOICES = (
    *("m1", "m2", "m3", "m4", "m6", "m7", "f1", "f2", "f3", "f4"),
    *("croak", "klatt2", "Annie", "linda", "max", "michael"),
)
DEV_VOICES = ("f5", "m8", "Alex", "belinda", "david", "steph")
SHORTEST_S, LONGEST_S, LONGEST_PACKAGED_S = 1.5, 5.0, 4.5
SPLITS = ("train", "heldout", "unseen", "test", "dev")
MANIFEST_CLIPS = {
    "test": {"en": 32, "it": 11, "de": 11, "fr": 10},
    "dev": dict.fromkeys(LANGUAGES, 4),
}


@dataclass(frozen=True)
class Job:
    """One clip to make: its number in its split, its language and its voice."""

    split: str
    index: int
    language: str
    voice: str
    seed: int


@dataclass(frozen=True)
class Clip:
    """One utterance with its audio and what is known about it; phones: of each word (`espeak_speech.Spoken`)."""

    samples: np.ndarray
    phones: list[list[Phone]]
    language: str
    voice: str
    transcript: str
    translation_en: str
    words: list[dict]
    alignment_en: list[list[int]]


def _pause(rng: np.random.Generator, chance: float, longest: float) -> np.ndarray:
    """Return silence of random length, or nothing."""
    seconds = rng.uniform(0.12, longest) if rng.random() < chance else 0.0
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def _chunks(phrases: list, rng: np.random.Generator) -> Iterator[list]:
    """Group phrases into stretches that are spoken without a pause."""
    chunk: list = []
    for phrase in phrases:
        if chunk and rng.random() < 0.35:
            yield chunk
            chunk = []
        chunk = chunk + phrase
    yield chunk


def _speak(
    phrases: list, language: str, voice: str, synthesiser: Synthesiser, rng: np.random.Generator
) -> tuple[np.ndarray, list[dict], list[list[Phone]]] | None:
    """Say phrases with random pauses, speeds and pitch; return samples, word times and phones."""
    rate, pitch, pitch_range = (
        int(rng.integers(*span)) for span in ((150, 215), (30, 71), (30, 71))
    )
    pieces = [_pause(rng, 0.7, 0.9)]
    words: list[dict] = []
    phones: list[list[Phone]] = []
    for chunk in _chunks(phrases, rng):
        start = sum(map(len, pieces)) / SAMPLE_RATE
        spoken = synthesiser.speak(
            [word for word, _ in chunk],
            f"{LIBRARY_VOICES[language]}+{voice}",
            int(rate * rng.uniform(0.85, 1.2)),
            pitch,
            pitch_range,
        )
        if spoken is None:
            return None
        for (word, key), (begin, end) in zip(chunk, spoken.words, strict=True):
            words.append({"word": word, "start": start + begin, "end": start + end, "key": key})
        phones += [
            [Phone(each.name, start + each.start, start + each.end) for each in own]
            for own in spoken.phones
        ]
        sound = spoken.samples.astype(np.float32) / 32768
        pieces.append(soxr.resample(sound, synthesiser.sample_rate, SAMPLE_RATE))
        pieces.append(_pause(rng, 1.0, 0.75))
    pieces[-1] = _pause(rng, 0.7, 0.9)
    return np.concatenate(pieces), words, phones


def _noisy(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add white or pink noise, more often than not, at 15 to 50 dB below the speech."""
    if rng.random() < 0.35:
        return samples
    noise = rng.standard_normal(samples.size).astype(np.float32)
    if rng.random() < 0.5:
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(spectrum / np.sqrt(np.arange(1, spectrum.size + 1)), samples.size)
        noise = noise / noise.std()
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-rng.uniform(15, 50) / 20)
    return (samples + level * noise).astype(np.float32)


def make_clip(job: Job, synthesiser: Synthesiser) -> Clip:
    """Draw sentences until one of the job's split fits the length limits, and say it."""
    rng = np.random.default_rng([job.seed, SPLITS.index(job.split), job.index])
    wanted = {"heldout": "test", "unseen": "dev"}.get(job.split, job.split)
    packaged = job.split in MANIFEST_CLIPS
    while True:
        meaning = draw_meaning(rng)
        if split_of(meaning) != wanted:
            continue
        phrases = say(meaning, job.language, draw_front(meaning, rng))
        made = _speak(phrases, job.language, job.voice, synthesiser, rng)
        if made is None:
            continue
        samples, words, phones = made
        longest = LONGEST_PACKAGED_S if packaged else LONGEST_S
        if SHORTEST_S <= samples.size / SAMPLE_RATE <= longest:
            break
    samples = samples * rng.uniform(0.15, 0.9) / np.abs(samples).max()
    if not packaged:
        samples = _noisy(samples, rng)
    english = translation(meaning)
    return Clip(
        samples=samples,
        phones=phones,
        language=job.language,
        voice=job.voice,
        transcript=" ".join(word["word"] for word in words),
        translation_en=" ".join(word for word, _ in english),
        words=words,
        alignment_en=[
            [index for index, word in enumerate(words) if word["key"] == key] for _, key in english
        ],
    )


_WORKER: dict = {}


def _start_worker() -> None:
    """Load the synthesiser and the feature extractor once per process."""
    import torch
    from transformers import WhisperFeatureExtractor

    torch.set_num_threads(1)
    _WORKER["synthesiser"] = Synthesiser()
    _WORKER["extractor"] = WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S)


def _corpus_clip(job: Job) -> tuple[np.ndarray, dict]:
    """Make one clip and return its log-mel, one frame of padding included, and its facts."""
    clip = make_clip(job, _WORKER["synthesiser"])
    features = _WORKER["extractor"](clip.samples, sampling_rate=SAMPLE_RATE, return_tensors="np")
    frames = math.ceil(clip.samples.size / HOP) + 3
    facts = {
        name: value for name, value in asdict(clip).items() if name not in ("samples", "phones")
    }
    facts["n_samples"] = int(clip.samples.size)
    return features["input_features"][0, :, :frames].T.astype(np.float16), facts


def corpus_jobs(split: str, clips: int, seed: int) -> list[Job]:
    """Spread clips evenly over languages and at random over voices."""
    voices = DEV_VOICES if split == "unseen" else TEST_VOICES
    chosen = np.random.default_rng([seed, SPLITS.index(split)]).choice(voices, clips)
    return [
        Job(split, index, LANGUAGES[index % len(LANGUAGES)], str(chosen[index]), seed)
        for index in range(clips)
    ]


def make_corpus(out: Path, sizes: dict[str, int], seed: int, workers: int) -> None:
    """Write SPLIT.npz (log-mels, end to end) and SPLIT.jsonl (facts) for every split."""
    espeak = Synthesiser().version
    out.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker) as pool:
        for split, clips in sizes.items():
            mels, facts = [], []
            for mel, fact in pool.imap(_corpus_clip, corpus_jobs(split, clips, seed), 32):
                mels.append(mel)
                facts.append(fact | {"espeak": espeak})
            offsets = np.cumsum([0, *map(len, mels)])
            np.savez(out / f"{split}.npz", mel=np.concatenate(mels), offsets=offsets)
            with (out / f"{split}.jsonl").open("w", encoding="utf-8") as lines:
                lines.writelines(json.dumps(fact, ensure_ascii=False) + "\n" for fact in facts)
            print(
                f"{split}: {clips} clips, {offsets[-1] * HOP / SAMPLE_RATE / 3600:.2f} h",
                flush=True,
            )


def package_jobs(split: str, seed: int) -> list[Job]:
    """List the packaged clips of a split, each language going round all voices."""
    voices = TEST_VOICES if split == "test" else DEV_VOICES
    jobs, turn = [], 0
    for language, clips in MANIFEST_CLIPS[split].items():
        for _ in range(clips):
            jobs.append(Job(split, turn, language, voices[turn % len(voices)], seed))
            turn += 1
    return jobs


def _manifest_line(clip: Clip, name: str, version: str) -> dict:
    """Return the manifest entry of a clip."""
    line = {
        "id": name,
        "audio": f"audio/{name}.flac",
        "language": clip.language,
        "transcript": clip.transcript,
        "cluster": clip.voice,
        "duration_s": round(clip.samples.size / SAMPLE_RATE, 3),
        "words": [
            {"word": w["word"], "start": round(w["start"], 3), "end": round(w["end"], 3)}
            for w in clip.words
        ],
        "licence": "CC0-1.0",
        "source": f"espeak-ng {version}",
    }
    if clip.language != "en":
        line |= {"translation_en": clip.translation_en, "alignment_en": clip.alignment_en}
    return line


def packaged_clips(
    split: str, synthesiser: Synthesiser, seed: int = 0
) -> Iterator[tuple[str, Clip]]:
    """Yield the packaged clips of a split by name; dev after test, as the library carries state from clip to clip."""
    count = dict.fromkeys(LANGUAGES, 0)
    for job in package_jobs(split, seed):
        count[job.language] += 1
        infix = "dev-" if split == "dev" else ""
        yield f"{job.language}-{infix}{count[job.language]:04d}", make_clip(job, synthesiser)


def make_package(out: Path, seed: int) -> None:
    """Write the FLAC files and the manifests of the demo suite."""
    (out / "audio").mkdir(parents=True, exist_ok=True)
    for stale in (out / "audio").glob("*.flac"):
        stale.unlink()
    synthesiser = Synthesiser()
    for split in MANIFEST_CLIPS:
        with (out / f"{split}.jsonl").open("w", encoding="utf-8") as manifest:
            for name, clip in packaged_clips(split, synthesiser, seed):
                soundfile.write(out / "audio" / f"{name}.flac", clip.samples, SAMPLE_RATE, "PCM_16")
                line = _manifest_line(clip, name, synthesiser.version)
                manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
    size = sum(path.stat().st_size for path in (out / "audio").glob("*.flac"))
    print(f"{out.name}: {size / 1e6:.2f} MB of audio")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    corpus = commands.add_parser("corpus", help="training and held-out log-mels")
    corpus.add_argument("--out", type=Path, required=True)
    corpus.add_argument("--train-clips", type=int, default=20_000)
    corpus.add_argument("--heldout-clips", type=int, default=600)
    corpus.add_argument("--unseen-clips", type=int, default=240)
    corpus.add_argument("--workers", type=int, default=2)
    package = commands.add_parser("package", help="test and dev clips with manifests")
    package.add_argument("--out", type=Path, default=DEMO)
    for command in (corpus, package):
        command.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        if options.command == "package":
            make_package(options.out, options.seed)
        else:
            sizes = {
                "train": options.train_clips,
                "heldout": options.heldout_clips,
                "unseen": options.unseen_clips,
            }
            make_corpus(options.out, sizes, options.seed, options.workers)
    except SpeechError as error:
        sys.exit(f"make_demo_data: {error}")


if __name__ == "__main__":
    main()
