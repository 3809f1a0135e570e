"""Which tokens does the audio not say? Detectors read from maps and outputs, held against cause and construction.

A token that a model makes up needs no audio. Two truths are at hand:

    effect          what hiding audio does to the token: the mean of its row of the reference. For `spes-encoder` this
                    is the mean divergence of the output under masks, a causal measure. The lowest share of all tokens
                    of the run (a quarter by default) counts as not listened for.
    construction    of clips made by `xbench data listening`: a token is made up where its word is none that can be
                    heard in the clip (hypothesis and transcript aligned by edit distance). Tokens of no word are left
                    out.

A detector gives every token a number, higher where it suspects that the token is made up:

    share           minus the share of attention that lies on frames with audio, the mean over all layers and heads; the
                    rest went to padding, or to text
    entropy         entropy of the row above its minimum, as a share of the highest possible, log of the frames
    consistency     minus the mean correlation between the rows of all pairs of single heads (`raw-attention`)
    probability     minus the log-probability of the token
    output-entropy  entropy of the output distribution
    effect          minus the effect; against the construction only

Judged are all tokens of the run together, by the areas of `stats.detection`; intervals are over clips' clusters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from xbench.audit.stored_maps import explained, map_of, one_run
from xbench.data.manifest import Word
from xbench.errors import UsageError
from xbench.methods.word_window import aligned_words
from xbench.metrics.batch import Maps
from xbench.references.reference import Relevance
from xbench.results import RunResult
from xbench.runner.compare import read_reference, token_effects
from xbench.runner.keys import Spoken, map_key, reference_key
from xbench.runner.rescore import Stored
from xbench.stats.detection import Detection, detection
from xbench.store import Store

LOWEST = 0.25
_SINGLE_HEAD = "raw-attention"
Scores = Float[np.ndarray, " token"]
Detector = tuple[str, str | None]  # its name, and the method whose map it reads


@dataclass(frozen=True)
class Detected:
    """How well one detector finds the tokens that need no audio.

    method: whose map it reads, None for one of the output. effect, construction: against either truth, None where it
    does not say anything of its own, or where no clip has a construction. of: against the construction, only on clips
    of speech and those of one other construction.
    """

    name: str
    method: str | None
    effect: Detection | None
    construction: Detection | None
    of: Mapping[str, Detection]


@dataclass(frozen=True)
class Listening:
    """All detectors of a run, best against the effect first.

    tokens, clips: judged ones. reliability: of the effects, from the two halves of the masks: 2 r / (1 + r), r their
    correlation over all tokens; None where a reference has no halves. made_up: the share of tokens that are made up by
    construction, per construction; empty where no clip has one. lowest: the share of tokens that count as not listened
    for; threshold: their highest effect. absent: why some detectors could not be read.
    """

    task: str
    model: str
    reference: str
    tokens: int
    clips: int
    lowest: float
    threshold: float
    reliability: float | None
    made_up: Mapping[str, float]
    rows: tuple[Detected, ...]
    absent: tuple[str, ...]


def listening(results: Sequence[RunResult], *, store: Store, lowest: float = LOWEST) -> Listening:
    """Return how well each detector finds the tokens that need no audio; loads no model.

    lowest: the share of tokens that count as not listened for. Raises UsageError for results of several runs, a share
    that leaves no token on one side, and where no clip has a token.
    """
    if not 0 < lowest < 1:
        raise UsageError(f"the lowest share of tokens lies between 0 and 1, not {lowest:g}")
    stored = one_run(results, store)
    clips = [clip_signs(stored, spoken) for spoken in explained(stored)]
    truth = _Truth.of(clips, lowest)
    seed = stored.record.spec.seed
    common = set.intersection(*(set(clip.scores) for clip in clips))
    rows = [
        truth.judged(key, np.concatenate([clip.scores[key] for clip in clips]), seed)
        for key in clips[0].scores
        if key in common
    ]
    rows.append(truth.of_effect(seed))
    rows.sort(key=_best_first)
    return Listening(
        task=stored.record.task.name,
        model=stored.record.info.name,
        reference=stored.record.task.headline.reference,
        tokens=len(truth.effects),
        clips=len(clips),
        lowest=lowest,
        threshold=truth.threshold,
        reliability=_reliability(clips),
        made_up=truth.shares(),
        rows=tuple(rows),
        absent=_absent(clips, common),
    )


@dataclass(frozen=True)
class ClipSigns:
    """What is read of one clip: per content token the effect and the score of every detector.

    halves: the effects from either half of the masks, None of a reference without halves. made_up: by construction;
    None for a clip without one. in_word: which tokens write a word.
    """

    id: str
    cluster: str
    construction: str | None
    effects: Scores
    halves: tuple[Scores, Scores] | None
    scores: Mapping[Detector, Scores]
    made_up: Bool[np.ndarray, " token"] | None
    in_word: Bool[np.ndarray, " token"]


def clip_signs(stored: Stored, spoken: Spoken) -> ClipSigns:
    """Read the effects and detectors of one clip from the store."""
    layout, utterance = spoken.decoded.layout, spoken.job.utterance
    name = stored.record.task.headline.reference
    call = next(c for c in spoken.job.task.references if c.name == name)
    artefact = stored.shelf.artefact(reference_key(stored.record.info, spoken, call))
    reference = read_reference(call, artefact)
    halves = reference.halves()

    def of(values: Relevance) -> np.ndarray:
        return np.array(token_effects(values, layout))

    methods = list(stored.methods.values())
    maps = Maps.of([map_of(stored, spoken, method) for method in methods], layout)
    scores: dict[Detector, Scores] = dict(_of_output(spoken))
    heads = [index for index, one in enumerate(methods) if one.call.name == _SINGLE_HEAD]
    if len(heads) > 1:
        scores["consistency", None] = -consistency(maps.z[heads])
    share = _audio_share(stored, spoken)
    if share is not None:
        scores["share", None] = -share
    for method, spread in zip(methods, entropies(maps), strict=True):
        scores["entropy", str(method.call)] = spread
    heard = [Word(word, 0.0, 0.0) for word in utterance.transcript.split()]
    words = aligned_words(layout, spoken.decoded.hypothesis.text, heard)
    content = layout.content
    made_up = np.array([token not in words.right for token in content])
    return ClipSigns(
        utterance.id,
        utterance.cluster,
        utterance.construction,
        of(reference.mean()),
        None if halves is None else (of(halves[0]), of(halves[1])),
        scores,
        made_up if utterance.construction is not None else None,
        np.array([token in words.in_words for token in content]),
    )


def _reliability(clips: Sequence[ClipSigns]) -> float | None:
    """Return the reliability of the effects over all tokens (Spearman and Brown); None without halves or variance."""
    halves = [clip.halves for clip in clips if clip.halves is not None]
    if len(halves) < len(clips):
        return None
    first, second = (np.concatenate(part) for part in zip(*halves, strict=True))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    r = float(np.corrcoef(first, second)[0, 1])
    return 2 * r / (1 + r) if r > -1 else None


def _audio_share(stored: Stored, spoken: Spoken) -> Scores | None:
    """Return the share of attention on audio of each content token, stated beside the maps; None in an older store."""
    for method in stored.methods.values():
        key = map_key(stored.record.info, spoken, method)
        share = stored.shelf.artefact(key).facts.get("audio_share")
        if share is not None:
            return np.array(share, dtype=np.float64)[list(spoken.decoded.layout.content)]
    return None


def _of_output(spoken: Spoken) -> dict[Detector, Scores]:
    """Return what the output itself says of each content token; nothing where the store does not hold it."""
    certainty, content = spoken.decoded.certainty, list(spoken.decoded.layout.content)
    if certainty is None:
        return {}
    probability = [certainty.log_probability[token] for token in content]
    entropy = [certainty.entropy[token] for token in content]
    if None in probability or None in entropy:
        return {}
    return {
        ("probability", None): -np.array(probability, dtype=np.float64),
        ("output-entropy", None): np.array(entropy, dtype=np.float64),
    }


def consistency(z: Float[np.ndarray, "head token frame"]) -> Scores:
    """Return the mean correlation between the rows of all pairs of heads; z: rows z-scored over frames.

    sum_{g < h} r_gh / (H (H - 1) / 2) = (|sum_h z_h|^2 / F - sum_h |z_h|^2 / F) / (H (H - 1)), 0 of constant rows.
    """
    heads, _, frames = z.shape
    total = z.sum(axis=0)
    together, alone = np.vecdot(total, total), np.vecdot(z, z).sum(axis=0)
    mean: Scores = (together - alone) / (frames * heads * (heads - 1))
    return mean


def entropies(maps: Maps) -> Float[np.ndarray, "map token"]:
    """Return the entropy of each row's mass over log(frames); 1 for a constant row, which says nothing about where."""
    mass = maps.mass
    logs = np.log(np.where(mass > 0, mass, 1.0))
    found: Float[np.ndarray, "map token"] = -np.vecdot(mass, logs) / math.log(max(maps.frames, 2))
    return np.where(maps.constant, 1.0, found)


