"""How good the explained hypotheses are: an explanation of nonsense must be marked as such.

WER after the Whisper text normaliser (percent, jiwer); BLEU and chrF on plain text (0-100,
sacrebleu). Both libraries are imported at first use: 0.2 s that a picture of one clip does not pay.
For languages written without spaces every character counts as a word, as in the Whisper evaluation.
The English normaliser runs without its British-American spelling table, which transformers does not ship.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from xbench.spec import Quality

_WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


_LOOP = re.compile(
    r"(.{1,60}?)\1{4,}", re.DOTALL
)  # a piece that stands five times in a row, or more often
_SHORTEST_LOOP = 10  # characters: below that lie "no no no" and what a short word repeats by chance


def loops(text: str) -> bool:
    """Say whether a text repeats one piece five times or more in a row, and that is more than half of it.

    So models write when they hear noise, or lost the thread; an explanation of it explains no recognition.
    """
    found = [piece[0].strip() for piece in _LOOP.finditer(f"{text.strip()} ")]
    longest = max(map(len, found), default=0)
    return longest >= _SHORTEST_LOOP and 2 * longest > len(text.strip())


def corpus_quality(
    quality: Quality, hypotheses: Sequence[str], targets: Sequence[str], languages: Sequence[str]
) -> float | None:
    """Return the corpus score, or None when no target holds a word."""
    if quality.metric == "wer":
        pairs = _normalised(hypotheses, targets, languages)
        if not pairs:
            return None
        import jiwer

        heard, said = zip(*pairs, strict=True)
        return 100.0 * float(jiwer.wer(list(said), list(heard)))
    if not any(target.strip() for target in targets):
        return None
    return float(_sacrebleu(quality.metric).corpus_score(list(hypotheses), [list(targets)]).score)


# Every method of a run asks for the same texts.
@functools.lru_cache(maxsize=1 << 14)
def utterance_quality(
    quality: Quality, hypothesis: str, target: str, language: str
) -> float | None:
    """Return the score of one hypothesis (sentence BLEU with effective order), or None."""
    if quality.metric == "bleu":
        if not target.strip():
            return None
        metric = _sacrebleu("bleu", effective_order=True)
        return float(metric.sentence_score(hypothesis, [target]).score)
    return corpus_quality(quality, [hypothesis], [target], [language])


def is_poor(quality: Quality, value: float | None) -> bool:
    """Say whether a hypothesis is beyond the task's threshold (wer: at or above; others: at or below)."""
    if value is None:
        return False
    return value >= quality.poor if quality.metric == "wer" else value <= quality.poor


def _normalised(
    hypotheses: Sequence[str], targets: Sequence[str], languages: Sequence[str]
) -> list[tuple[str, str]]:
    pairs = []
    for hypothesis, target, language in zip(hypotheses, targets, languages, strict=True):
        said = _normalise(language, target)
        # The English normaliser turns "..." into ".", which is no word.
        if any(map(str.isalnum, said)):
            pairs.append((_normalise(language, hypothesis), said))
    return pairs


@functools.lru_cache(maxsize=1 << 14)
def _normalise(language: str, text: str) -> str:
    return _normaliser(language)(text).strip()


@functools.cache
def _normaliser(language: str) -> Callable[[str], str]:
    normalisers = _whisper_normalisers()
    if language == "en":
        normaliser: Callable[[str], str] = normalisers.EnglishTextNormalizer({})
    else:
        split = language in _WITHOUT_SPACES
        normaliser = normalisers.BasicTextNormalizer(split_letters=split)
    return normaliser


@functools.cache
def _whisper_normalisers() -> ModuleType:
    """Return `transformers.models.whisper.english_normalizer`, which imports nothing else of transformers.

    It is loaded from its file: to import the packages around it takes as long as scoring hundreds of clips.
    """
    package = importlib.util.find_spec("transformers")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "models" / "whisper" / "english_normalizer.py"
    found = importlib.util.spec_from_file_location("xbench_whisper_normalisers", file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def statistics(
    quality: Quality, hypothesis: str, target: str, language: str, *, plain: bool = False
) -> list[float] | None:
    """Return numbers of one utterance that may be added up over a corpus; None without a target word.

    wer: [word edits, words]; bleu, chrf: those of sacrebleu. plain: words are what stands between spaces, capitals and
    punctuation as they are; BLEU and chrF are always of such text.
    """
    if quality.metric == "wer":
        pairs = [(hypothesis.strip(), target.strip())] if plain else None
        pairs = pairs or _normalised([hypothesis], [target], [language])
        if not pairs or not pairs[0][1]:
            return None
        import jiwer

        heard, said = pairs[0]
        found = jiwer.process_words(said, heard)
        edits = found.substitutions + found.deletions + found.insertions
        return [float(edits), float(found.hits + found.substitutions + found.deletions)]
    if not target.strip():
        return None
    return [
        float(n)
        for n in _sacrebleu(quality.metric)._extract_corpus_statistics([hypothesis], [[target]])[0]
    ]


def of_statistics(quality: Quality, summed: Sequence[float]) -> float:
    """Return the corpus score of summed statistics: WER in percent, BLEU or chrF 0-100."""
    if quality.metric == "wer":
        return 100.0 * float(summed[0]) / float(summed[1])
    return float(
        _sacrebleu(quality.metric)._compute_score_from_stats([int(n) for n in summed]).score
    )


@functools.cache
def _sacrebleu(metric: str, *, effective_order: bool = False) -> Any:
    import sacrebleu

    return sacrebleu.BLEU(effective_order=effective_order) if metric == "bleu" else sacrebleu.CHRF()
