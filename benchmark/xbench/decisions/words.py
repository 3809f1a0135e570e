"""When words were said, read from the maps of a run and held against known times.

A word's time is read from its tokens' rows: its onset from the first token, its end from the last. Where in a row, says
the point:

    run        the highest run of frames: it holds the highest frames and goes on as long as frames reach half of the
               height above the row's lowest (`metrics.timing.starts`). On a path of zeros and ones these are the first
               and the last frame of the word, which is how Whisper reads its own path.
    peak       the centre of the highest frame, for onset and end alike
    centroid   the centroid of the mass, for onset and end alike

Words of the hypothesis are aligned with those of the manifest by edit distance. A known word that no token is aligned
with is not covered; it counts against recall, and has no error. A word of the hypothesis that stands beside no known
one is inserted; it counts against precision. Where nothing was written, or a text that goes round in circles, no word
of the clip is covered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from xbench import stats
from xbench.audit.stored_maps import explained, map_of, one_run
from xbench.errors import UsageError, nearest
from xbench.methods.word_window import aligned_words, share_spoken
from xbench.metrics.batch import Maps
from xbench.metrics.timing import centroids, peaks, starts
from xbench.results import RunResult
from xbench.runner.keys import Spoken
from xbench.runner.rescore import Stored
from xbench.store import Store

POINTS = ("run", "peak", "centroid")
WITHIN = (0.02, 0.05, 0.1, 0.2)
QUANTILES = (0.5, 0.9, 0.95)
# Word times of which the transcript holds fewer of its words are those of another text.
_SAME_TEXT = 0.5
_ROUNDING = 1e-9
# What the mean of an absolute error, of a signed one, and of a share can be.
_Range = tuple[float | None, float | None]
_ERROR, _SIGNED, _SHARE = (0.0, None), (None, None), (0.0, 1.0)
Mean = Callable[[Sequence[float | None], _Range], stats.Estimate]


@dataclass(frozen=True)
class WordTimes:
    """How well one method times words: means over clips of means over covered words, with intervals; times in seconds.

    onset, end: absolute errors. onset_bias, end_bias: signed, above 0 where the map is late. within, end_within: the
    share of onsets and of ends at most so far off. f1: of word boundaries (onsets and ends), right where at most
    `tolerance` off. onset_quantiles, end_quantiles: of the absolute errors of all words; None where no word is covered.
    No interval goes beyond what can be: below 0 of an absolute error, out of 0 to 1 of a share.
    """

    method: str
    onset: stats.Estimate
    onset_bias: stats.Estimate
    end: stats.Estimate
    end_bias: stats.Estimate
    within: Mapping[str, stats.Estimate]
    end_within: Mapping[str, stats.Estimate]
    f1: stats.Estimate
    onset_quantiles: Mapping[str, float] | None
    end_quantiles: Mapping[str, float] | None


@dataclass(frozen=True)
class Timed:
    """The word times of every method of a run, best onsets first.

    words: known ones. covered: the share of them with a token; the same for every method. inserted: words of the
    hypotheses beside no known one. other_text: ids of clips that are left out, since their word times are of another
    text than the transcript.
    """

    rows: tuple[WordTimes, ...]
    words: int
    covered: stats.Estimate
    inserted: int
    other_text: tuple[str, ...]
    tolerance: float
    point: str


def word_times(
    results: Sequence[RunResult],
    *,
    tolerance: float,
    store: Store,
    point: str = "run",
    language: str | None = None,
) -> Timed:
    """Return how well each method of a run times words; loads no model.

    tolerance: of a right boundary, in seconds. language: only clips in which this one is spoken. Raises UsageError for
    results of several runs, and where no clip has word times of what was said.
    """
    stored = one_run(results, store)
    clips = timed_clips(stored, tolerance=tolerance, point=point, language=language)
    seed = stored.record.spec.seed

    def mean(values: Sequence[float | None], possible: _Range) -> stats.Estimate:
        return stats.mean_estimate(values, clips.clusters, seed=seed).cut_to(*possible)

    rows = [_row(name, of_method, mean) for name, of_method in clips.of_method.items()]
    rows.sort(key=lambda row: row.onset.value if row.onset.value is not None else np.inf)
    return Timed(
        tuple(rows),
        clips.words,
        mean(clips.covered, _SHARE),
        clips.inserted,
        clips.other_text,
        tolerance,
        point,
    )


@dataclass(frozen=True)
class TimedClip:
    """One method on one clip: signed errors of the covered words in seconds, and F1 of boundaries."""

    onset: Float[np.ndarray, " word"]
    end: Float[np.ndarray, " word"]
    f1: float


@dataclass(frozen=True)
class TimedClips:
    """The clips of a run that have word times, with every method on them; `Timed` says what the fields are."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    covered: tuple[float, ...]
    words: int
    inserted: int
    other_text: tuple[str, ...]
    of_method: Mapping[str, Sequence[TimedClip]]


