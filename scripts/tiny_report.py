"""Measure xbench-tiny: free decoding, controls without the audio, and where attention looks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher

import jiwer
import numpy as np
import sacrebleu
import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration, WhisperTokenizer

from tiny_corpus import Clips

FRAME_S = 0.02
SILENT_MEL = -1.5
WIDTHS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.3)
MEASURES = ("mass", "correlation")


@dataclass(frozen=True)
class Tiny:
    """A model with its tokenizer."""

    model: WhisperForConditionalGeneration
    tokenizer: WhisperTokenizer

    def decode(self, features: Tensor, language: str, task: str, beams: int = 1) -> list[str]:
        """Return the freely decoded texts of features (clip, mel, frame)."""
        texts = []
        for batch in features.split(32):
            with torch.no_grad():
                tokens = self.model.generate(batch, language=language, task=task, num_beams=beams)
            texts += self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def cross_attention(self, features: Tensor, language: str, task: str, text: str) -> np.ndarray:
        """Return (layer, head, token, frame) for a text, row i predicting its token i."""
        names = ["<|startoftranscript|>", f"<|{language}|>", f"<|{task}|>", "<|notimestamps|>"]
        prompt = self.tokenizer.convert_tokens_to_ids(names)
        tokens = prompt + self.tokenizer.encode(" " + text, add_special_tokens=False)
        with torch.no_grad():
            output = self.model(
                input_features=features[None],
                decoder_input_ids=torch.tensor([tokens]),
                output_attentions=True,
                use_cache=False,
            )
        weights = torch.stack([layer[0] for layer in output.cross_attentions])
        return weights[:, :, len(prompt) - 1 : -1].numpy()


def tasks_of(language: str) -> tuple[str, ...]:
    """Return the tasks of a language: English is not translated."""
    return ("transcribe",) if language == "en" else ("transcribe", "translate")


def languages_of(clips: Clips) -> list[str]:
    """Return the languages of clips, sorted."""
    return sorted({fact["language"] for fact in clips.facts})


def references_of(clips: Clips, task: str) -> list[str]:
    """Return the texts that a task should produce."""
    name = "transcript" if task == "transcribe" else "translation_en"
    return [fact[name] for fact in clips.facts]


def word_error_rate(references: list[str], texts: list[str]) -> float:
    """Return the word error rate in percent."""
    return 100 * jiwer.wer(references, texts)


def chrf(references: list[str], texts: list[str]) -> float:
    """Return the corpus chrF."""
    return sacrebleu.corpus_chrf(texts, [references]).score


def free_decoding(tiny: Tiny, clips: Clips, beams: int = 1) -> dict[str, dict[str, float]]:
    """Return WER of transcripts for every language and chrF of translations for every pair."""
    quality: dict[str, dict[str, float]] = {"wer": {}, "chrf": {}}
    for language in languages_of(clips):
        own = clips.language(language)
        for task in tasks_of(language):
            name, score = ("wer", word_error_rate) if task == "transcribe" else ("chrf", chrf)
            texts = tiny.decode(own.features, language, task, beams)
            quality[name][language] = score(references_of(own, task), texts)
    return quality


def quick_quality(tiny: Tiny, clips: Clips) -> dict[str, float]:
    """Return WER and chrF of greedy decoding, averaged over languages."""
    quality = free_decoding(tiny, clips)
    return {name: sum(values.values()) / len(values) for name, values in quality.items()}


def without_audio(tiny: Tiny, clips: Clips) -> dict[str, dict[str, dict[str, float]]]:
    """Return the same scores when the model hears silence, or another clip of the language."""
    silent = Clips(clips.facts, torch.full_like(clips.features, SILENT_MEL))
    shifted = clips.features.clone()
    for language in languages_of(clips):
        rows = [row for row, fact in enumerate(clips.facts) if fact["language"] == language]
        shifted[rows] = clips.features[rows[1:] + rows[:1]]
    swapped = Clips(clips.facts, shifted)
    return {"silence": free_decoding(tiny, silent), "another clip": free_decoding(tiny, swapped)}


def word_spans(fact: dict, task: str) -> list[list[tuple[float, float]]]:
    """Return, for every word of the reference, the times of the spoken words behind it."""
    spans = [(word["start"], word["end"]) for word in fact["words"]]
    if task == "transcribe":
        return [[span] for span in spans]
    return [[spans[source] for source in sources] for sources in fact["alignment_en"]]


def token_windows(tiny: Tiny, fact: dict, task: str, text: str, frames: int) -> np.ndarray:
    """Return (token, frame): 1 where the word of a token is spoken, rows of 0 if unknown."""
    reference = (fact["transcript"] if task == "transcribe" else fact["translation_en"]).split()
    spans = word_spans(fact, task)
    matcher = SequenceMatcher(a=reference, b=text.split(), autojunk=False)
    source = {b + i: a + i for a, b, size in matcher.get_matching_blocks() for i in range(size)}
    centres = (np.arange(frames) + 0.5) * FRAME_S
    rows, word = [], -1
    for token in tiny.tokenizer.tokenize(" " + text):
        word += token.startswith("Ġ")
        row = np.zeros(frames)
        for start, end in spans[source[word]] if word in source else []:
            row[(centres >= start) & (centres < end)] = 1
        rows.append(row)
    return np.array(rows)


@dataclass(frozen=True)
class Case:
    """One explained text: attention (layer, head, token, frame) and the true windows."""

    attention: np.ndarray
    windows: np.ndarray


def cases(tiny: Tiny, clips: Clips, task: str) -> Iterator[Case]:
    """Yield a case for every clip that has the task and whose text has known words."""
    for language in languages_of(clips):
        if task not in tasks_of(language):
            continue
        own = clips.language(language)
        texts = tiny.decode(own.features, language, task)
        for fact, features, text in zip(own.facts, own.features, texts, strict=True):
            frames = math.ceil(math.ceil(fact["n_samples"] / 160) / 2)
            windows = token_windows(tiny, fact, task, text, frames)
            if text and windows.any():
                attention = tiny.cross_attention(features, language, task, text)[..., :frames]
                yield Case(attention / attention.sum(-1, keepdims=True), windows)


def ramp(tokens: int, frames: int, width: float) -> np.ndarray:
    """Return the diagonal: a Gaussian of a width (share of the clip) that moves evenly."""
    centres = (np.arange(tokens)[:, None] + 0.5) / tokens
    distance = (np.arange(frames)[None] + 0.5) / frames - centres
    weights = np.exp(-0.5 * (distance / width) ** 2)
    return weights / weights.sum(-1, keepdims=True)


def agreement(relevance: np.ndarray, windows: np.ndarray) -> dict[str, float]:
    """Return the mass inside the true windows and the correlation with them."""
    known = windows.any(-1)
    inside, seen = windows[known], relevance[known]
    truth = inside / inside.sum(-1, keepdims=True)
    return {
        "mass": float((seen * inside).sum(-1).mean()),
        "correlation": float(np.corrcoef(seen.ravel(), truth.ravel())[0, 1]),
    }


@dataclass
class Diagonal:
    """The best width of the ramp for every task and measure, found on the dev side."""

    widths: dict[str, dict[str, float]] = field(default_factory=dict)

    def fit(self, task: str, found: list[Case]) -> None:
        """Choose the widths that agree best with the true windows."""
        scores = {
            width: [agreement(ramp(*case.windows.shape, width), case.windows) for case in found]
            for width in WIDTHS
        }
        self.widths[task] = {
            measure: max(WIDTHS, key=lambda w: np.mean([s[measure] for s in scores[w]]))
            for measure in MEASURES
        }

    def score(self, task: str, case: Case) -> dict[str, float]:
        """Return the agreement of the ramp, each measure at its own best width."""
        return {
            measure: agreement(ramp(*case.windows.shape, width), case.windows)[measure]
            for measure, width in self.widths[task].items()
        }


def head_mass(found: list[Case]) -> np.ndarray:
    """Return (layer, head): the mean mass inside the true windows."""
    masses = []
    for case in found:
        known = case.windows.any(-1)
        masses.append((case.attention * case.windows)[:, :, known].sum(-1).mean(-1))
    return np.mean(masses, axis=0)


def alignment_heads(mass: np.ndarray) -> list[list[int]]:
    """Return the heads that have at least 80 % of the best head's mass in the true windows."""
    return [[int(layer), int(head)] for layer, head in np.argwhere(mass >= 0.8 * mass.max())]


