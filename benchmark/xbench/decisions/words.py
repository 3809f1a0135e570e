"""When words were said, read from the maps of a run and held against known times.

A word's time is read from its tokens' rows: it begins where the highest run of frames of its first token begins, and
ends where that of its last token ends. A run holds the highest frames and goes on as long as frames reach half of the
height above the row's lowest (`metrics.timing.starts`). On a path of zeros and ones these are the first and the last
frame of the word, which is how Whisper reads its own path.

Words of the hypothesis are aligned with those of the manifest by edit distance. A known word that no token is aligned
with is not covered; it counts against recall, and has no error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from xbench import stats
from xbench.audit.stored_maps import explained, map_of, one_run
from xbench.errors import UsageError
from xbench.methods.word_window import words_of_tokens
from xbench.metrics.batch import Maps
from xbench.metrics.timing import starts
from xbench.results import RunResult
from xbench.runner.keys import Spoken
from xbench.store import Store

WITHIN = (0.02, 0.05, 0.1, 0.2)
QUANTILES = (0.5, 0.9, 0.95)
_ROUNDING = 1e-9
Mean = Callable[[Sequence[float | None]], stats.Estimate]


@dataclass(frozen=True)
class WordTimes:
    """How well one method times words: means over clips of means over covered words, with intervals; times in seconds.

    onset, end: absolute errors. onset_bias, end_bias: signed, above 0 where the map is late. within: the share of
    onsets at most so far off. f1: of word boundaries (onsets and ends), right where at most `tolerance` off.
    onset_quantiles: of all onsets' absolute errors; None where no word is covered.
    """

    method: str
    onset: stats.Estimate
    onset_bias: stats.Estimate
    end: stats.Estimate
    end_bias: stats.Estimate
    within: Mapping[str, stats.Estimate]
    f1: stats.Estimate
    onset_quantiles: Mapping[str, float] | None


@dataclass(frozen=True)
class Timed:
    """The word times of every method of a run, best onsets first.

    words: known ones. covered: the share of them with a token; the same for every method.
    """

    rows: tuple[WordTimes, ...]
    words: int
    covered: stats.Estimate
    tolerance: float


def word_times(results: Sequence[RunResult], *, tolerance: float, store: Store) -> Timed:
    """Return how well each method of a run times words; loads no model.

    tolerance: of a right boundary, in seconds. Raises UsageError for results of several runs, and where no clip has
    word times of what was said.
    """
    if tolerance < 0:
        raise UsageError(f"a tolerance is seconds from 0, not {tolerance:g}")
    stored = one_run(results, store)
    clips: dict[str, list[_OfClip]] = {}
    clusters, covered, known = [], [], 0
    for spoken in explained(stored):
        clip = _truth(spoken)
        if clip is None:
            continue
        clusters.append(spoken.job.utterance.cluster)
        known += clip.known
        covered.append(clip.covered)
        grids = [map_of(stored, spoken, method) for method in stored.methods.values()]
        together = Maps.of(grids, spoken.decoded.layout)
        onsets, ends = starts(together), stops(together)
        for index, method in enumerate(stored.methods.values()):
            found = _judged(onsets[index], ends[index], clip, tolerance)
            clips.setdefault(str(method.call), []).append(found)
    if not clusters:
        raise UsageError(
            "no clip has word times of the text that is explained; the manifest needs `words`, and the task must not "
            "translate"
        )
    seed = stored.record.spec.seed

    def mean(values: Sequence[float | None]) -> stats.Estimate:
        return stats.mean_estimate(values, clusters, seed=seed)

    rows = [_row(name, of_method, mean) for name, of_method in clips.items()]
    rows.sort(key=lambda row: row.onset.value if row.onset.value is not None else np.inf)
    return Timed(tuple(rows), known, mean(covered), tolerance)


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
    """The covered words of a clip: the content rows of their first and last token, their times, and all known words."""

    first: list[int]
    last: list[int]
    onsets: Float[np.ndarray, " word"]
    ends: Float[np.ndarray, " word"]
    known: int

    @property
    def covered(self) -> float:
        """The share of the known words that the hypothesis holds."""
        return len(self.first) / self.known


@dataclass(frozen=True)
class _OfClip:
    """One method on one clip: signed errors of the covered words, and F1 of boundaries."""

    onset: Float[np.ndarray, " word"]
    end: Float[np.ndarray, " word"]
    f1: float


def _truth(spoken: Spoken) -> _Truth | None:
    words, decoded = spoken.job.words, spoken.decoded
    if not words:
        return None
    aligned = words_of_tokens(decoded.layout, decoded.hypothesis.text, words)
    rows: dict[int, list[int]] = {}
    for row, token in enumerate(decoded.layout.content):
        for word in aligned[token]:
            rows.setdefault(word, []).append(row)
    covered = sorted(rows)
    return _Truth(
        [rows[word][0] for word in covered],
        [rows[word][-1] for word in covered],
        np.array([words[word].start for word in covered], dtype=np.float64),
        np.array([words[word].end for word in covered], dtype=np.float64),
        len(words),
    )


def _judged(
    onsets: Float[np.ndarray, " token"],
    ends: Float[np.ndarray, " token"],
    clip: _Truth,
    tolerance: float,
) -> _OfClip:
    onset, end = onsets[clip.first] - clip.onsets, ends[clip.last] - clip.ends
    right = sum(int((np.abs(error) <= tolerance + _ROUNDING).sum()) for error in (onset, end))
    # Boundaries that are claimed: two of each covered word. Those to be found: two of each known word.
    return _OfClip(onset, end, 2 * right / (2 * len(clip.first) + 2 * clip.known))


def _row(name: str, clips: Sequence[_OfClip], mean: Mean) -> WordTimes:
    def over(values: Sequence[Float[np.ndarray, " word"]]) -> stats.Estimate:
        return mean([float(each.mean()) if len(each) else None for each in values])

    errors = [np.abs(clip.onset) for clip in clips]
    pooled = np.concatenate(errors)
    quantiles = np.quantile(pooled, QUANTILES).tolist() if len(pooled) else None
    return WordTimes(
        name,
        onset=over(errors),
        onset_bias=over([clip.onset for clip in clips]),
        end=over([np.abs(clip.end) for clip in clips]),
        end_bias=over([clip.end for clip in clips]),
        within={
            f"{bound:g}": over([(error <= bound + _ROUNDING).astype(float) for error in errors])
            for bound in WITHIN
        },
        f1=mean([clip.f1 for clip in clips]),
        onset_quantiles=quantiles and dict(zip(map(str, QUANTILES), quantiles, strict=True)),
    )