def timed_clips(
    stored: Stored, *, tolerance: float, point: str, language: str | None = None
) -> TimedClips:
    """Hold the times that every method gives to the words of every clip against the known ones; raises UsageError."""
    if tolerance < 0:
        raise UsageError(f"a tolerance is seconds from 0, not {tolerance:g}")
    if point not in POINTS:
        raise UsageError(
            f"'{point}' is no point of a row; use {', '.join(POINTS)}{nearest(point, POINTS)}"
        )
    spoken_in = sorted({each.job.utterance.language for each in stored.spoken.values()})
    if language is not None and language not in spoken_in:
        raise UsageError(
            f"no clip of the run is in '{language}'; its clips are in {', '.join(spoken_in)}"
        )
    found: dict[str, list[TimedClip]] = {}
    used: list[tuple[Spoken, _Truth]] = []
    other_text = []
    with_maps = {spoken.job.utterance.id for spoken in explained(stored)}
    for spoken in stored.spoken.values():
        clip = _truth(spoken)
        if clip is None or language not in (None, spoken.job.utterance.language):
            continue
        if share_spoken(spoken.job.utterance.transcript, spoken.job.words or ()) < _SAME_TEXT:
            other_text.append(spoken.job.utterance.id)
            continue
        used.append((spoken, clip))
        onsets = ends = np.zeros((len(stored.methods), 0))
        if spoken.job.utterance.id in with_maps:
            grids = [map_of(stored, spoken, method) for method in stored.methods.values()]
            onsets, ends = boundaries(Maps.of(grids, spoken.decoded.layout), point)
        for index, method in enumerate(stored.methods.values()):
            judged = _judged(onsets[index], ends[index], clip, tolerance)
            found.setdefault(str(method.call), []).append(judged)
    if not used:
        raise UsageError(_nothing_timed(other_text))
    return TimedClips(
        ids=tuple(spoken.job.utterance.id for spoken, _ in used),
        clusters=tuple(spoken.job.utterance.cluster for spoken, _ in used),
        covered=tuple(clip.covered for _, clip in used),
        words=sum(clip.known for _, clip in used),
        inserted=sum(clip.inserted for _, clip in used),
        other_text=tuple(other_text),
        of_method=found,
    )


def _nothing_timed(other_text: Sequence[str]) -> str:
    if other_text:
        return (
            f"the words of {len(other_text)} clips, such as '{other_text[0]}', are not those of their transcripts, and "
            "no other clip has word times; put the times of the transcript's words into `words`"
        )
    return (
        "no clip has word times of the text that is explained; the manifest needs `words` (`xbench data words` reads "
        "TextGrid and CTM), and the task must not translate"
    )


def boundaries(
    maps: Maps, point: str
) -> tuple[Float[np.ndarray, "map token"], Float[np.ndarray, "map token"]]:
    """Return where each row begins and ends in seconds, by the point that is read."""
    if point == "run":
        return starts(maps), stops(maps)
    at = {"peak": peaks, "centroid": centroids}[point](maps)
    return at, at


