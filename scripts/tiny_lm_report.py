"""Measure the decoder-only sibling of xbench-tiny by free decoding, and write its model card."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

import tiny_report
from make_demo_data import DEV_VOICES, TEST_VOICES
from tiny_corpus import Clips, Corpus
from xbench.models.families.log_mel import MARGIN
from xbench.models.loading import load_model
from xbench.models.protocol import Features
from xbench.spec import Decoding

GREEDY = Decoding(beams=1, no_repeat_ngram=0, max_tokens=48)
NO_CLIP = Clips([], torch.empty(0))


@dataclass(frozen=True)
class Heard:
    """Clips as facts, and the features of each as the model reads them."""

    facts: list[dict[str, Any]]
    features: list[Features]

    def first(self, count: int) -> Heard:
        """Return the first clips."""
        return Heard(self.facts[:count], self.features[:count])

    def language(self, language: str) -> Heard:
        """Return the clips of one language."""
        rows = [row for row, fact in enumerate(self.facts) if fact["language"] == language]
        return Heard([self.facts[row] for row in rows], [self.features[row] for row in rows])

    def swapped(self) -> Heard:
        """Return the same facts, each with the features of the next clip."""
        return Heard(self.facts, [*self.features[1:], *self.features[:1]])


def of_corpus(model: Any, folder: Path, split: str) -> Heard:
    """Return a split of the corpus, whose log-mels hold the margin that the family reads."""
    corpus = Corpus(folder, split)
    mels = [
        torch.from_numpy(corpus.mel[first:last]).float()
        for first, last in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    ]
    return Heard(corpus.facts, [_features(model, mel) for mel in mels])


def _features(model: Any, mel: Tensor) -> Features:
    chain = model.family.audio(model.loaded)
    melframes = len(mel) - MARGIN
    frames = min(chain.frames(len(mel)), math.ceil(melframes / chain.stride))
    return Features(mel, melframes, frames, chain.stride, chain.hop / model.info.sampling_rate)


def of_package(model: Any, manifest: Path) -> Heard:
    """Return the clips of a manifest of the demo suite."""
    facts = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    audio = [soundfile.read(manifest.parent / fact["audio"], dtype="float32")[0] for fact in facts]
    return Heard(facts, [model.features(samples) for samples in audio])


def quality(model: Any, heard: Heard) -> dict[str, dict[str, float]]:
    """Return WER of transcripts for every language and chrF of translations for every pair, decoded greedily."""
    found: dict[str, dict[str, float]] = {"wer": {}, "chrf": {}}
    for language, task, own in _parts(heard):
        transcribing = task == "transcribe"
        target = None if transcribing else "en"
        texts = [model.decode(one, language, target, GREEDY).text.strip() for one in own.features]
        expected = tiny_report.references_of(Clips(own.facts, NO_CLIP.features), task)
        score = tiny_report.word_error_rate if transcribing else tiny_report.chrf
        found["wer" if transcribing else "chrf"][language] = score(expected, texts)
    return found


def _parts(heard: Heard) -> Iterator[tuple[str, str, Heard]]:
    for language in ("en", "it", "de", "fr"):
        for task in tiny_report.tasks_of(language):
            yield language, task, heard.language(language)


def report(folder: Path, corpus: Path, demo: Path, settings: dict[str, Any], clips: int) -> str:
    """Measure a trained model on at most so many clips of each set; return its card."""
    model: Any = load_model(f"qwen2_audio:{folder}", device="cpu")
    heldout, unseen = (of_corpus(model, corpus, split) for split in ("heldout", "unseen"))
    sets = {
        "held-out": heldout.first(clips),
        "packaged test": of_package(model, demo / "test.jsonl"),
        "unseen voices": unseen.first(clips),
        "another clip": heldout.first(clips).swapped(),
    }
    rows = [_row(f"{name} ({len(s.facts)})", quality(model, s)) for name, s in sets.items()]
    train = Corpus(corpus, "train")
    curve = json.loads((folder / "curve.json").read_text())
    return CARD.format(
        **settings,
        parameters=model.info.n_parameters,
        encoder_layers=model.info.encoder_layers,
        decoder_layers=model.info.decoder_layers,
        heads=model.info.heads,
        clips=len(train),
        hours=int(train.offsets[-1]) / 360_000,
        espeak=train.facts[0]["espeak"],
        voices=len(TEST_VOICES),
        unseen=len(DEV_VOICES),
        curve="\n".join(_point(point) for point in curve[:: max(1, len(curve) // 10)]),
        quality="\n".join(rows),
    )


def _point(point: dict[str, float]) -> str:
    return f"| {point['step']} | {point['text_loss']:.2f} |"


def _row(name: str, found: dict[str, dict[str, float]]) -> str:
    wer = [found["wer"][language] for language in ("en", "it", "de", "fr")]
    chrf = [found["chrf"][language] for language in ("it", "de", "fr")]
    return f"| {name} | {' | '.join(f'{value:.2f}' for value in (*wer, *chrf))} |"


CARD = """\
---
language: [en, it, de, fr]
license: cc0-1.0
pipeline_tag: automatic-speech-recognition
---

# xbench-tiny-lm

The decoder-only sibling of xbench-tiny: a model of the architecture of Qwen2-Audio that reads audio as a prefix of a
small language model. It transcribes English, Italian, German and French and translates the last three into English,
within a closed vocabulary of synthetic speech. It exists so that both architectures can be compared on the same clips,
and is of no use for real speech.

Weights, tokenizer and audio: CC0-1.0. All sentences come from a grammar written for this project; the speech was
synthesised with espeak-ng {espeak}.

## Use

`xbench eval --model xbench-tiny-lm --method mean-heads`. It loads with `Qwen2AudioForConditionalGeneration` and
`AutoProcessor` (transformers 5.24). The weights are stored in half precision: ask for float32. Each request of the
family ("Transcribe the English speech ...") is one token of its tokenizer, so no other request is understood.

## Model

{parameters:,} parameters: {encoder_layers} layers of audio encoder, {decoder_layers} of language model, width 128,
{heads} heads, 80 mel bands, 25 audio positions a second.

## Training

On the speech of xbench-tiny, whose card describes it: `scripts/make_demo_data.py corpus` ({clips:,} clips,
{hours:.1f} h, {voices} voices, seeded). The audio encoder is that of xbench-tiny and was not trained further; projector
and language model began at random. Cross entropy on the text alone, no attention supervision. AdamW, peak rate
{learning_rate}, batches of {batch_size} clips, {epochs} epochs, float32, seed {seed}.

| step | text loss |
| --- | --- |
{curve}

## Quality

Greedy free decoding with language and task given. Held-out: voices of the test clips, sentences of the test side.
Packaged test: the clips of the demo suite. Unseen voices: {unseen} voices that were never in training. Another clip:
held-out references, but the model hears the next clip of the same language or another.

| clips | WER % en | WER % it | WER % de | WER % fr | chrF it-en | chrF de-en | chrF fr-en |
| --- | --- | --- | --- | --- | --- | --- | --- |
{quality}

## Made by

    python scripts/make_demo_data.py corpus --out CACHE    # 2 to 8 minutes, 1.2 GB
    python scripts/train_tiny_lm.py --corpus CACHE         # about 15 minutes of one core, then 3 to measure
"""