def compare(found: list[Case], diagonal: Diagonal, task: str) -> dict[str, float]:
    """Compare mean-heads with the diagonal over clips."""
    means = [agreement(case.attention.mean((0, 1)), case.windows) for case in found]
    ramps = [diagonal.score(task, case) for case in found]
    uniform = [case.windows[case.windows.any(-1)].mean() for case in found]
    result: dict[str, float] = {"clips": len(found), "mass uniform": float(np.mean(uniform))}
    for measure in MEASURES:
        ours, theirs = (np.array([s[measure] for s in side]) for side in (means, ramps))
        result[f"{measure} mean-heads"] = float(ours.mean())
        result[f"{measure} diagonal"] = float(theirs.mean())
        result[f"{measure} won"] = float((ours > theirs).mean())
    return result


def attention_report(tiny: Tiny, dev: Clips, sides: dict[str, Clips]) -> dict:
    """Fit on dev; return widths, alignment heads and the comparison for every side and task."""
    diagonal, masses = Diagonal(), {}
    for task in ("transcribe", "translate"):
        found = list(cases(tiny, dev, task))
        diagonal.fit(task, found)
        masses[task] = head_mass(found)
    comparison = {
        side: {task: compare(list(cases(tiny, clips, task)), diagonal, task) for task in masses}
        for side, clips in sides.items()
    }
    return {
        "widths": diagonal.widths,
        "head_mass": {task: mass.tolist() for task, mass in masses.items()},
        "alignment_heads": alignment_heads(masses["transcribe"] + masses["translate"]),
        "comparison": comparison,
    }
