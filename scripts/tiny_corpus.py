"""Read the clips that xbench-tiny is trained and measured on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor

WINDOW_FRAMES = 600


@dataclass(frozen=True)
class Clips:
    """Facts of clips and their log-mels as (clip, mel, frame), padded to the window."""

    facts: list[dict]
    features: Tensor

    def language(self, language: str) -> Clips:
        """Return the clips of one language."""
        rows = [row for row, fact in enumerate(self.facts) if fact["language"] == language]
        return Clips([self.facts[row] for row in rows], self.features[rows])

    def first(self, count: int) -> Clips:
        """Return the first clips."""
        return Clips(self.facts[:count], self.features[:count])


class Corpus:
    """One split of the cache: log-mels end to end, and the facts of every clip."""

    def __init__(self, folder: Path, split: str) -> None:
        """Read a split."""
        with np.load(folder / f"{split}.npz") as stored:
            self.mel, self.offsets = stored["mel"], stored["offsets"]
        with (folder / f"{split}.jsonl").open(encoding="utf-8") as lines:
            self.facts = [json.loads(line) for line in lines]
        self.frames = np.diff(self.offsets)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.facts)

    def features(self, indices: list[int], frames: int = WINDOW_FRAMES) -> Tensor:
        """Return log-mels as (clip, mel, frame), padded with each clip's own padding value."""
        batch = np.empty((len(indices), frames, self.mel.shape[1]), np.float32)
        for row, index in enumerate(indices):
            mel = self.mel[self.offsets[index] : self.offsets[index + 1]]
            batch[row, : len(mel)] = mel
            batch[row, len(mel) :] = mel[-1]
        return torch.from_numpy(batch).transpose(1, 2)

    def clips(self) -> Clips:
        """Return all clips at full window length."""
        return Clips(self.facts, self.features(list(range(len(self)))))


def packaged_clips(manifest: Path, extractor: WhisperFeatureExtractor) -> Clips:
    """Return the clips of a manifest of the demo suite."""
    facts, audio = [], []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        samples, _ = soundfile.read(manifest.parent / fact["audio"], dtype="float32")
        facts.append(fact | {"n_samples": samples.size})
        audio.append(samples)
    inputs = extractor(audio, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    return Clips(facts, inputs["input_features"])
