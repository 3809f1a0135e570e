"""Do maps point into the phone? Top-3 hits on exact phone times, for references and methods alike.

    python scripts/phone_hits.py [CLIPS]    prints a Markdown table (docs/validity.md holds it); minutes of a core

In the experiment of Wu et al. 2024 (Can We Trust Explainable AI Methods on ASR?) the output of a model is phones, the
clips are those of TIMIT, and a map *hits* where one of its three highest segments lies in the phone. Here the model is
xbench-tiny, which writes Italian mostly in tokens of one or two letters, and Italian spelling follows its sounds. The
clips are the packaged Italian ones (default: all). They are spoken once more by espeak-ng, which tells when each phone
begins; they must come out as they are packaged, sample by sample, so the times are exact.

Phones of a token: a word's spelling is cut into what stands for one phone (`SPELLING`); where there are as many of
these as phones, they belong together in order, and a token has the phones of its letters. Other words are left out and
counted. A frame lies in a phone where its middle does; a phone shorter than that has the frame at its own middle.

A column is the mean over clips of the share of tokens that hit (`xbench.audit.word_times.hit_rate`): in their phones,
in their word, and in their phones among the tokens that depend on the audio (at least 5 % of the largest effect of
their clip). `chance` is a constant map.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import soundfile

from espeak_speech import Phone, Synthesiser
from known_truth import METHODS, maps, needs
from make_demo_data import DEMO, Clip, packaged_clips
from xbench import stats
from xbench.audit.word_times import TOP, hit_rate
from xbench.case import Case
from xbench.models.loading import load_model
from xbench.models.protocol import SpeechModel
from xbench.spec import Decoding

DEPENDS = 0.05
# What stands for one phone in Italian: gli, sci, ci, gi before a vowel; gn, ch, gh, sc before e and i; double letters.
SPELLING = re.compile(
    r"gli(?=[aeou])|sci(?=[aou])|(?:cc|gg|c|g)i(?=[aou])|gn|cch|ggh|[cg]h|sc(?=[ei])|(\w)\1|\w"
)
Span = tuple[float, float]


@dataclass(frozen=True)
class Spoken:
    """One clip as a case, with the times of each content token: of its phones and of its word; None: not known."""

    case: Case
    voice: str
    phones: list[Span | None]
    words: list[Span | None]


def single(phones: Sequence[Phone]) -> list[Phone]:
    """Return phones as Italian counts them: a long one is one, r is glide and tap, `;` belongs to what is before."""
    found: list[Phone] = []
    for name, same in groupby(phones, key=lambda phone: phone.name):
        together = list(same)
        joined = Phone(name, together[0].start, together[-1].end)
        if found and (name == ";" or (found[-1].name, name) == ("@-", "*")):
            before = found.pop()
            joined = Phone(before.name + name, before.start, joined.end)
        found.append(joined)
    return found


def spelt(word: str, phones: Sequence[Phone]) -> list[Span] | None:
    """Return the time of the phone of each letter; None where spelling and phones do not go together one by one."""
    pieces, own = [match.group() for match in SPELLING.finditer(word)], single(phones)
    if len(pieces) != len(own):
        return None
    return [
        (phone.start, phone.end) for piece, phone in zip(pieces, own, strict=True) for _ in piece
    ]


def times_of_tokens(
    texts: Sequence[str], clip: Clip
) -> tuple[list[Span | None], list[Span | None]]:
    """Return the times of the phones, and of the word, of each token; the texts together are the transcript."""
    letters: list[Span | None] = []
    words: list[Span | None] = []
    for word, phones in zip(clip.words, clip.phones, strict=True):
        letters += [None, *(spelt(word["word"], phones) or [None] * len(word["word"]))]
        words += [None, *[(word["start"], word["end"])] * len(word["word"])]
    found: tuple[list[Span | None], list[Span | None]] = ([], [])
    first = 0
    for text in texts:
        place = slice(first + text.startswith(" "), first + len(text))
        for kept, known in zip(found, (letters, words), strict=True):
            kept.append(_together(known[place]))
        first += len(text)
    return found


def _together(spans: Sequence[Span | None]) -> Span | None:
    """Return the time from the first to the last; None where one is not known, or there is none."""
    known = [span for span in spans if span is not None]
    return (known[0][0], known[-1][1]) if known and len(known) == len(spans) else None


def inside(spans: Sequence[Span | None], frames: int, step: float) -> np.ndarray:
    """Return which frames lie in each span, [token, frame]."""
    centres = (np.arange(frames) + 0.5) * step
    found = np.zeros((len(spans), frames), dtype=bool)
    for row, span in zip(found, spans, strict=True):
        if span is not None:
            row[:] = (centres >= span[0]) & (centres < span[1])
            row[np.argmin(np.abs(centres - sum(span) / 2))] = True
    return found


def spoken_clips(model: SpeechModel, most: int | None) -> Iterator[Spoken]:
    """Yield the Italian clips whose text the model writes as it was said."""
    synthesiser = Synthesiser()
    made = [named for split in ("test", "dev") for named in packaged_clips(split, synthesiser)]
    for name, clip in [each for each in made if each[1].language == "it"][:most]:
        packaged, _ = soundfile.read(DEMO / "audio" / f"{name}.flac", dtype="float32")
        if len(packaged) != len(clip.samples) or np.abs(packaged - clip.samples).max() > 2**-15:
            sys.exit(f"{name} is not what this espeak-ng ({synthesiser.version}) speaks; use 1.51")
        features = model.features(packaged)
        hypothesis = model.decode(features, "it", None, Decoding())
        if hypothesis.text != clip.transcript:
            print(f"left out, for it is not written as it was said: {name}", file=sys.stderr)
            continue
        trace = model.trace(features, hypothesis, needs())
        case = Case(model, features, hypothesis, f"phones:{name}", trace)
        texts = [hypothesis.texts[i] for i in hypothesis.content]
        yield Spoken(case, clip.voice, *times_of_tokens(texts, clip))


def main() -> None:
    """Print the table."""
    most = int(sys.argv[1]) if sys.argv[1:] else None
    found: dict[str, list[tuple[float, float, float]]] = {}
    voices, tokens, known, lengths = [], 0, 0, []
    for spoken in spoken_clips(load_model("xbench-tiny"), most):
        frames = spoken.case.features.frames
        step = spoken.case.features.stride * spoken.case.features.melframe_seconds
        phones, words = (inside(spans, frames, step) for spans in (spoken.phones, spoken.words))
        both = phones.any(axis=1)
        voices.append(spoken.voice)
        tokens, known = tokens + len(both), known + int(both.sum())
        lengths += list(phones[both].sum(axis=1) * step)
        rows_of = dict(maps(spoken.case))
        rows_of["chance"] = np.zeros_like(rows_of[METHODS[0]])
        effect = rows_of["spes-encoder"].mean(axis=1)
        audible = both & (effect >= DEPENDS * effect.max())
        for name, rows in rows_of.items():
            found.setdefault(name, []).append(
                (
                    hit_rate(rows[both], phones[both], TOP),
                    hit_rate(rows[both], words[both], TOP),
                    hit_rate(rows[audible], phones[audible], TOP),
                )
            )
    print(
        f"{len(voices)} clips of {len(set(voices))} voices; {known} of {tokens} tokens with phones, "
        f"which last {np.median(lengths):.2f} s (median)\n"
    )
    print(
        "| map | hits its phones | hits its word | hits its phones, tokens that depend on the audio |"
    )
    print("|---|---|---|---|")
    for name, each in found.items():
        cells = []
        for column in zip(*each, strict=True):
            told = stats.mean_estimate(list(column), voices, seed=0)
            ends = "" if told.low is None else f" [{told.low:.2f}, {told.high:.2f}]"
            cells.append(f"{told.value:.3f}{ends}")
        print(f"| `{name}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
