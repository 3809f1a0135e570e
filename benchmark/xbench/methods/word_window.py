"""Control `word-window`: the frames in which a token's word was spoken. It knows the word times: an oracle.

    M[i, j] = 1 / n where frame j overlaps the window of token i's word, which holds n frames; else 0

The words of the hypothesis are aligned with the spoken words of the manifest by edit distance
over words (case, punctuation and Unicode form aside). A word that was recognised, or that stands in place of another,
gets the window of that word in the manifest; an inserted word has none. In scripts written without spaces each
character is a word here. Tokens without a window (inserted words, punctuation, end of text) get a
uniform row; a token that reaches into several words gets the frames of all of them.

Frame j covers the time from j d to (j + 1) d, d = stride x hop of the spectrogram. Word times
belong to what was said, so a translation, or a clip without `words`, is unsupported.
Source: control; the alignment is Levenshtein's, by jiwer.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xbench.case import Case
from xbench.data.manifest import Word
from xbench.errors import Unsupported
from xbench.maps import Layout

# Thai, Lao, Burmese, Khmer, kana, Chinese characters
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


def word_window(case: Case) -> Float[Tensor, "token frame"]:
    """Return uniform mass over the word that each token belongs to."""
    if case.words is None:
        raise Unsupported(
            "it needs the times of the words of this text: the manifest has no 'words' for a clip, "
            "or the text is a translation"
        )
    axes = case.layout
    spoken = _windows(case.words, axes)
    values = np.full((len(axes.tokens), axes.frames), 1 / axes.frames)
    for row, words in enumerate(words_of_tokens(axes, case.hypothesis.text, case.words)):
        covered = spoken[sorted(words)].any(0)
        if covered.any():
            values[row] = covered / covered.sum()
    return torch.from_numpy(values).float()


def _windows(words: Sequence[Word], axes: Layout) -> Bool[np.ndarray, "word frame"]:
    """Say which valid frames each word overlaps; a word without length lies in one frame."""
    seconds = axes.stride * axes.melframe_seconds
    covered = np.zeros((len(words), axes.frames), dtype=bool)
    for row, word in zip(covered, words, strict=True):
        # Times are decimal: 0.06 / 0.02 must be 3, not 2.9999999999999996.
        first = math.floor(round(word.start / seconds, 6))
        row[first : max(math.ceil(round(word.end / seconds, 6)), first + 1)] = True
    return covered


@dataclass(frozen=True)
class Alignment:
    """Words of a hypothesis beside those that were spoken.

    of_tokens: per generated token the indices of the spoken words it is aligned with. inserted: words of the
    hypothesis that stand beside none (characters, in scripts written without spaces). in_words: the tokens that write
    a letter or digit of some word. right: those of them that belong to a word equal to the spoken one.
    """

    of_tokens: list[set[int]]
    inserted: int
    in_words: frozenset[int]
    right: frozenset[int]


def words_of_tokens(axes: Layout, text: str, spoken: Sequence[Word]) -> list[set[int]]:
    """Return for each token the indices of the spoken words it is aligned with."""
    return aligned_words(axes, text, spoken).of_tokens


def aligned_words(axes: Layout, text: str, spoken: Sequence[Word]) -> Alignment:
    """Align the words of a hypothesis with the spoken ones by edit distance."""
    import jiwer

    found: list[set[int]] = [set() for _ in axes.tokens]
    said, heard = _units(_spoken(spoken)), _units(_owned(text, axes))
    in_words = frozenset(row for unit in heard for row in unit.owners)
    if not said or not heard:
        return Alignment(found, len(heard), in_words, frozenset())
    inserted, right = 0, set[int]()
    for chunk in jiwer.process_words(_joined(said), _joined(heard)).alignments[0]:
        if chunk.type not in ("equal", "substitute"):
            inserted += chunk.hyp_end_idx - chunk.hyp_start_idx
            continue
        pairs = zip(
            heard[chunk.hyp_start_idx : chunk.hyp_end_idx],
            said[chunk.ref_start_idx : chunk.ref_end_idx],
            strict=True,
        )
        for heard_unit, said_unit in pairs:
            for row in heard_unit.owners:
                found[row] |= said_unit.owners
            if chunk.type == "equal":
                right |= heard_unit.owners
    return Alignment(found, inserted, in_words, frozenset(right))


def share_spoken(transcript: str, spoken: Sequence[Word]) -> float:
    """Return the share of the words of a transcript that are among the spoken ones, in order; 1 for no transcript."""
    import jiwer

    written = _units([_Piece(letter, frozenset()) for letter in transcript])
    said = _units(_spoken(spoken))
    if not written or not said:
        return float(not written)
    return float(jiwer.process_words(_joined(written), _joined(said)).hits / len(written))


def _spoken(words: Sequence[Word]) -> list[_Piece]:
    return [_Piece(f" {word.word}", frozenset({index})) for index, word in enumerate(words)]


@dataclass(frozen=True)
class _Piece:
    """A piece of text and whom it belongs to: tokens of the hypothesis, or words of the manifest."""

    text: str
    owners: frozenset[int]


def _owned(text: str, axes: Layout) -> list[_Piece]:
    """Cut the text into characters with the tokens that wrote them.

    Token texts alone would not do: some tokenizers drop the space before a word, and a character
    of several bytes may be spread over tokens that are each unreadable.
    """
    written = [(c, row) for row in axes.content for c in _letters(axes.texts[row]) if c.strip()]
    letters = _letters(text)
    places = [place for place, letter in enumerate(letters) if letter.strip()]
    owners: list[frozenset[int]] = [frozenset()] * len(letters)
    matcher = difflib.SequenceMatcher(
        None, [c for c, _ in written], [letters[place] for place in places], autojunk=False
    )
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        rows = [row for _, row in written[a:a_end]]
        for offset, place in enumerate(places[b:b_end]):
            owners[place] = frozenset(rows[offset : offset + 1] if kind == "equal" else rows)
    return [_Piece(letter, owned) for letter, owned in zip(letters, owners, strict=True)]


def _units(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Bring pieces together to words: cut at spaces and around characters of unspaced scripts."""
    units: list[_Piece] = []
    inside = False
    for letter, owners in _spelt(pieces):
        unspaced = _UNSPACED.match(letter)
        if inside and not unspaced and letter.strip():
            units[-1] = _Piece(units[-1].text + letter, units[-1].owners | owners)
        elif letter.strip():
            units.append(_Piece(letter, owners))
        inside = bool(letter.strip()) and not unspaced
    return units


def _spelt(pieces: Sequence[_Piece]) -> Iterator[tuple[str, frozenset[int]]]:
    """Yield letters, digits, marks and spaces; punctuation neither counts nor cuts."""
    for piece in pieces:
        for letter in _letters(piece.text):
            if letter.isspace() or unicodedata.category(letter)[0] in "LMN":
                yield letter, piece.owners


def _letters(text: str) -> str:
    """Fold case and take composed characters apart, so that spellings of one text are equal."""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())


def _joined(units: Sequence[_Piece]) -> str:
    return " ".join(unit.text for unit in units)