@dataclass(frozen=True)
class _Truth:
    """Both truths over all tokens of a run, one after the other."""

    effects: Scores
    threshold: float
    unheard: Bool[np.ndarray, " token"]
    made_up: Bool[np.ndarray, " token"]
    counted: Bool[np.ndarray, " token"]
    constructions: np.ndarray
    clusters: np.ndarray

    @classmethod
    def of(cls, clips: Sequence[ClipSigns], lowest: float) -> _Truth:
        effects = np.concatenate([clip.effects for clip in clips])
        sizes = [len(clip.effects) for clip in clips]
        threshold = float(np.quantile(effects, lowest))
        none = [np.zeros(size, dtype=bool) for size in sizes]
        unheard = effects <= threshold
        if unheard.all():
            raise UsageError(
                f"all {len(effects)} tokens have the same effect, so none is listened for less than others"
            )
        pairs = list(zip(clips, none, strict=True))
        return cls(
            effects,
            threshold,
            unheard,
            np.concatenate([no if c.made_up is None else c.made_up for c, no in pairs]),
            np.concatenate([no if c.made_up is None else c.in_word for c, no in pairs]),
            np.repeat([clip.construction or "" for clip in clips], sizes),
            np.repeat([clip.cluster for clip in clips], sizes),
        )

    def judged(self, key: Detector, scores: Scores, seed: int) -> Detected:
        """Hold one detector against both truths."""
        effect = detection(scores, self.unheard, self.clusters.tolist(), seed=seed)
        return Detected(*key, effect, *self._by_construction(scores, seed))

    def of_effect(self, seed: int) -> Detected:
        """Hold the effect itself against the construction."""
        return Detected("effect", None, None, *self._by_construction(-self.effects, seed))

    def shares(self) -> dict[str, float]:
        """Return the share of tokens that are made up, per construction."""
        kinds = sorted({str(kind) for kind in self.constructions[self.counted]})
        return {
            kind: float(self.made_up[self.counted & (self.constructions == kind)].mean())
            for kind in kinds
        }

    def _by_construction(
        self, scores: Scores, seed: int
    ) -> tuple[Detection | None, dict[str, Detection]]:
        if not self.counted.any():
            return None, {}

        def over(tokens: Bool[np.ndarray, " token"]) -> Detection:
            chosen = tokens & self.counted
            return detection(
                scores[chosen], self.made_up[chosen], self.clusters[chosen].tolist(), seed=seed
            )

        speech = self.constructions == "speech"
        kinds = sorted({str(k) for k in self.constructions[self.counted]} - {"speech"})
        apart = {kind: over(speech | (self.constructions == kind)) for kind in kinds}
        return over(np.ones_like(self.counted)), apart


def _best_first(row: Detected) -> tuple[float, float]:
    def area(found: Detection | None) -> float:
        return -math.inf if found is None or found.auroc.value is None else found.auroc.value

    return -area(row.effect), -area(row.construction)


def _absent(clips: Sequence[ClipSigns], common: set[Detector]) -> tuple[str, ...]:
    told = []
    old = [
        name for name in ("share", "probability", "output-entropy") if (name, None) not in common
    ]
    if old:
        told.append(
            f"{', '.join(old)}: the store is older than they are; evaluate into a new one (--cache)"
        )
    if ("consistency", None) not in common:
        told.append(
            f"consistency: the results hold fewer than two single heads ({_SINGLE_HEAD}:layer=*,head=*)"
        )
    if all(clip.construction is None for clip in clips):
        told.append(
            "construction: no clip says how it was made; `xbench data listening` makes clips that do"
        )
    return tuple(told)