def stops(maps: Maps) -> Float[np.ndarray, "map token"]:
    """Return where the highest run of frames ends, in seconds: (j + 1) d for its last frame j.

    The run holds the last of the highest frames and goes on as long as frames reach half of the height above the row's
    lowest: the mirror of `metrics.timing.starts`.
    """
    low, high = maps.ascending[:, :, :1], maps.ascending[:, :, -1:]
    below = maps.rows < low + (high - low) / 2
    frames = np.arange(maps.frames)
    highest = maps.frames - 1 - np.argmax((maps.rows == high)[:, :, ::-1], axis=2)
    after = np.where(below & (frames > highest[..., None]), frames, maps.frames).min(axis=2)
    found: Float[np.ndarray, "map token"] = after * maps.frame_seconds
    return found


@dataclass(frozen=True)
class _Truth:
    """The covered words of a clip: the content rows of their first and last token, and their times.

    known: the words whose times are known. inserted: words of the hypothesis beside none of them.
    """

    first: list[int]
    last: list[int]
    onsets: Float[np.ndarray, " word"]
    ends: Float[np.ndarray, " word"]
    known: int
    inserted: int

    @property
    def covered(self) -> float:
        """The share of the known words that the hypothesis holds."""
        return len(self.first) / self.known


def _truth(spoken: Spoken) -> _Truth | None:
    words, decoded = spoken.job.words, spoken.decoded
    if not words:
        return None
    if decoded.unexplained:
        return _Truth([], [], np.zeros(0), np.zeros(0), len(words), 0)
    aligned = aligned_words(decoded.layout, decoded.hypothesis.text, words)
    rows: dict[int, list[int]] = {}
    for row, token in enumerate(decoded.layout.content):
        for word in aligned.of_tokens[token]:
            rows.setdefault(word, []).append(row)
    covered = sorted(rows)
    return _Truth(
        [rows[word][0] for word in covered],
        [rows[word][-1] for word in covered],
        np.array([words[word].start for word in covered], dtype=np.float64),
        np.array([words[word].end for word in covered], dtype=np.float64),
        len(words),
        aligned.inserted,
    )


def _judged(
    onsets: Float[np.ndarray, " token"],
    ends: Float[np.ndarray, " token"],
    clip: _Truth,
    tolerance: float,
) -> TimedClip:
    onset, end = onsets[clip.first] - clip.onsets, ends[clip.last] - clip.ends
    right = sum(int((np.abs(error) <= tolerance + _ROUNDING).sum()) for error in (onset, end))
    # Boundaries that are claimed: two of each word of the hypothesis. Those to be found: two of each known word.
    claimed = 2 * (len(clip.first) + clip.inserted)
    return TimedClip(onset, end, 2 * right / (claimed + 2 * clip.known))


def _row(name: str, clips: Sequence[TimedClip], mean: Mean) -> WordTimes:
    def over(values: Sequence[Float[np.ndarray, " word"]], possible: _Range) -> stats.Estimate:
        return mean([float(each.mean()) if len(each) else None for each in values], possible)

    def within(errors: Sequence[Float[np.ndarray, " word"]]) -> dict[str, stats.Estimate]:
        return {
            f"{bound:g}": over(
                [(error <= bound + _ROUNDING).astype(float) for error in errors], _SHARE
            )
            for bound in WITHIN
        }

    onsets, ends = ([np.abs(each) for each in part] for part in _parts(clips))
    return WordTimes(
        name,
        onset=over(onsets, _ERROR),
        onset_bias=over([clip.onset for clip in clips], _SIGNED),
        end=over(ends, _ERROR),
        end_bias=over([clip.end for clip in clips], _SIGNED),
        within=within(onsets),
        end_within=within(ends),
        f1=mean([clip.f1 for clip in clips], _SHARE),
        onset_quantiles=_quantiles(onsets),
        end_quantiles=_quantiles(ends),
    )


def _parts(clips: Sequence[TimedClip]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [clip.onset for clip in clips], [clip.end for clip in clips]


def _quantiles(errors: Sequence[Float[np.ndarray, " word"]]) -> dict[str, float] | None:
    pooled = np.concatenate(errors)
    if not len(pooled):
        return None
    return dict(zip(map(str, QUANTILES), np.quantile(pooled, QUANTILES).tolist(), strict=True))
